"""Are drawings of a prior copies of training images?"""

import numpy as np
from jaxtyping import Float, UInt8

from jaxt2i.data.records import Source
from jaxt2i.evaluators.drawn import Piece, spread
from jaxt2i.evaluators.pairwise import squared_distances

PERCENTILE = 1.0  # of the distances from validation to training images
_MOST_VAL = 1000  # validation images that it is taken from
_SIDE = 64  # larger images are compared at this size
_AT_ONCE = 256  # training images that are compared


class Copies:
  """A `Score`: how near drawings are to training images, by mean squared distance at 64×64.

  `copy_rate`: share of drawings that are nearer to a training image than the 1st percentile of the
  distances from validation images to their nearest training image (`copy_distance`). Of validation
  images themselves it is 1 % by definition; where captions are those of training, a prior that
  remembers has a high one.
  """

  def __init__(self, train: Source, val: Source):
    self._train, self._val = train, val
    self._distances: list[np.ndarray] = []

  def add(self, piece: Piece) -> None:
    """Looks for the nearest training images of a piece's drawings."""
    self._distances.append(nearest(piece.drawn, self._train))

  def values(self) -> dict[str, float]:
    """Of all pieces."""
    val = np.stack([self._val[i].image for i in spread(len(self._val), _MOST_VAL)])
    limit = float(np.percentile(nearest(val, self._train), PERCENTILE))
    rate = float(np.mean(np.concatenate(self._distances) < limit))
    return {"copy_rate": rate, "copy_distance": limit}


def nearest(images: UInt8[np.ndarray, "n H W 3"], source: Source) -> Float[np.ndarray, " n"]:
  """Mean squared distance of pixels in [0, 1] from each image to the nearest one of a source.

  Images whose sides are multiples of 64 are averaged down to it.
  """
  x = _rows(images)
  best = np.full(len(images), np.inf)
  for start in range(0, len(source), _AT_ONCE):  # all pixels may not fit into memory
    end = min(start + _AT_ONCE, len(source))
    y = _rows(np.stack([source[i].image for i in range(start, end)]))
    best = np.minimum(best, squared_distances(x, y).min(axis=1))
  return best / x.shape[1]


def _rows(images: UInt8[np.ndarray, "n H W 3"]) -> Float[np.ndarray, "n D"]:
  n, height, width, _ = images.shape
  if height % _SIDE == 0 and width % _SIDE == 0:
    squares = images.reshape(n, _SIDE, height // _SIDE, _SIDE, width // _SIDE, 3)
    images = squares.mean(axis=(2, 4))
  return images.reshape(n, -1).astype(np.float64) / 255
