"""Learning to turn images into tokens and back."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxt2i import config as config_lib
from jaxt2i import modules, pretrained
from jaxt2i.adversarial import adversarial
from jaxt2i.analysis import latent_goals
from jaxt2i.data.transforms import (
  AugmentedImage,
  image_row,
)
from jaxt2i.errors import UsageError
from jaxt2i.evaluators.pairs import Pairs
from jaxt2i.evaluators.reconstruction import Reconstruction
from jaxt2i.experiment.parts import (
  Running,
  augmentation,
  eval_batches,
  fresh,
  identity,
  require_watchable,
  splits,
  training_batches,
)
from jaxt2i.health import CollapseAlarm, entropy_cliff
from jaxt2i.models.perceptual import LEAST_SIDE
from jaxt2i.state import FEATURES, TrainState
from jaxt2i.tasks.tokenizer import TokenizerTask
from jaxt2i.types import Batch, Key, Variables

logger = logging.getLogger(__name__)

_SHOWN = 8  # pairs of image and reconstruction


class TokenizerExperiment:
  """Learns to turn images into tokens and back."""

  def __init__(self, config: Mapping[str, Any]):
    latent_goals.of_config(config)  # refuses unknown ones now rather than after training
    self._row = AugmentedImage(augmentation(config))
    model = modules.tokenizer(config["model"], config["data"]["image_size"])
    task = config_lib.build(TokenizerTask, config["loss"], "config.loss", model=model)
    if task.perceptual_weight and config["data"]["image_size"] < LEAST_SIDE:
      raise UsageError(
        f"config.data.image_size is {config['data']['image_size']}: must be at least {LEAST_SIDE} "
        "for a perceptual loss, or set --config.loss.perceptual_weight=0."
      )
    self._perceptual = task.perceptual_weight > 0
    # Without a weight the section is looked at all the same: that says what it lacks.
    wanted = config["adversarial"].get("weight", 1)
    self.task = adversarial(config, task) if wanted else task
    require_watchable(config, ("val/perceptual", "val/rfd") if self._perceptual else ())
    self._train, self._val = splits(config["data"])  # last: reading it may take long
    self.config = {**config, **identity(self._train)}

  def example(self) -> Batch:
    """One black image."""
    size = self.config["data"]["image_size"]
    return {"image": np.zeros((1, size, size, 3), np.uint8)}

  def init(self, key: Key) -> Variables:
    """Fresh parameters, and the network of the perceptual loss where there is one."""
    variables = fresh(self.task, key, self.example())
    if not self._perceptual:
      return variables
    features = jax.tree.map(jnp.asarray, pretrained.efficientnet_lite0())
    return {**variables, FEATURES: features}

  def start(self, state: TrainState, workdir: Path) -> Running:
    """Opens the splits."""

    def batches(step: int) -> Iterator[Batch]:
      stream = training_batches(self._train, self._row, self.config)(step)
      self._warn_of_too_many_bits()  # once nothing is left that could be refused
      return stream

    evaluate = Reconstruction(self.task.model, lambda: eval_batches(self._val, image_row))
    alarm = CollapseAlarm(self.task.model.quantizer)

    def val(state: TrainState) -> Mapping[str, Any]:
      values, counts = evaluate.measure(state.ema_variables)
      alarm(counts)
      return {**values, "code_counts": counts}

    shown = np.stack([self._val[i].image for i in range(min(_SHOWN, len(self._val)))])
    pairs = Pairs(self.task.model, shown, self._val.attribution, workdir / "samples")
    return Running(
      batches,
      {"val": val, "samples": lambda state: pairs(state.ema_variables, int(state.step))},
      lambda i: self._train[i].image_id,
    )

  def _warn_of_too_many_bits(self) -> None:
    h, w = modules.grid(self.task.model, self.config["data"]["image_size"])
    codebook_size = self.task.model.quantizer.codebook_size
    if warning := entropy_cliff(h * w, codebook_size, len(self._train)):
      logger.warning("%s", warning)
