"""Config to optax."""

import dataclasses
from typing import Any

import jax
import optax

from jaxt2i.errors import UsageError
from jaxt2i.muon import scale_by_muon

KINDS = ("adamw", "muon")


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """AdamW or Muon, with a linear warm-up, a cosine decay and clipped gradients.

  Muon (`jaxt2i.muon`) moves the kernels inside of blocks in orthogonalised steps; everything else
  is AdamW's.

  Attributes:
    learning_rate: at the end of the warm-up.
    warmup_steps: steps from 0 to learning_rate.
    final_share: learning rate of the last step, as a share of learning_rate.
    b1, b2: decay of Adam's moments.
    weight_decay: decoupled; on matrices and kernels only, not on scales and biases.
    clip_norm: gradients are scaled down to this global norm.
    kind: "adamw" or "muon".
  """

  learning_rate: float
  warmup_steps: int
  final_share: float
  b1: float
  b2: float
  weight_decay: float
  clip_norm: float
  kind: str

  def __post_init__(self) -> None:
    if self.kind not in KINDS:
      raise UsageError(f"optimizer.kind is {self.kind!r}: must be {' or '.join(KINDS)}.")
    # Written so that NaN fails too.
    limits = {
      "learning_rate": (0 < self.learning_rate < 100, "above 0 and below 100"),
      "warmup_steps": (self.warmup_steps >= 0, "0 or more"),
      "final_share": (0 <= self.final_share <= 1, "from 0 to 1"),
      "b1": (0 <= self.b1 < 1, "from 0 to below 1"),
      "b2": (0 <= self.b2 < 1, "from 0 to below 1"),
      "weight_decay": (0 <= self.weight_decay < 100, "from 0 to below 100"),
      "clip_norm": (self.clip_norm > 0, "above 0"),
    }
    for name, (good, expected) in limits.items():
      if not good:
        raise UsageError(f"config.optimizer.{name} is {getattr(self, name)}: must be {expected}.")

  def schedule(self, num_steps: int) -> optax.Schedule:
    """Learning rate as a function of the step."""
    return optax.warmup_cosine_decay_schedule(
      init_value=0.0,
      peak_value=self.learning_rate,
      warmup_steps=min(self.warmup_steps, num_steps // 2),
      decay_steps=num_steps,
      end_value=self.learning_rate * self.final_share,
    )

  def build(self, num_steps: int) -> optax.GradientTransformation:
    """The optimiser for a run of `num_steps`."""
    direction = optax.scale_by_adam(self.b1, self.b2)
    if self.kind == "muon":
      direction = optax.partition({"muon": scale_by_muon(), "adamw": direction}, _labels)
    return optax.chain(
      optax.clip_by_global_norm(self.clip_norm),
      direction,
      optax.add_decayed_weights(self.weight_decay, _decayed),
      optax.scale_by_learning_rate(self.schedule(num_steps)),
    )


def descend(
  optimizer: optax.GradientTransformation, gradients: Any, opt_state: Any, params: Any
) -> tuple[Any, Any]:
  """One update; the new parameters and the new state of the optimiser."""
  with jax.numpy_dtype_promotion("standard"):  # optax raises floats to the power of its count
    updates, opt_state = optimizer.update(gradients, opt_state, params)
  return optax.apply_updates(params, updates), opt_state


def _decayed(params: Any) -> Any:
  """True for matrices: by name, since parameters stacked over layers have one axis more."""
  names = ("kernel", "embedding")
  return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key in names, params)


def _labels(params: Any) -> Any:
  """Which parameters are Muon's: the kernels inside of blocks."""

  def label(path: tuple[Any, ...], _: Any) -> str:
    inside = any("block" in part.key for part in path[:-1])
    return "muon" if inside and path[-1].key == "kernel" else "adamw"

  return jax.tree_util.tree_map_with_path(label, params)
