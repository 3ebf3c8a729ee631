"""Config to optax."""

import dataclasses
from typing import Any

import jax
import optax


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """AdamW with a linear warm-up, a cosine decay and clipped gradients.

  Attributes:
    learning_rate: at the end of the warm-up.
    warmup_steps: steps from 0 to learning_rate.
    final_share: learning rate of the last step, as a share of learning_rate.
    b1, b2: decay of Adam's moments.
    weight_decay: decoupled; on matrices and kernels only, not on scales and biases.
    clip_norm: gradients are scaled down to this global norm.
  """

  learning_rate: float
  warmup_steps: int
  final_share: float
  b1: float
  b2: float
  weight_decay: float
  clip_norm: float

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
    return optax.chain(
      optax.clip_by_global_norm(self.clip_norm),
      optax.adamw(
        self.schedule(num_steps),
        b1=self.b1,
        b2=self.b2,
        weight_decay=self.weight_decay,
        mask=_decayed,
      ),
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
