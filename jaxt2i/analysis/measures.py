"""What a report is made of: numbers that say what they mean and how they were taken."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Num

Interval = tuple[float, float]  # 95 %


@dataclasses.dataclass(frozen=True)
class Measure:
  """One number, or a word.

  Attributes:
    name: in the JSON; of all measures of a report no two have the same.
    value: NaN where it is not defined.
    means: one sentence on what it says.
    protocol: on what and how it was measured.
    interval: in which it lies in 95 % of such samples; None: not estimated.
    unit: "bits", "dB"; "" if it has none.
  """

  name: str
  value: float | int | str
  means: str
  protocol: str
  interval: Interval | None = None
  unit: str = ""

  def json(self) -> dict[str, Any]:
    """As it stands in the file; what is not finite is null."""
    fields = dataclasses.asdict(self)
    del fields["name"]
    fields["value"] = finite(self.value)
    if self.interval is not None:
      fields["interval"] = [finite(bound) for bound in self.interval]
    return {key: value for key, value in fields.items() if value != ""}


@dataclasses.dataclass(frozen=True)
class Section:
  """One question and what was measured to answer it.

  Attributes:
    key: in the JSON.
    question: the heading.
    answer: one or two sentences with the numbers that matter.
    measures: all numbers.
    notes: what is lacking and why, and what to keep in mind.
    tables: further numbers, JSON-able, for figures and readers of the file.
  """

  key: str
  question: str
  answer: str
  measures: tuple[Measure, ...]
  notes: tuple[str, ...] = ()
  tables: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def json(self) -> dict[str, Any]:
    """As it stands in the file."""
    return {
      "question": self.question,
      "answer": self.answer,
      "notes": list(self.notes),
      "measures": {measure.name: measure.json() for measure in self.measures},
      **self.tables,
    }


def values(sections: Sequence[Section]) -> dict[str, float | int | str]:
  """All measures by name."""
  return {m.name: m.value for m in _all(sections)}


def intervals(sections: Sequence[Section]) -> dict[str, Interval]:
  """Those that were estimated, by name."""
  return {m.name: m.interval for m in _all(sections) if m.interval is not None}


def mean_of(
  values: Num[np.ndarray, " n"], weights: Num[np.ndarray, " n"] | None = None
) -> tuple[float, Interval | None]:
  """Mean, and ±1.96 standard errors about it; NaN of no values, no interval of a single one.

  Args:
    values: of independent things, such as images.
    weights: how many each is the mean of; nearly equal ones, for the interval takes them as equal.
  """
  if not len(values):
    return math.nan, None
  mean = float(np.average(values, weights=weights))
  if len(values) < 2:
    return mean, None
  half = 1.96 * float(np.std(values, ddof=1)) / math.sqrt(len(values))
  return mean, (mean - half, mean + half)


def finite(value: Any) -> Any:
  """None for NaN and infinity, which JSON does not know."""
  return None if isinstance(value, float) and not math.isfinite(value) else value


def shown(value: Any) -> str:
  """A number as people read it."""
  if isinstance(value, str):
    return value
  if not math.isfinite(value):
    return "–"
  if float(value).is_integer():
    return f"{int(value):,}"
  size = abs(value)
  return f"{value:,.0f}" if size >= 1000 else f"{value:.3g}" if size >= 0.001 else f"{value:.1e}"


def _all(sections: Sequence[Section]) -> Iterator[Measure]:
  return (measure for section in sections for measure in section.measures)
