"""Are a prior's drawings, as a set, like the images of a split?"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float64

from jaxt2i.data.records import Source
from jaxt2i.evaluators import extractor, intervals
from jaxt2i.evaluators.drawn import Piece, spread
from jaxt2i.evaluators.extractor import Features
from jaxt2i.evaluators.frechet import LEAST_IMAGES, Moments, frechet_distance
from jaxt2i.evaluators.intervals import Value
from jaxt2i.evaluators.kernel import gaussian, mmd2, polynomial
from jaxt2i.evaluators.manifold import NEIGHBOURS, overlap
from jaxt2i.models.perceptual import POOLED
from jaxt2i.types import Variables

LEAST_DRAWN = 2 * NEIGHBOURS  # fewer have no neighbours worth the name
_AT_ONCE = 256  # training images


@dataclasses.dataclass(frozen=True)
class Space:
  """What sets of images are compared in: how a network sees them, and by which distances.

  Attributes:
    look: images uint8 [n, H, W, 3] to their features.
    together: features of parts to those of all.
    compare: features of real images and of others to values, with intervals; `paired` as of
      `compare`.
  """

  look: Callable[[np.ndarray], Any]
  together: Callable[[list[Any]], Any]
  compare: Callable[..., dict[str, Value]]


class Generation:
  """A `Score`: distances of sets of pictures from the real images whose captions were drawn.

  `drawn_…` are of the drawings for captions, `random_…` of those without, `floor_…` of as many
  training images: what drawings would have that are as good as real ones. (Where the split is of
  another distribution than training, as held-out combinations are, this is its distance from it.)
  """

  def __init__(self, space: Space, train: Source | None):
    """Without `train` there is no floor: where the split is that of training, it is the same."""
    self._space, self._train = space, train
    self._real: list[Any] = []
    self._fake: dict[str, list[Any]] = {"drawn": [], "random": []}

  def add(self, piece: Piece) -> None:
    """Looks at a piece."""
    look = self._space.look
    self._real.append(look(piece.real))
    self._fake["drawn"].append(look(piece.drawn))
    self._fake["random"].append(look(piece.random))

  def values(self) -> dict[str, Value]:
    """Of all pieces."""
    real = self._space.together(self._real)
    sets = {name: self._space.together(parts) for name, parts in self._fake.items()}
    if self._train is not None:
      sets["floor"] = self._training(self._train, len(real))
    found = {
      f"{name}_{key}": value
      for name, fake in sets.items()
      for key, value in self._space.compare(real, fake, paired=name == "drawn").items()
    }
    if len(sets.get("floor", real)) < len(real):  # of fewer images these are larger
      for key in ("floor_fd", "floor_fid"):
        found.pop(key, None)
        found.pop(key + intervals.SUFFIX, None)
    return found

  def _training(self, train: Source, count: int) -> Any:
    numbers = spread(len(train), count)
    parts = []
    for start in range(0, len(numbers), _AT_ONCE):
      images = [train[i].image for i in numbers[start : start + _AT_ONCE]]
      parts.append(self._space.look(np.stack(images)))
    return self._space.together(parts)


def efficientnet(variables: Variables) -> Space:
  """The features of `extractor`, and the distances of `compare`."""
  return Space(partial(Features.of, variables), Features.together, compare)


def compare(
  real: Features, fake: Features, *, paired: bool = False, seed: int = 0
) -> dict[str, Value]:
  """All distances of two sets, `LEAST_DRAWN` images or more each, with their intervals `…_95`.

  - `kid`: squared kernel distance, KID's formula; 0 for one distribution, at any number of images.
  - `mmd`: 1,000 times the same with CMMD's kernel, on features of length 1 as there.
  - `fd`: Fréchet distance, of `LEAST_IMAGES` or more; compare those of equally many images alone.
  - `precision`, `recall`, `density`, `coverage`: see `manifold`.

  The features are none of InceptionV3 or CLIP, so none of these is a published FID, KID or CMMD.
  `…_95` is an interval: see `intervals.of_resamples`.

  Args:
    real, fake: features.
    paired: fake image i was drawn for the caption of real image i. See `kernel.mmd2`; they are
      resampled together.
    seed: of the resamples.
  """
  weights = resampled(len(real), len(fake), paired=paired, seed=seed)
  unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
  values = {
    "kid": mmd2(real.last, fake.last, polynomial, weights, paired=paired),
    "mmd": 1000 * mmd2(unit(real.last), unit(fake.last), gaussian, weights, paired=paired),
    **overlap(real.last, fake.last, weights),
  }
  if min(len(real), len(fake)) >= LEAST_IMAGES:
    columns = zip(*(w.T for w in weights), strict=True)
    of = lambda w, v: frechet_distance(Moments.of(real.middle, w), Moments.of(fake.middle, v))
    values["fd"] = np.array([of(w, v) for w, v in columns])
  return with_intervals(values)


def resampled(
  real: int, fake: int, *, paired: bool, seed: int, most: int = intervals.RESAMPLES
) -> tuple[Float64[np.ndarray, "n R"], Float64[np.ndarray, "m R"]]:
  """Weights of two sets and of their resamples, pairs resampled together; see `intervals`."""
  of_real = intervals.resamples(real, seed)
  of_fake = of_real if paired else intervals.resamples(fake, seed + 1)
  return of_real[:, : most + 1], of_fake[:, : most + 1]


def with_intervals(values: Mapping[str, Float64[np.ndarray, " R"]]) -> dict[str, Value]:
  """Values of sets and of their resamples as numbers with intervals."""
  result: dict[str, Value] = {}
  for name, found in values.items():
    low, high = intervals.of_resamples(found)
    if name in ("precision", "recall", "coverage"):  # shares
      low, high = max(low, 0.0), min(high, 1.0)
    result |= {name: float(found[0]), name + intervals.SUFFIX: (low, high)}
  return result


def protocol(count: int, split: str) -> str:
  """What must be said beside these figures."""
  of_fd = f"fd: mean of {POOLED} features of stride 16, the others: " * (count >= LEAST_IMAGES)
  return (
    f"{extractor.NAME}; {extractor.ENLARGED}; {of_fd}the last 1280 features; {count} pictures, "
    "number k of index k, of c candidates from ck on, drawn for the first captions of images "
    f"spread over the split {split}, and as many without captions, against those images (kid and "
    "mmd of drawings for captions: no drawing against the image of its own caption); floor: as "
    "many training images, or all; intervals: ±1.96 standard deviations of "
    f"{intervals.RESAMPLES} bootstrap resamples, "
    "wide rather than narrow near 0. A tokenizer that learnt with a perceptual loss has learnt to "
    "please the same network"
  )
