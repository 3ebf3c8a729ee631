"""Learning which caption belongs to which image."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxt2i import modules, pipeline, pretrained, text
from jaxt2i.data.transforms import CaptionedImage
from jaxt2i.evaluation_report import rows
from jaxt2i.evaluators.retrieval import Retrieval
from jaxt2i.experiment.parts import (
  Running,
  augmentation,
  captions,
  fresh,
  identity,
  learnt_captions,
  refuse_leak,
  require_watchable,
  save_text,
  splits,
  trained_tokenizer,
  training_batches,
)
from jaxt2i.matcher import Matcher
from jaxt2i.reconstructed import WithReconstructions
from jaxt2i.state import TrainState
from jaxt2i.tasks.dual_encoder import DualEncoderTask
from jaxt2i.train import Evaluator
from jaxt2i.types import FROZEN, Batch, Key, Variables


class DualEncoderExperiment:
  """Learns to put images and their captions near each other."""

  def __init__(self, config: Mapping[str, Any]):
    self._augmentation = augmentation(config)
    trained = trained_tokenizer(config) if config["tokenizer"] else None
    require_watchable(config, ())
    make_model = partial(modules.dual_encoder, config["model"], config["data"]["image_size"])
    make_model(text.check(config["text"]))  # refuses what cannot work before any data is read
    self._train, self._val = splits(config["data"])
    if trained is not None:
      refuse_leak(trained, config, self._train)
    self._text = text.make(config["text"], captions(self._train))
    self.task = DualEncoderTask(make_model(self._text.vocab_size))
    self.config = {**config, **identity(self._train, self._text)}

  def example(self) -> Batch:
    """One black image with an empty caption."""
    size = self.config["data"]["image_size"]
    return {"image": np.zeros((1, size, size, 3), np.uint8), "text": self._text([""])}

  def init(self, key: Key) -> Variables:
    """Fresh parameters, and those of a pretrained image encoder."""
    variables = fresh(self.task, key, self.example())
    if FROZEN not in variables:
      return variables
    features = jax.tree.map(jnp.asarray, pretrained.efficientnet_lite0())
    return {**variables, FROZEN: {"image_encoder": {"efficientnet": features}}}

  def start(self, state: TrainState, workdir: Path) -> Running:
    """Opens the splits."""
    keep = save_text(self._text, workdir)
    known = learnt_captions(self._train, flip=self._augmentation.flip)
    row = CaptionedImage(text.of_known(self._text, known, keep), self._augmentation)
    learnt: Any = self._train
    if self.config["tokenizer"]:
      learnt = WithReconstructions.of(self._train, pipeline.load(self.config["tokenizer"]))

    matcher = lambda state: Matcher(self.task.model, state.ema_variables, self._text)
    retrieval = Retrieval(self._val)
    val: Evaluator = lambda state: {
      name: value for name, value, _ in rows(retrieval(matcher(state)))
    }
    batches = training_batches(learnt, row, self.config)
    return Running(batches, {"val": val}, lambda i: learnt[i].image_id)
