"""Pictures that a prior draws for the captions of a split, and all that is measured on them.

They are drawn once and in pieces, each of which every score sees. Scores keep little of a picture:
features, or a small copy.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from jaxt2i.data.records import Record, Source
from jaxt2i.pipeline import Pipeline
from jaxt2i.sampling import SamplingOptions

PIECE = 256  # pictures


@dataclasses.dataclass(frozen=True)
class Piece:
  """Some images of a split, and what a pipeline makes of them once a score asks for it."""

  records: Sequence[Record]
  start: int  # number of the first one among all that are drawn
  pipeline: Pipeline
  seed: int
  options: SamplingOptions

  @cached_property
  def captions(self) -> list[str]:
    """The first caption of each image."""
    return [record.captions[0] for record in self.records]

  @cached_property
  def real(self) -> UInt8[np.ndarray, "b H W 3"]:
    """The images."""
    return np.stack([record.image for record in self.records])

  @cached_property
  def reconstructed(self) -> UInt8[np.ndarray, "b H W 3"]:
    """The images as the tokenizer gives them back."""
    return self.pipeline.decode(self.pipeline.encode(self.real))

  @cached_property
  def drawn(self) -> UInt8[np.ndarray, "b H W 3"]:
    """A picture for each of `captions`."""
    return self._draw(self.captions)

  @cached_property
  def random(self) -> UInt8[np.ndarray, "b H W 3"]:
    """As many pictures without captions."""
    return self._draw([""] * len(self.records))

  def _draw(self, prompts: list[str]) -> np.ndarray:
    indices = np.arange(self.start, self.start + len(prompts))[:, None]
    options = dataclasses.asdict(self.options)
    return self.pipeline(prompts, seed=self.seed, indices=indices, **options).images[:, 0]


@runtime_checkable
class Score(Protocol):
  """Something measured on pictures: it is shown all pieces, then asked once."""

  def add(self, piece: Piece) -> None:
    """Looks at a piece."""
    ...

  def values(self) -> Mapping[str, Any]:
    """What was measured on all pieces."""
    ...


@dataclasses.dataclass(frozen=True)
class Drawing:
  """Draws one picture for the first caption of each of n images spread over a split.

  Picture k of all has index k, as if all captions were one prompt: where captions are the same,
  the pictures are not.
  """

  source: Source
  n: int
  options: SamplingOptions
  seed: int = 0

  def __call__(self, pipeline: Pipeline, scores: Sequence[Score]) -> dict[str, Any]:
    """Shows all pieces to all scores and gives their values."""
    numbers = spread(len(self.source), self.n)
    for start in range(0, len(numbers), PIECE):
      records = [self.source[i] for i in numbers[start : start + PIECE]]
      piece = Piece(records, start, pipeline, self.seed, self.options)
      for score in scores:
        score.add(piece)
    return {name: value for score in scores for name, value in score.values().items()}


def spread(count: int, n: int) -> list[int]:
  """n numbers at equal steps from 0 to count − 1, or all of these."""
  return [int(i) for i in np.linspace(0, count - 1, min(n, count)).astype(int)]
