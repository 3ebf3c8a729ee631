"""What happened in the steps since the last line of the log."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxt2i import metrics as metrics_lib
from jaxt2i.metrics import CodeCounts, Count, Mean, Metric

# A step after which one of these is not finite has learnt nothing good: the weights are no better
# than their gradients.
WATCHED = ("loss", "gradient_norm", "d_loss")
NORMS = "gradient_norms"  # of a step's metrics: {part of the network: norm}, no sum over steps
SKIPPED = "skipped"  # Count of the steps that changed nothing
MOST_SKIPPED = 20  # one after another: it is not one bad batch then


@dataclasses.dataclass(eq=False)
class BadStep(Exception):
  """A step that came to no number.

  Attributes:
    step: its number.
    name, value: one of WATCHED and what it is.
    gradient_norms: of each part of the network.
    examples: places of the batch's examples in the training data, as far as this process read them.
  """

  step: int
  name: str
  value: float
  gradient_norms: Mapping[str, float]
  examples: tuple[int, ...]


class Window:
  """Sums of metrics over the steps since the last log.

  They are fetched from the device when they are asked for, so that steps need not wait.
  """

  def __init__(self, saved: Mapping[str, Any] | None = None):
    """`saved`: what `to_json` gave, of a run that goes on."""
    self._sums: dict[str, Metric] = {}
    self._skipped_in_a_row = 0
    self._pending: list[tuple[int, Mapping[str, Any], Any]] = []
    kinds: Mapping[str, Any] = {kind.__name__: kind for kind in (Mean, Count, CodeCounts)}
    for name, (kind, values) in (saved or {}).items():
      self._sums[name] = kinds[kind](**{k: np.asarray(v, np.float32) for k, v in values.items()})

  def add(self, step: int, metrics: Mapping[str, Any], examples: Any) -> None:
    """Takes a step's metrics, and the places of its examples, int [B], or None."""
    self._pending.append((step, metrics, examples))

  def means(self) -> dict[str, float]:
    """Over the window.

    Raises:
      BadStep: one of the steps came to no number, or many that did were skipped one after another.
    """
    self._fold()
    return metrics_lib.compute(self._sums)

  def clear(self) -> None:
    """Begins a new window."""
    self._sums = {}

  def to_json(self) -> dict[str, Any]:
    """All of it, to the last bit. Raises BadStep as `means` does."""
    self._fold()
    return {
      name: (
        type(metric).__name__,
        {
          field.name: np.asarray(getattr(metric, field.name)).tolist()
          for field in dataclasses.fields(metric)
        },
      )
      for name, metric in self._sums.items()
    }

  def _fold(self) -> None:
    """Adds what is pending, step by step: in this order wherever the run was interrupted."""
    pending, self._pending = self._pending, []
    fetched = jax.device_get([metrics for _, metrics, _ in pending])
    for (step, _, examples), metrics in zip(pending, fetched, strict=True):
      values = metrics_lib.compute({name: metrics[name] for name in WATCHED if name in metrics})
      bad = next((name for name in WATCHED if not math.isfinite(values.get(name, 0.0))), None)
      skipped = SKIPPED in metrics and metrics[SKIPPED].total > 0
      self._skipped_in_a_row = self._skipped_in_a_row + 1 if skipped else 0
      if bad and (not skipped or self._skipped_in_a_row >= MOST_SKIPPED):
        raise BadStep(step, bad, values[bad], _floats(metrics.get(NORMS, {})), _places(examples))
      counted = {name: metric for name, metric in metrics.items() if name != NORMS}
      self._sums = metrics_lib.merge(self._sums, counted)


def _floats(values: Mapping[str, Any]) -> dict[str, float]:
  return {name: float(value) for name, value in values.items()}


def _places(examples: Any) -> tuple[int, ...]:
  """As numbers; of an array on several processes the part that is here."""
  if isinstance(examples, jax.Array):
    parts = {str(part.index): np.asarray(part.data) for part in examples.addressable_shards}
    examples = np.concatenate([*parts.values()])
  return () if examples is None else tuple(int(i) for i in examples)
