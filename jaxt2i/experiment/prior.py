"""Learning which tokens belong to which words."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxt2i import best, data, modules
from jaxt2i import config as config_lib
from jaxt2i.data.records import Source
from jaxt2i.data.stream import eval_stream, train_stream
from jaxt2i.data.text import TextTokenizer
from jaxt2i.data.transforms import (
  FirstCaption,
  RandomCaption,
)
from jaxt2i.errors import UsageError, UserError
from jaxt2i.evaluators.likelihood import Likelihood
from jaxt2i.evaluators.samples import Samples
from jaxt2i.experiment.parts import (
  EVAL_BATCH,
  Running,
  augmentation,
  captions,
  identity,
  prior_task,
  splits,
)
from jaxt2i.pipeline import TEXT_TOKENIZER_FILE, Pipeline
from jaxt2i.state import TrainState, of_model
from jaxt2i.tokenized import Tokenized
from jaxt2i.train import Evaluator
from jaxt2i.types import Batch, Variables

logger = logging.getLogger(__name__)


class PriorExperiment:
  """Learns p(tokens | caption) over the tokens of a trained tokenizer."""

  def __init__(self, config: Mapping[str, Any]):
    self._tokenizer_workdir = Path(config["tokenizer"])
    changes = augmentation(config)
    if changes.crop or changes.jitter:
      raise UsageError(
        f"config.augment has crop {changes.crop} and jitter {changes.jitter}: must be 0 "
        "for a prior, whose images are turned into tokens once; flip is possible."
      )
    self._flip = changes.flip
    if not config["tokenizer"]:
      raise UsageError(
        "config.tokenizer is empty: must be the workdir of a trained tokenizer "
        "(--config.tokenizer=runs/vqvae)."
      )
    trained = config_lib.load(self._tokenizer_workdir)
    image_size = config["data"]["image_size"]
    if trained["task"] != "tokenizer" or trained["data"]["image_size"] != image_size:
      raise UserError(
        f"{config['tokenizer']} is a {trained['task']} of {trained['data']['image_size']}-pixel "
        f"images: config.tokenizer must be a tokenizer of {image_size}-pixel images."
      )
    self._train, self._val = splits(config["data"])
    _refuse_leak(trained, config, self._train)
    # The tokenizer's own section goes into this run's config: one workdir is enough to generate.
    self.config = {**config, **identity(self._train), "tokenizer_model": trained["model"]}
    self.tokenizer = modules.tokenizer(trained["model"], image_size)
    self.text_tokenizer = TextTokenizer.train(captions(self._train), **config["text"])
    prior = modules.prior(
      config["model"], self.tokenizer, image_size, self.text_tokenizer.vocab_size
    )
    self.task = prior_task(config["loss"], prior)

  def example(self) -> Batch:
    """One grid of tokens 0 with an empty caption."""
    tokens = np.zeros((1, *self.task.model.grid), np.int32)
    return {"tokens": tokens, "text": self.text_tokenizer([""])}

  def frozen(self) -> Variables:
    """The tokenizer: it rides in the prior's checkpoint."""
    _, arrays = best.read_arrays(self._tokenizer_workdir, ("ema_params", "collections"))
    tokenizer = {"params": arrays["ema_params"], **of_model(arrays["collections"])}
    return {"frozen": jax.tree.map(jnp.asarray, tokenizer)}

  def pipeline(self, state: TrainState) -> Pipeline:
    """The road with the weights of a state."""
    return Pipeline(
      tokenizer=self.tokenizer,
      tokenizer_variables=state.collections["frozen"],
      attribution=self._train.attribution,
      prior=self.task.model,
      prior_variables={"params": state.ema_params},
      text_tokenizer=self.text_tokenizer,
    )

  def start(self, state: TrainState, workdir: Path) -> Running:
    """Turns all images into tokens once: the tokenizer is frozen."""
    self.text_tokenizer.save(workdir / TEXT_TOKENIZER_FILE)
    pipeline = self.pipeline(state)
    train = Tokenized.of(self._train, pipeline, flip=self._flip)
    val = Tokenized.of(self._val, pipeline)
    log_unknown_words(self.text_tokenizer, val)
    first_caption = FirstCaption(self.text_tokenizer)

    def batches(step: int) -> Iterator[Batch]:
      return train_stream(
        train,
        RandomCaption(self.text_tokenizer),
        batch_size=self.config["batch_size"],
        seed=self.config["seed"],
        start_step=step,
        num_workers=self.config["num_workers"],
      )

    def likelihood(source: Tokenized) -> Evaluator:
      rows = lambda: eval_stream(source, first_caption, batch_size=EVAL_BATCH)
      evaluate = Likelihood(self.task, rows)
      return lambda state: evaluate({"params": state.ema_params})

    samples = Samples(self.config["prompts"], workdir / "samples")
    evaluators = {
      "train": likelihood(train.first(len(val))),
      "val": likelihood(val),
      "samples": lambda state: samples(self.pipeline(state), int(state.step)),
    }
    return Running(batches, evaluators)


def log_unknown_words(text_tokenizer: TextTokenizer, val: Tokenized) -> None:
  """One line on the words of validation captions that a prior cannot tell apart."""
  unknown, count = text_tokenizer.unknown_among(c for captions in val.captions for c in captions)
  if unknown:
    more = ", ..." if len(unknown) > 10 else ""
    names = f": {', '.join(unknown[:10])}{more}"
  else:
    names = ""
  logger.info(f"val captions: {len(unknown):,} of {count:,} distinct words are unknown{names}")


def _refuse_leak(tokenizers: Mapping[str, Any], config: Mapping[str, Any], train: Source) -> None:
  """UserError if the tokenizer may know images that this prior is to be tested on."""
  theirs, ours = tokenizers["data"], config["data"]
  if theirs["name"] != data.PREPARED or ours["name"] != data.PREPARED:
    return
  if Path(theirs["path"]).resolve() != Path(ours["path"]).resolve():
    return
  if theirs["protocol"] != ours["protocol"]:
    raise UserError(
      f"the tokenizer was trained on the splits of {theirs['protocol']!r}, this prior is to be on "
      f"those of {ours['protocol']!r}: its test images would be known to the tokenizer; train one "
      "of them on the other's config.data.protocol."
    )
  if tokenizers["data_fingerprint"] != train.fingerprint:
    raise UserError(
      f"{ours['path']} has changed since the tokenizer was trained on it: its test images may be "
      "known to the tokenizer; train that again."
    )
