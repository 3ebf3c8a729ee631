"""Are a prior's drawings, as a set, like the images of a split?"""

from functools import partial

import numpy as np

from jaxt2i.data.records import Source
from jaxt2i.evaluators import extractor, intervals
from jaxt2i.evaluators.drawn import Piece, spread
from jaxt2i.evaluators.extractor import Features
from jaxt2i.evaluators.frechet import LEAST_IMAGES, Moments, frechet_distance
from jaxt2i.evaluators.kernel import gaussian, mmd2, polynomial
from jaxt2i.evaluators.manifold import NEIGHBOURS, overlap
from jaxt2i.models.perceptual import POOLED
from jaxt2i.types import Variables

LEAST_DRAWN = 2 * NEIGHBOURS  # fewer have no neighbours worth the name
_AT_ONCE = 256  # training images
Value = float | tuple[float, float]  # or an interval


class Generation:
  """A `Score`: distances of sets of pictures from the real images whose captions were drawn.

  `drawn_…` are of the drawings for captions, `random_…` of those without, `floor_…` of as many
  training images: what drawings would have that are as good as real ones. (Where the split is of
  another distribution than training, as held-out combinations are, this is its distance from it.)

  - `kid`: squared kernel distance, KID's formula; 0 for one distribution, at any number of images.
  - `mmd`: 1,000 times the same with CMMD's kernel, on features of length 1 as there.
  - `fd`: Fréchet distance, of `LEAST_IMAGES` or more; compare those of equally many images alone.
  - `precision`, `recall`, `density`, `coverage`: see `manifold`.

  The features are none of InceptionV3 or CLIP, so none of these is a published FID, KID or CMMD.
  `…_95` is an interval: see `intervals.of_resamples`.
  """

  def __init__(self, variables: Variables, train: Source | None):
    """Without `train` there is no floor: where the split is that of training, it is the same."""
    self._variables, self._train = variables, train
    self._real: list[Features] = []
    self._fake: dict[str, list[Features]] = {"drawn": [], "random": []}

  def add(self, piece: Piece) -> None:
    """Looks at a piece."""
    look = partial(Features.of, self._variables)
    self._real.append(look(piece.real))
    self._fake["drawn"].append(look(piece.drawn))
    self._fake["random"].append(look(piece.random))

  def values(self) -> dict[str, Value]:
    """Of all pieces."""
    real = Features.together(self._real)
    sets = {name: Features.together(parts) for name, parts in self._fake.items()}
    if self._train is not None:
      sets["floor"] = self._training(self._train, len(real))
    return {
      f"{name}_{key}": value
      for name, fake in sets.items()
      for key, value in compare(real, fake, paired=name == "drawn").items()
    }

  def _training(self, train: Source, count: int) -> Features:
    numbers = spread(len(train), count)
    parts = []
    for start in range(0, len(numbers), _AT_ONCE):
      images = [train[i].image for i in numbers[start : start + _AT_ONCE]]
      parts.append(Features.of(self._variables, np.stack(images)))
    return Features.together(parts)


def compare(
  real: Features, fake: Features, *, paired: bool = False, seed: int = 0
) -> dict[str, Value]:
  """All distances of two sets, `LEAST_DRAWN` images or more each, with their intervals.

  Args:
    real, fake: features.
    paired: fake image i was drawn for the caption of real image i. See `kernel.mmd2`; they are
      resampled together.
    seed: of the resamples.
  """
  of_real = intervals.resamples(len(real), seed)
  of_fake = of_real if paired else intervals.resamples(len(fake), seed + 1)
  weights = of_real, of_fake
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
    f"{extractor.NAME}; {extractor.ENLARGED}; {of_fd}the last 1280 features; {count} pictures of "
    f"index 0 to {count - 1}, drawn for the first captions of images spread over the split "
    f"{split}, and as many without captions, against those images (kid and mmd of drawings for "
    "captions: no drawing against the image of its own caption); floor: as many training images, "
    f"or all; intervals: ±1.96 standard deviations of {intervals.RESAMPLES} bootstrap resamples, "
    "wide rather than narrow near 0. A tokenizer that learnt with a perceptual loss has learnt to "
    "please the same network"
  )
