"""Drawings that a prior's training looks at now and then, by named scores."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from jaxt2i import pretrained
from jaxt2i.data.records import Source
from jaxt2i.errors import UsageError, UserError, suggest
from jaxt2i.evaluation_report import rows
from jaxt2i.evaluators import extractor, scores
from jaxt2i.evaluators.drawn import Drawing
from jaxt2i.evaluators.scores import Scores
from jaxt2i.pipeline import Pipeline
from jaxt2i.sampling import SamplingOptions

NAMES = ("attributes", "copies", "generation")


@dataclasses.dataclass(frozen=True)
class Looks:
  """Which scores, of how many drawings for validation captions.

  Attributes:
    metrics: some of `NAMES`; none: nothing is drawn.
    n: pictures that are drawn, for first captions of images spread over validation.
    temperature: at which.
  """

  metrics: tuple[str, ...]
  n: int
  temperature: float

  def __post_init__(self) -> None:
    for name in self.metrics:
      if name not in NAMES:
        raise UsageError(f"config.evaluation.metrics has {name!r}: {suggest(name, NAMES)}")
    if self.n < 2:
      raise UsageError(f"config.evaluation.n is {self.n}: must be 2 or more.")
    SamplingOptions(temperature=self.temperature)  # refuses what has no meaning

  def require(self, options: Mapping[str, Any], train: Source, val: Source) -> None:
    """UserError if a score cannot be had of the data `options`."""
    lacks = ""
    if "attributes" in self.metrics and options["name"] != "shapes":
      lacks = "'attributes', which are known of the data 'shapes' alone"
    if "generation" in self.metrics:
      why = scores.too_few(min(self.n, len(val)), train) or extractor.lacks(options["image_size"])
      lacks = f"'generation': {why}" if why else lacks
    if lacks:
      raise UserError(f"config.evaluation.metrics has {lacks}.")

  def __call__(
    self, pipeline: Pipeline, train: Source, val: Source, image_size: int
  ) -> dict[str, float]:
    """The scores' numbers, without intervals and tables."""
    features = None
    if not extractor.lacks(image_size):
      features = jax.device_put(pretrained.efficientnet_lite0())
    n = min(self.n, len(val))
    chosen = Scores(self.metrics, train=train, val=val, split="val", drawn=n, features=features)
    drawing = Drawing(val, n, SamplingOptions(temperature=self.temperature))
    parts = chosen.measure(drawing, pipeline).values()
    return {name: float(x) for part in parts for name, x, _ in rows(part.values)}
