"""Learning which caption belongs to which image."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxt2i import modules
from jaxt2i.data.stream import train_stream
from jaxt2i.data.text import TextTokenizer
from jaxt2i.data.transforms import CaptionedImage
from jaxt2i.evaluators.retrieval import Retrieval
from jaxt2i.experiment.parts import Running, augmentation, captions, identity, splits
from jaxt2i.matcher import Matcher
from jaxt2i.pipeline import TEXT_TOKENIZER_FILE
from jaxt2i.state import TrainState
from jaxt2i.tasks.dual_encoder import DualEncoderTask
from jaxt2i.train import Evaluator
from jaxt2i.types import Batch, Variables


class DualEncoderExperiment:
  """Learns to put images and their captions near each other."""

  def __init__(self, config: Mapping[str, Any]):
    self._train, self._val = splits(config["data"])
    self.config = {**config, **identity(self._train)}
    self._augmentation = augmentation(config)
    self._text_tokenizer = TextTokenizer.train(captions(self._train), **config["text"])
    vocab_size = self._text_tokenizer.vocab_size
    model = modules.dual_encoder(config["model"], config["data"]["image_size"], vocab_size)
    self.task = DualEncoderTask(model)

  def example(self) -> Batch:
    """One black image with an empty caption."""
    size = self.config["data"]["image_size"]
    return {"image": np.zeros((1, size, size, 3), np.uint8), "text": self._text_tokenizer([""])}

  def frozen(self) -> Variables:
    """Nothing."""
    return {}

  def start(self, state: TrainState, workdir: Path) -> Running:
    """Opens the splits."""
    self._text_tokenizer.save(workdir / TEXT_TOKENIZER_FILE)
    row = CaptionedImage(self._text_tokenizer, self._augmentation)

    def batches(step: int) -> Iterator[Batch]:
      return train_stream(
        self._train,
        row,
        batch_size=self.config["batch_size"],
        seed=self.config["seed"],
        start_step=step,
        num_workers=self.config["num_workers"],
      )

    matcher = lambda state: Matcher(
      self.task.model, {"params": state.ema_params}, self._text_tokenizer
    )
    retrieval = Retrieval(self._val)
    val: Evaluator = lambda state: retrieval(matcher(state))
    return Running(batches, {"val": val})
