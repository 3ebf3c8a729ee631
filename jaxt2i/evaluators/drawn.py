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
from jaxt2i.evaluators.captioned import captioned
from jaxt2i.matcher import Matcher
from jaxt2i.pipeline import Drawings, Pipeline
from jaxt2i.sampling import SamplingOptions

PIECE = 256  # pictures


@dataclasses.dataclass(frozen=True)
class Reranking:
  """Several candidates are drawn for a caption, and the one kept that a dual encoder prefers."""

  matcher: Matcher
  candidates: int


@dataclasses.dataclass(frozen=True)
class Piece:
  """Some images of a split, and what a pipeline makes of them once a score asks for it."""

  records: Sequence[Record]
  start: int  # number of the first one among all that are drawn
  pipeline: Pipeline
  seed: int
  options: SamplingOptions
  reranking: Reranking | None = None  # of drawings for captions

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
    if self.reranking is None:
      return self._draw(self.captions, 1).images[:, 0]
    drawings = self._draw(self.captions, self.reranking.candidates)
    return self.reranking.matcher.best(drawings, 1).images[:, 0]

  @cached_property
  def random(self) -> UInt8[np.ndarray, "b H W 3"]:
    """As many pictures without captions."""
    return self._draw([""] * len(self.records), 1).images[:, 0]

  def _draw(self, prompts: list[str], n: int) -> Drawings:
    indices = n * self.start + np.arange(n * len(prompts)).reshape(len(prompts), n)
    options = dataclasses.asdict(self.options)
    return self.pipeline(prompts, n=n, seed=self.seed, indices=indices, **options)


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
  the pictures are not. Of c candidates those of picture k have the indices from ck on.
  """

  source: Source
  n: int
  options: SamplingOptions
  seed: int = 0
  reranking: Reranking | None = None

  def __call__(self, pipeline: Pipeline, scores: Sequence[Score]) -> None:
    """Shows all pieces to all scores; UserError at an image without a caption."""
    numbers = spread(len(self.source), self.n)
    size = max(1, PIECE // (self.reranking.candidates if self.reranking else 1))
    for start in range(0, len(numbers), size):
      records = [captioned(self.source[i]) for i in numbers[start : start + size]]
      piece = Piece(records, start, pipeline, self.seed, self.options, self.reranking)
      for score in scores:
        score.add(piece)


def spread(count: int, n: int) -> list[int]:
  """n numbers at equal steps from 0 to count − 1, or all of these."""
  return [int(i) for i in np.linspace(0, count - 1, min(n, count)).astype(int)]
