"""Does a prior draw what the caption says? Scored attribute by attribute on `shapes`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxt2i.data.records import Record
from jaxt2i.evaluators import intervals, shapes
from jaxt2i.evaluators.drawn import Piece

PROTOCOL = (
  "each attribute read off the pixels by rule; first captions of images spread over the split; "
  "intervals: Wilson's"
)


class Attributes:
  """A `Score`: shares of drawings with each of `evaluators.shapes.SCORES` right.

  The relation is of scenes of two or three objects, the position of those of one. Two figures say
  how far these can be trusted: `judge_accuracy` is the share of the same scenes' real renderings
  that the judge reads wholly right, `ceiling` that of the tokenizer's reconstructions of them,
  which a perfect prior would reach. All with Wilson's intervals.
  """

  def __init__(self) -> None:
    self._drawn: list[Mapping[str, bool]] = []
    self._reconstructed: list[Mapping[str, bool]] = []
    self._real: list[Mapping[str, bool]] = []

  def add(self, piece: Piece) -> None:
    """Judges a piece."""
    self._drawn += _scores(piece.drawn, piece.records)
    self._reconstructed += _scores(piece.reconstructed, piece.records)
    self._real += _scores(piece.real, piece.records)

  def values(self) -> dict[str, Any]:
    """Of all pieces."""
    found: dict[str, Any] = {}
    for name, hits in shapes.hits(self._drawn).items():
      found |= intervals.share(name, hits)
    for name, scores in (("ceiling", self._reconstructed), ("judge_accuracy", self._real)):
      found |= intervals.share(name, shapes.hits(scores)["everything"])
    return found


def _scores(
  images: UInt8[np.ndarray, "b H W 3"], records: Sequence[Record]
) -> list[Mapping[str, bool]]:
  pairs = zip(images, records, strict=True)
  return [shapes.score(image, record.attributes) for image, record in pairs]
