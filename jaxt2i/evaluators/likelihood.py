"""How probable a prior finds the tokens of a split, given their captions."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import jax

from jaxt2i import metrics
from jaxt2i.metrics import Mean
from jaxt2i.tasks.base import Task
from jaxt2i.types import Batch, Variables


@dataclasses.dataclass(frozen=True)
class Likelihood:
  """`nll`: −log p(tokens | caption) a token, in nats, the mean over images of a split."""

  task: Task
  batches: Callable[[], Iterable[Batch]]  # tokens [B, h, w], text [B, T], weight [B]

  def __call__(self, variables: Variables) -> Mapping[str, float]:
    """Evaluates variables on the whole split."""
    total: Mapping[str, Mean] = {}
    for batch in self.batches():
      means = _evaluate(self.task, {"params": variables["params"]}, batch)
      total = metrics.merge(total, means)
    return metrics.compute({"nll": total["nll"]})


def protocol(images: int, *, bound: bool) -> str:
  """What must be said beside it."""
  how = (
    "an upper bound: tokens one after the other, in a random order" if bound else "exact, in order"
  )
  return (
    f"nats a token, given the first caption of each of {images} images, of train the first so many "
    f"or all; {how}"
  )


@partial(jax.jit, static_argnums=0)
def _evaluate(task: Task, variables: Any, batch: Any) -> Mapping[str, Mean]:
  return task.loss(variables, batch, jax.random.key(0), train=False).metrics
