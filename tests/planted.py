"""A pipeline whose drawings are chosen beforehand, for tests of what measures them."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxt2i.evaluators.drawn import Drawing, Score
from jaxt2i.pipeline import Drawings, Pipeline
from jaxt2i.sampling import SamplingOptions

OPTIONS = SamplingOptions(temperature=0.7)


class Planted(Pipeline):
  """Draws what `draw` gives for (prompt, index), and reconstructs as `rebuild` does."""

  def __init__(
    self,
    draw: Callable[[str, int], np.ndarray],
    rebuild: Callable[[np.ndarray], np.ndarray] = lambda images: images,
  ):
    object.__setattr__(self, "draw", draw)
    object.__setattr__(self, "rebuild", rebuild)
    object.__setattr__(self, "prompts", [])  # that were asked for

  def __call__(
    self, prompts: Sequence[str], *, n: int, seed: int, indices: np.ndarray, **options
  ) -> Drawings:
    assert options == dataclasses.asdict(OPTIONS)
    assert indices.shape == (len(prompts), n)
    self.prompts.extend(prompts)
    pairs = zip(prompts, indices, strict=True)
    images = np.stack([[self.draw(prompt, int(i)) for i in numbers] for prompt, numbers in pairs])
    tokens = np.zeros((*indices.shape, 1, 1), np.int32)
    return Drawings(tuple(prompts), seed, "", OPTIONS, tokens, images, indices)

  def encode(self, images: np.ndarray) -> np.ndarray:
    """Images as they are."""
    return images

  def decode(self, tokens: np.ndarray) -> np.ndarray:
    """What `rebuild` makes of them."""
    return self.rebuild(tokens)


def values_of(drawing: Drawing, pipeline: Pipeline, *scores: Score) -> dict[str, Any]:
  """Draws, and gives the values of all scores together."""
  drawing(pipeline, scores)
  return {name: value for score in scores for name, value in score.values().items()}
