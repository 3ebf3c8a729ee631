"""Are a prior's drawings, as a set, like the images of a split?"""

from functools import partial

import numpy as np

from jaxt2i.data.records import Source
from jaxt2i.evaluators import bootstrap, extractor
from jaxt2i.evaluators.drawn import Piece, spread
from jaxt2i.evaluators.extractor import Features
from jaxt2i.evaluators.frechet import LEAST_IMAGES, Moments, frechet_distance
from jaxt2i.evaluators.kernel import gaussian, mmd2, polynomial
from jaxt2i.evaluators.manifold import NEIGHBOURS, Overlap
from jaxt2i.models.perceptual import POOLED
from jaxt2i.types import Variables

LEAST_DRAWN = 2 * NEIGHBOURS  # fewer have no neighbours worth the name
_AT_ONCE = 256  # training images
Value = float | tuple[float, float]  # or an interval


class Generation:
  """A `Score`: distances of sets of pictures from the real images whose captions were drawn.

  `drawn_…` are of the drawings for captions, `random_…` of those without, `floor_…` of as many
  training images: what a model could reach whose drawings are as good as real ones.

  - `kid`: squared kernel distance, KID's formula; 0 for one distribution, at any number of images.
  - `mmd`: 1,000 times the same with CMMD's kernel, on features of length 1 as there.
  - `fd`: Fréchet distance, of `LEAST_IMAGES` or more; compare those of equally many images alone.
  - `precision`, `recall`, `density`, `coverage`: see `manifold`.

  The features are none of InceptionV3 or CLIP, so none of these is a published FID, KID or CMMD.
  Each has its 95 % interval of other samples of as many images beside it, `…_95`.
  """

  def __init__(self, variables: Variables, train: Source):
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
    sets["floor"] = self._training(len(real))
    return {
      f"{name}_{key}": value
      for name, fake in sets.items()
      for key, value in compare(real, fake).items()
    }

  def _training(self, count: int) -> Features:
    numbers = spread(len(self._train), count)
    parts = []
    for start in range(0, len(numbers), _AT_ONCE):
      images = [self._train[i].image for i in numbers[start : start + _AT_ONCE]]
      parts.append(Features.of(self._variables, np.stack(images)))
    return Features.together(parts)


def compare(real: Features, fake: Features, seed: int = 0) -> dict[str, Value]:
  """All distances of two sets, `LEAST_DRAWN` images or more each, with their intervals.

  Args:
    real, fake: features.
    seed: of the resamples.
  """
  weights = bootstrap.weights(len(real), seed), bootstrap.weights(len(fake), seed + 1)
  unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
  values = {
    "kid": mmd2(real.last, fake.last, polynomial, weights),
    "mmd": 1000 * mmd2(unit(real.last), unit(fake.last), gaussian, weights),
    **Overlap.of(real.last, fake.last).values(*weights),
  }
  if min(len(real), len(fake)) >= LEAST_IMAGES:
    columns = zip(*(w.T for w in weights), strict=True)
    of = lambda w, v: frechet_distance(Moments.of(real.middle, w), Moments.of(fake.middle, v))
    values["fd"] = np.array([of(w, v) for w, v in columns])
  result: dict[str, Value] = {}
  for name, found in values.items():
    result |= {name: float(found[0]), f"{name}_95": bootstrap.interval(found)}
  return result


def protocol(count: int, split: str) -> str:
  """What must be said beside these figures."""
  return (
    f"{extractor.NAME}; {extractor.ENLARGED}; fd: mean of {POOLED} features of stride 16, the "
    f"others: the last 1280; {count} pictures of index 0 to {count - 1}, drawn for the first "
    f"captions of images spread over the split {split}, and as many without captions, against "
    f"those images; floor: as many training images; intervals: ±1.96 standard deviations of "
    f"{bootstrap.RESAMPLES} bootstrap resamples of both sets"
  )
