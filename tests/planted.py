"""A pipeline whose drawings are chosen beforehand, for tests of what measures them."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from jaxt2i.pipeline import Pipeline
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

  def __call__(self, prompts: Sequence[str], *, seed: int, indices: np.ndarray, **options):
    assert options == dataclasses.asdict(OPTIONS)
    assert indices.shape == (len(prompts), 1)
    self.prompts.extend(prompts)
    pairs = zip(prompts, indices[:, 0], strict=True)
    images = np.stack([self.draw(prompt, int(index)) for prompt, index in pairs])
    return dataclasses.make_dataclass("Drawn", ["images"])(images[:, None])

  def encode(self, images: np.ndarray) -> np.ndarray:
    """Images as they are."""
    return images

  def decode(self, tokens: np.ndarray) -> np.ndarray:
    """What `rebuild` makes of them."""
    return self.rebuild(tokens)
