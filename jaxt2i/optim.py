"""Config to optax."""

import dataclasses
from typing import Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers, muon

from jaxt2i.errors import UsageError

KINDS = ("adamw", "muon")


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """AdamW or Muon, with a linear warm-up, a cosine decay and clipped gradients.

  Muon (K. Jordan et al., 2024) moves the kernels inside of blocks in orthogonalised steps, as long
  as AdamW's would be (arXiv 2502.16982, §2.2), so that one learning rate serves both; everything
  else is AdamW's, with Nesterov's momentum.

  Attributes:
    learning_rate: at the end of the warm-up.
    warmup_steps: steps from 0 to learning_rate.
    final_share: learning rate of the last step, as a share of learning_rate.
    b1, b2: decay of Adam's moments.
    weight_decay: decoupled; on matrices and kernels only, not on scales and biases. With Muon, on
      the kernels that it moves.
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
  kind: str = "adamw"

  def __post_init__(self) -> None:
    if self.kind not in KINDS:
      raise UsageError(f"optimizer.kind is {self.kind!r}: must be {' or '.join(KINDS)}.")

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
    schedule = self.schedule(num_steps)
    if self.kind == "muon":
      rule = muon(
        schedule,
        weight_decay=self.weight_decay,
        adam_b1=self.b1,
        adam_b2=self.b2,
        muon_weight_dimension_numbers=_matrices,
        consistent_rms=0.2,
      )
    else:
      rule = optax.adamw(
        schedule, b1=self.b1, b2=self.b2, weight_decay=self.weight_decay, mask=_decayed
      )
    return optax.chain(optax.clip_by_global_norm(self.clip_norm), rule)


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


def _matrices(params: Any) -> Any:
  """How Muon reads the kernels inside of blocks as matrices, input by output; None elsewhere."""

  def matrix(path: tuple[Any, ...], kernel: Any) -> MuonDimensionNumbers | None:
    inside = any("block" in part.key for part in path[:-1])
    if path[-1].key != "kernel" or not inside:
      return None
    # The last axis is the output. Those before it are the input: of a convolution three, of a
    # dense layer one, whose kernels may be stacked over layers along the first.
    inputs = (0, 1, 2) if kernel.ndim == 4 else (kernel.ndim - 2,)
    return MuonDimensionNumbers(inputs, kernel.ndim - 1)

  return jax.tree_util.tree_map_with_path(matrix, params)
