"""Does a prior draw what the caption says? Scored attribute by attribute on `shapes`."""

import dataclasses

import numpy as np

from jaxt2i.data.records import Source
from jaxt2i.evaluators import shapes
from jaxt2i.pipeline import Pipeline


@dataclasses.dataclass(frozen=True)
class Attributes:
  """Draws one picture for the first caption of the first n scenes of a split and judges it.

  Shares of drawings with the colours, shapes, sizes of both objects, the relation, and everything
  right; `judge_accuracy` is the judge's own, on the real renderings of the same scenes.
  """

  source: Source
  n: int
  seed: int = 0
  temperature: float = 0.8

  def __call__(self, pipeline: Pipeline) -> dict[str, float]:
    """Draws and judges."""
    records = [self.source[i] for i in range(min(self.n, len(self.source)))]
    drawings = pipeline(
      [record.captions[0] for record in records], seed=self.seed, temperature=self.temperature
    )
    scores = [
      shapes.score(image, record.attributes)
      for image, record in zip(drawings.images[:, 0], records, strict=True)
    ]
    means = {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}
    return {**means, "judge_accuracy": shapes.judge_accuracy(records)["everything"]}
