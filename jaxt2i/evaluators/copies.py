"""Are drawings of a prior copies of training images?"""

import dataclasses
import heapq
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int, UInt8
from PIL import Image

from jaxt2i.data.records import Source
from jaxt2i.evaluators.drawn import Piece, spread
from jaxt2i.evaluators.extractor import Features
from jaxt2i.evaluators.pairwise import squared_distances
from jaxt2i.pictures import labelled_grid
from jaxt2i.types import Variables

PERCENTILE = 1.0  # of the distances from validation to training images
PERCENTILES = (0.1, 1.0, 5.0, 10.0, 25.0, 50.0)
WORST = 16  # drawings that are shown
_MOST_VAL = 1000  # validation images that it is taken from
_SIDE = 64  # larger images are compared at this size
_AT_ONCE = 256  # training images that are compared
Space = Callable[[np.ndarray], np.ndarray]  # uint8 [n, H, W, 3] → [n, D]


class Copies:
  """A `Score`: how near drawings are to training images, in one or two spaces.

  By pixels it is the mean squared distance at 64×64, with `variables` by EfficientNet-Lite0's last
  features as well: a copy that is moved or lit otherwise is near in these alone.

  `copy_rate`: share of drawings that are nearer to a training image than the 1st percentile of the
  distances from validation images to their nearest training image (`copy_distance`). Of validation
  images themselves it is 1 % by definition; where captions are those of training, a prior that
  remembers has a high one. `copy_curve` has the same at other percentiles, and `…_features` is by
  features.
  """

  def __init__(self, train: Source, val: Source, variables: Variables | None = None):
    self._train, self._val = train, val
    self._spaces: dict[str, Neighbours] = {"": Neighbours(train, pixels)}
    if variables is not None:
      look: Space = lambda images: Features.of(variables, images).last
      self._spaces["_features"] = Neighbours(train, look, keep=True)
    self._distances: dict[str, list[np.ndarray]] = {name: [] for name in self._spaces}
    self._worst: dict[str, list[Pair]] = {name: [] for name in self._spaces}

  def add(self, piece: Piece) -> None:
    """Looks for the nearest training images of a piece's drawings."""
    for name, space in self._spaces.items():
      distances, numbers = space.of(piece.drawn)
      self._distances[name].append(distances)
      pairs = [
        Pair(float(distance), int(number), image, caption)
        for distance, number, image, caption in zip(
          distances, numbers, piece.drawn, piece.captions, strict=True
        )
      ]
      self._worst[name] = heapq.nsmallest(WORST, self._worst[name] + pairs, key=_distance)

  def values(self) -> dict[str, Any]:
    """Of all pieces."""
    val = np.stack([self._val[i].image for i in spread(len(self._val), _MOST_VAL)])
    found: dict[str, Any] = {}
    for name, space in self._spaces.items():
      usual, drawn = space.of(val)[0], np.concatenate(self._distances[name])
      limits = {p: float(np.percentile(usual, p)) for p in PERCENTILES}
      curve = {p: float(np.mean(drawn < limit)) for p, limit in limits.items()}
      found |= {
        f"copy_rate{name}": curve[PERCENTILE],
        f"copy_distance{name}": limits[PERCENTILE],
        f"copy_curve{name}": {f"{p:g}": rate for p, rate in curve.items()},
      }
    return found

  def sheet(self) -> Image.Image:
    """The worst cases of each space: drawings, each beside the training image it is nearest to."""
    pairs = [(name, pair) for name, worst in self._worst.items() for pair in worst]
    rows = np.stack([np.stack([pair.drawn, self._train[pair.number].image]) for _, pair in pairs])
    by = {"": "pixels", "_features": "features"}
    return labelled_grid(rows, [f"{by[name]}: {pair.caption}" for name, pair in pairs])


@dataclasses.dataclass(frozen=True)
class Pair:
  """A drawing and the training image that it is nearest to."""

  distance: float
  number: int
  drawn: UInt8[np.ndarray, "H W 3"]
  caption: str


def _distance(pair: Pair) -> float:
  return pair.distance


class Neighbours:
  """Finds the nearest images of a source in some space."""

  def __init__(self, source: Source, space: Space, *, keep: bool = False):
    """With `keep` the source's points stay in memory: they are few numbers, and costly."""
    self._source, self._space = source, space
    self._kept: list[np.ndarray] | None = list(self._points()) if keep else None

  def of(
    self, images: UInt8[np.ndarray, "n H W 3"]
  ) -> tuple[Float64[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Mean squared distance of coordinates to the nearest image, and its number."""
    x = self._space(images)
    best, numbers = np.full(len(x), np.inf), np.zeros(len(x), int)
    start = 0
    for y in self._kept or self._points():
      distances = squared_distances(x, y)
      nearest = distances.min(axis=1)
      numbers = np.where(nearest < best, start + distances.argmin(axis=1), numbers)
      best = np.minimum(best, nearest)
      start += len(y)
    return best / x.shape[1], numbers

  def _points(self) -> Iterator[np.ndarray]:
    for start in range(0, len(self._source), _AT_ONCE):  # all pixels may not fit into memory
      end = min(start + _AT_ONCE, len(self._source))
      yield self._space(np.stack([self._source[i].image for i in range(start, end)]))


def pixels(images: UInt8[np.ndarray, "n H W 3"]) -> Float[np.ndarray, "n D"]:
  """Pixels in [0, 1]; images whose sides are multiples of 64 are averaged down to it."""
  n, height, width, _ = images.shape
  if height % _SIDE == 0 and width % _SIDE == 0:
    squares = images.reshape(n, _SIDE, height // _SIDE, _SIDE, width // _SIDE, 3)
    images = squares.mean(axis=(2, 4))
  return images.reshape(n, -1).astype(np.float64) / 255
