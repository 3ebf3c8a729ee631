"""Are drawings of a prior copies of training images?"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float64, Int, UInt8
from PIL import Image

from jaxt2i.data.records import Source
from jaxt2i.evaluators import extractor, intervals
from jaxt2i.evaluators.drawn import Piece, spread
from jaxt2i.evaluators.extractor import Features
from jaxt2i.evaluators.pairwise import squared_distances
from jaxt2i.pictures import labelled_grid
from jaxt2i.pipeline import Pipeline
from jaxt2i.types import Variables

PERCENTILE = 1.0  # of the distances from validation to training images
PERCENTILES = (0.1, 1.0, 5.0, 10.0, 25.0, 50.0)
WORST = 16  # drawings that are shown, in either space
_MOST_VAL = 1000  # validation images that it is taken from
_MOST_KNOWN = 256  # training images that are sent through the tokenizer
_SIDE = 64  # larger images are compared at this size
_AT_ONCE = 256  # training images that are compared
Space = Callable[[np.ndarray], np.ndarray]  # small images uint8 [n, h, w, 3] → [n, D]


class Copies:
  """A `Score`: how near drawings are to training images, all at 64×64, in one or two spaces.

  By pixels it is the mean squared distance, with `variables` by EfficientNet-Lite0's last features
  as well: a copy that is moved or lit otherwise is near in these alone.

  `copy_rate`: share of drawings that are nearer to a training image than the 1st percentile of the
  distances from validation images to their nearest training image (`copy_distance`). Of validation
  images themselves it is 1 % by definition; where captions are those of training, a prior that
  remembers has a high one. Its Wilson's interval is that of the drawings; the chance in the
  validation images comes on top. `copy_curve` has the same at other percentiles, and `…_features`
  is by features.

  `copy_recognised` is the positive control: the same share of reconstructions of training images,
  spread over the split, with Wilson's interval. These are copies as good as such tokens can draw
  them; where few are recognised, the tokenizer's grain hides copies, and a low `copy_rate` says
  nothing. `copy_recognised_curve` has it at the other percentiles.
  """

  def __init__(self, train: Source, val: Source, variables: Variables | None = None):
    self._train, self._val = train, val
    self._spaces: dict[str, Space] = {"": pixels}
    if variables is not None:
      self._spaces["_features"] = lambda images: Features.of(variables, images).last
    self._drawn: list[np.ndarray] = []
    self._captions: list[str] = []
    self._worst: list[tuple[str, int, int]] = []  # what to say, drawing, training image
    self._pipeline: Pipeline | None = None

  def add(self, piece: Piece) -> None:
    """Keeps a piece's drawings, small."""
    self._drawn.append(small(piece.drawn))
    self._captions += piece.captions
    self._pipeline = piece.pipeline

  def values(self) -> dict[str, Any]:
    """Of all pieces."""
    drawn = np.concatenate(self._drawn)
    val = small(np.stack([self._val[i].image for i in spread(len(self._val), _MOST_VAL)]))
    known = self._known()
    found: dict[str, Any] = {}
    self._worst = []
    for name, space in self._spaces.items():
      distances, numbers = nearest(np.concatenate([drawn, known, val]), self._train, space)
      of_drawn, of_known, usual = np.split(distances, np.cumsum([len(drawn), len(known)]))
      limits = {p: float(np.percentile(usual, p)) for p in PERCENTILES}
      found |= {
        **intervals.share(f"copy_rate{name}", of_drawn < limits[PERCENTILE]),
        **intervals.share(f"copy_recognised{name}", of_known < limits[PERCENTILE]),
        f"copy_distance{name}": limits[PERCENTILE],
        f"copy_curve{name}": _curve(of_drawn, limits),
        f"copy_recognised_curve{name}": _curve(of_known, limits),
      }
      by = name.removeprefix("_") or "pixels"
      first = np.argsort(of_drawn, kind="stable")[:WORST]
      self._worst += [(f"{by}: {self._captions[i]}", int(i), int(numbers[i])) for i in first]
    return found

  def _known(self) -> UInt8[np.ndarray, "n h w 3"]:
    """Reconstructions of training images, small."""
    assert self._pipeline is not None
    numbers = spread(len(self._train), _MOST_KNOWN)
    images = np.stack([self._train[i].image for i in numbers])
    return small(self._pipeline.decode(self._pipeline.encode(images)))

  def sheet(self) -> Image.Image:
    """After `values`: the worst cases, drawings beside the training images they are nearest to."""
    drawn = np.concatenate(self._drawn)
    train = [small(self._train[number].image[None])[0] for _, _, number in self._worst]
    rows = [np.stack([drawn[i], x]) for (_, i, _), x in zip(self._worst, train, strict=True)]
    return labelled_grid(np.stack(rows), [label for label, _, _ in self._worst])


def _curve(distances: Float64[np.ndarray, " n"], limits: Mapping[float, float]) -> dict[str, float]:
  return {f"{p:g}": float(np.mean(distances < limit)) for p, limit in limits.items()}


def protocol(train: int, val: int, *, seen: bool) -> str:
  """What must be said beside it."""
  spaces = f"by pixels and by {extractor.NAME}'s last features" if seen else "by pixels"
  return (
    f"nearest of {train} training images {spaces}, sides that are multiples of {_SIDE} pixels "
    f"averaged down to it; against {min(val, _MOST_VAL)} images of val; copy_recognised: of "
    f"{min(train, _MOST_KNOWN)} reconstructions of training images, the share told for copies; "
    "intervals: Wilson's"
  )


def nearest(
  images: UInt8[np.ndarray, "n h w 3"], source: Source, space: Space
) -> tuple[Float64[np.ndarray, " n"], Int[np.ndarray, " n"]]:
  """The nearest image of a source to each small image: mean squared distance, and its number."""
  x = space(images)
  best, numbers = np.full(len(x), np.inf), np.zeros(len(x), int)
  for start in range(0, len(source), _AT_ONCE):  # all pixels may not fit into memory
    end = min(start + _AT_ONCE, len(source))
    y = space(small(np.stack([source[i].image for i in range(start, end)])))
    distances = squared_distances(x, y)
    least = distances.min(axis=1)
    numbers = np.where(least < best, start + distances.argmin(axis=1), numbers)
    best = np.minimum(best, least)
  return best / x.shape[1], numbers


def pixels(images: UInt8[np.ndarray, "n h w 3"]) -> np.ndarray:
  """Pixels in [0, 1]."""
  return images.reshape(len(images), -1).astype(np.float32) / 255


def small(images: UInt8[np.ndarray, "n H W 3"]) -> UInt8[np.ndarray, "n h w 3"]:
  """Images whose sides are multiples of 64 averaged down to it, others as they are."""
  n, height, width, _ = images.shape
  if height % _SIDE or width % _SIDE or height == width == _SIDE:
    return images
  squares = images.reshape(n, _SIDE, height // _SIDE, _SIDE, width // _SIDE, 3)
  return np.rint(squares.mean(axis=(2, 4))).astype(np.uint8)
