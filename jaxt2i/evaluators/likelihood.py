"""How probable a prior finds the tokens of a split, given their captions."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from jaxt2i.tasks.base import Task
from jaxt2i.types import Batch, Variables


@dataclasses.dataclass(frozen=True)
class Likelihood:
  """`nll`: −log p(tokens | caption) a token, in nats, the mean over images of a split."""

  task: Task
  batches: Callable[[], Iterable[Batch]]  # tokens [B, h, w], text [B, T], weight [B]

  def __call__(self, variables: Variables) -> Mapping[str, float]:
    """Evaluates variables on the whole split."""
    return {"nll": float(np.mean(self.of_images(variables), dtype=np.float64))}

  def of_images(self, variables: Variables) -> Float32[np.ndarray, " n"]:
    """The same of each image of the split."""
    found = []
    for batch in self.batches():
      nll = _evaluate(self.task, {"params": variables["params"]}, batch)
      found.append(np.asarray(nll)[np.asarray(batch["weight"]) > 0])
    return np.concatenate(found)


def protocol(images: int, *, bound: bool) -> str:
  """What must be said beside it."""
  how = (
    "an upper bound: tokens one after the other, in a random order" if bound else "exact, in order"
  )
  return (
    f"nats a token, given the first caption of each of {images} images, of train the first so many "
    f"or all; {how}; intervals: ±1.96 standard errors over images"
  )


@partial(jax.jit, static_argnums=0)
def _evaluate(task: Task, variables: Any, batch: Any) -> jax.Array:
  rows = {name: x for name, x in batch.items() if name != "weight"}
  # A masked prior blanks by an image's place in the split.
  rows.setdefault("index", jnp.arange(len(batch["tokens"]), dtype=jnp.int32))

  def of_one(row: Any) -> jax.Array:
    alone = {name: x[None] for name, x in row.items()}
    return task.loss(variables, alone, jax.random.key(0), train=False).metrics["nll"].compute()

  return jax.vmap(of_one)(rows)
