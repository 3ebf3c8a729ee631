"""Does a prior draw what the caption says? Scored attribute by attribute on `shapes`."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from jaxt2i.data.records import Record, Source
from jaxt2i.evaluators import shapes
from jaxt2i.pipeline import Pipeline
from jaxt2i.sampling import SamplingOptions


@dataclasses.dataclass(frozen=True)
class Attributes:
  """Draws one picture for the first caption of the first n scenes of a split and judges it.

  Shares of drawings with each of `evaluators.shapes.SCORES` right: the relation among scenes of
  two or three objects, the position among those of one. Two figures say how far these can be
  trusted: `judge_accuracy` is the share of the same scenes' real renderings that the judge reads
  wholly right, `ceiling` that of the tokenizer's reconstructions of them, which a perfect prior
  would reach.
  """

  source: Source
  n: int
  options: SamplingOptions
  seed: int = 0

  def __call__(self, pipeline: Pipeline) -> dict[str, float]:
    """Draws and judges."""
    records = [self.source[i] for i in range(min(self.n, len(self.source)))]
    drawings = pipeline(
      [record.captions[0] for record in records],
      seed=self.seed,
      **dataclasses.asdict(self.options),
    )
    real = np.stack([record.image for record in records])
    reconstructed = pipeline.decode(pipeline.encode(real))
    return {
      **_shares(drawings.images[:, 0], records),
      "ceiling": _shares(reconstructed, records)["everything"],
      "judge_accuracy": _shares(real, records)["everything"],
    }


def _shares(images: UInt8[np.ndarray, "n H W 3"], records: Sequence[Record]) -> dict[str, float]:
  """Share of images with each attribute as its record says."""
  return shapes.shares(
    shapes.score(image, record.attributes) for image, record in zip(images, records, strict=True)
  )
