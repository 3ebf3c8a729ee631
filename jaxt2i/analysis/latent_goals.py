"""Which properties an experiment wants of its latent space, and whether they are reached."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from jaxt2i import config as config_lib
from jaxt2i.analysis.measures import finite, shown
from jaxt2i.errors import UsageError

KEY = "latent_goals"  # of a config
REACHED = {True: "reached", False: "not reached", None: "cannot be said"}


@dataclasses.dataclass(frozen=True)
class LatentGoals:
  """What is wanted of a latent space; "" or 0: nothing. What is meant: see the report's measures.

  Attributes:
    complete: "under": a grid of tokens tells fewer bits than the image without loss; "over".
    distribution: the law that is to fit the codes' frequencies best.
    usage: least share of the codes that occur.
    gini: greatest inequality of their use.
    smooth: least rank correlation of code distance and change of the picture.
    organised: least skill of linear probes for the labels, of what chance leaves; of data without
      labels it cannot be said.
    sampleable: least share by which a prior's drawings are nearer to real images than tokens drawn
      independently.

  Raises:
    UsageError: a threshold outside of 0 to 1.
  """

  complete: Literal["", "under", "over"] = ""
  distribution: Literal["", "uniform", "geometric", "zipf"] = ""
  usage: float = 0.0
  gini: float = 0.0
  smooth: float = 0.0
  organised: float = 0.0
  sampleable: float = 0.0

  def __post_init__(self) -> None:
    for name, value in dataclasses.asdict(self).items():
      if isinstance(value, float) and not 0 <= value <= 1:
        raise UsageError(f"config.{KEY}.{name} is {value}: must be from 0 (not wanted) to 1.")

  def wanted(self) -> dict[str, Any]:
    """Property → threshold or word, of those that are wanted."""
    return {name: value for name, value in dataclasses.asdict(self).items() if value}


@dataclasses.dataclass(frozen=True)
class Verdict:
  """One property.

  Attributes:
    property: field of `LatentGoals`, and name of a measure.
    wanted: in words.
    measured: its value; None: not measured.
    reached: None: cannot be said, as it was not measured or its interval includes the threshold.
    value: whether the measured value itself is on the wanted side; None if not measured.
  """

  property: str
  wanted: str
  measured: float | str | None
  reached: bool | None
  value: bool | None


def of_config(config: Mapping[str, Any]) -> LatentGoals:
  """The goals of a run; none for one that was trained before there were any.

  Raises:
    UsageError: a property that there is not.
  """
  return config_lib.build(LatentGoals, config.get(KEY, {}), f"config.{KEY}")


def judge(
  goals: LatentGoals,
  values: Mapping[str, float | int | str],
  intervals: Mapping[str, tuple[float, float]],
) -> list[Verdict]:
  """Property by property, of those that are wanted."""
  verdicts = []
  for name, goal in goals.wanted().items():
    measured: Any = finite(values.get(name))
    least = name != "gini"
    words = goal if isinstance(goal, str) else f"{'at least' if least else 'at most'} {goal:g}"
    reached = value = None
    if isinstance(goal, str):
      reached = value = None if measured is None else measured == goal
    elif measured is not None:
      on_side = lambda x, goal=goal, least=least: x >= goal if least else x <= goal
      value = on_side(measured)
      sides = {on_side(bound) for bound in intervals.get(name, (measured,))}
      reached = sides.pop() if len(sides) == 1 else None
    verdicts.append(Verdict(name, words, measured, reached, value))
  return verdicts


def table(verdicts: Sequence[Verdict]) -> str:
  """Lines of text: property, wanted, measured, reached or not."""
  if not verdicts:
    return f"No goals: this run's config has no {KEY}."
  rows = [("property", "wanted", "measured", "verdict")]
  for verdict in verdicts:
    measured = "–" if verdict.measured is None else shown(verdict.measured)
    rows.append((verdict.property, verdict.wanted, measured, REACHED[verdict.reached]))
  widths = [max(len(row[i]) for row in rows) for i in range(4)]
  lines = (
    "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
  )
  return "\n".join(line.rstrip() for line in lines)
