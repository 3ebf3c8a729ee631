"""What a training step takes and gives: weights, their EMA, optimiser state."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxt2i.types import Variables

# Collections of what is no part of the model: what trains against it, what its loss looks through.
ADVERSARY, FEATURES = "adversary", "features"


class TrainState(struct.PyTreeNode):
  """All that training needs to go on exactly where it stopped.

  No key is kept: the key of a step is fold_in(key(seed), step).
  """

  step: Any  # [] int32, steps taken
  params: Any  # differentiated
  ema_params: Any  # moving average of params; what evaluation and sampling use
  collections: Any  # {name: ...} of others: "codebook", "frozen", ADVERSARY, FEATURES
  opt_state: Any

  @classmethod
  def create(cls, variables: Variables, optimizer: optax.GradientTransformation) -> "TrainState":
    """The state at step 0."""
    collections = {name: value for name, value in variables.items() if name != "params"}
    params = variables["params"]
    return cls(
      step=jnp.zeros((), jnp.int32),
      params=params,
      ema_params=jax.tree.map(jnp.copy, params),  # a copy: the step donates both
      collections=collections,
      opt_state=optimizer.init(params),
    )

  @property
  def ema_variables(self) -> Variables:
    """The variables to evaluate and to sample with."""
    kept = {name: value for name, value in self.collections.items() if name != ADVERSARY}
    return {"params": self.ema_params, **kept}


def of_model(collections: Mapping[str, Any]) -> dict[str, Any]:
  """The collections that the model itself reads, not what only its loss does."""
  return {name: x for name, x in collections.items() if name not in (ADVERSARY, FEATURES)}


def ema(average: Any, params: Any, decay: float, step: jax.Array) -> Any:
  """Moving average of weights; early on a plain mean, so that it forgets the initial weights."""
  steps = step.astype(jnp.float32)
  d = jnp.minimum(decay, (steps + 1) / (steps + 10))
  mix = lambda a, p: (a * d + p * (1 - d)).astype(a.dtype)
  return jax.tree.map(mix, average, params)
