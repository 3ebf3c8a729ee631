"""Procedural scenes with exact ground truth, said in `data.scenes`, drawn here: `shapes`.

"large red star left of small blue heart": one to three objects, each with a size, a colour and a
shape, where they stand, and a background. Scene i of a split depends on (seed, split, i) and the
choice of objects and backgrounds alone. Three splits:

- `train`: none of `HELD_OUT`, the (colour, shape) pairs kept for the last split;
- `val`: none of `HELD_OUT` either, and only statements that `train` never shows in any position
  or wording, nor on another background: a tenth of all statements, always the same, is `val`'s;
- `compositional`: at least one object is of a pair in `HELD_OUT`. Its colour and its shape occur
  in `train`, together they do not.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxt2i.data.records import Record, options_fingerprint
from jaxt2i.data.scenes import (
  BACKGROUNDS,
  COLOURS,
  ORDINALS,
  POSITIONS,
  RELATIONS,
  SHAPES,
  SIZES,
  Scene,
  SceneObject,
  split_of,
)
from jaxt2i.errors import UserError

T = TypeVar("T")

COUNTS = (1, 2, 3)  # how many objects a scene may have
_SPLITS = ("train", "val", "compositional")  # the position seeds the split: append only
# Where objects stand, share of the image. All on rasters, and coarse ones: were objects anywhere,
# each would cut the squares behind the tokens in its own way, and learning those cuts would take a
# prior far longer than learning what the words mean.
_NUDGES = (-1 / 32, 0, 1 / 32)  # of one object from its position, along both axes
_LEVELS = (7 / 16, 8 / 16, 9 / 16)  # of two or three, across the relation's axis
_TWO = (0.25, 0.75)  # along it
# Three along it, by their sizes, with gaps as equal as the raster allows. Two large ones leave no
# room for a third, and drawing them smaller would make "large" mean less than it does elsewhere.
_THREE: dict[tuple[str, ...], tuple[float, float, float]] = {
  ("small", "small", "small"): (6 / 32, 16 / 32, 26 / 32),
  ("large", "small", "small"): (7 / 32, 18 / 32, 27 / 32),
  ("small", "large", "small"): (5 / 32, 16 / 32, 27 / 32),
  ("small", "small", "large"): (5 / 32, 14 / 32, 25 / 32),
}
_SUPERSAMPLING = 6  # inside-or-outside decisions along each side of a pixel


def coverage(
  shape: str, centre: tuple[float, float], diameter: float, image_size: int
) -> Float[np.ndarray, "H W"]:
  """Share of each pixel that a shape covers, float32 in [0, 1].

  Args:
    shape: one of SHAPES.
    centre: x to the right and y downwards in pixels, of the box around the shape.
    diameter: side of that box in pixels; what sticks out of the image is cut off.
    image_size: H and W.
  """
  canvas = np.zeros((image_size, image_size), np.float32)
  (left, right), (top, bottom) = (
    (max(0, math.floor(c - diameter / 2)), min(image_size, math.ceil(c + diameter / 2)))
    for c in centre
  )
  if left >= right or top >= bottom:
    return canvas
  x, y = (
    ((np.arange((end - start) * _SUPERSAMPLING) + 0.5) / _SUPERSAMPLING + start - c) * 2 / diameter
    for start, end, c in ((left, right, centre[0]), (top, bottom, centre[1]))
  )
  inside = _inside(shape, x[None, :], y[:, None])
  inside = inside.reshape(bottom - top, _SUPERSAMPLING, right - left, _SUPERSAMPLING)
  canvas[top:bottom, left:right] = inside.mean((1, 3), dtype=np.float32)
  return canvas


def _inside(
  shape: str, x: Float[np.ndarray, "1 w"], y: Float[np.ndarray, "h 1"]
) -> Bool[np.ndarray, "h w"]:
  """Whether points lie inside a shape that fits the box from -1 to 1; y points downwards."""
  match shape:
    case "circle":
      return x**2 + y**2 <= 0.92**2
    case "square":
      return (np.abs(x) <= 0.82) & (np.abs(y) <= 0.82)
    case "triangle":
      return (y <= 0.85) & (np.abs(x) <= (y + 0.9) / 1.75)
    case "cross":
      x, y = np.abs(x), np.abs(y)
      return ((x <= 0.34) & (y <= 0.95)) | ((x <= 0.95) & (y <= 0.34))
    case "heart":  # the curve (x² + y² - 1)³ = x² y³
      x, y = 1.15 * x, 0.12 - 1.15 * y
      return (x**2 + y**2 - 1) ** 3 <= x**2 * y**3
    case "star":
      # Fold the plane into the tenth between a tip and a notch: there the border is one line.
      x, y, fifth, notch = x / 1.05, y / 1.05 - 0.095, 2 * math.pi / 5, 0.48
      angle = np.abs((np.arctan2(x, -y) + fifth / 2) % fifth - fifth / 2)
      along, across = np.hypot(x, y) * np.cos(angle), np.hypot(x, y) * np.sin(angle)
      notch_along, notch_across = notch * math.cos(fifth / 2), notch * math.sin(fifth / 2)
      return across * (1 - notch_along) <= (1 - along) * notch_across
  raise ValueError(f"shape {shape!r}: expected one of {', '.join(SHAPES)}")


def draw(
  scene: Scene, centres: Sequence[tuple[float, float]], image_size: int
) -> UInt8[np.ndarray, "H W 3"]:
  """The picture of a scene; `centres` are (x, y) in pixels of its objects, which must not touch."""
  background = np.asarray(BACKGROUNDS[scene.background], np.float32)
  image = np.tile(background, (image_size, image_size, 1))
  for thing, centre in zip(scene.objects, centres, strict=True):
    covered = coverage(thing.shape, centre, SIZES[thing.size] * image_size, image_size)
    image -= covered[..., None] * (background - np.asarray(COLOURS[thing.colour], np.float32))
  return np.rint(image).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Shapes:
  """The data set `shapes`, drawn with numpy: no download, every label known.

  Raises:
    UserError: an option is not in its range.
  """

  image_size: int  # pixels, at least 32: a small star needs 7
  num_train: int
  num_val: int
  num_test: int  # of the split `compositional`
  seed: int
  objects: tuple[int, ...]  # how many a scene has, all equally often: some of COUNTS
  backgrounds: tuple[str, ...]  # all equally often: some of BACKGROUNDS

  version: ClassVar[int] = 2
  attribution: ClassVar[str] = ""
  licence: ClassVar[str] = "Apache-2.0"

  def __post_init__(self) -> None:
    least = {"image_size": 32, "num_train": 1, "num_val": 1, "num_test": 1, "seed": 0}
    for name, lowest in least.items():
      value = getattr(self, name)
      if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise UserError(f"shapes: {name}={value!r}: expected a whole number of {lowest} or more")
    menus: dict[str, Sequence[Any]] = {"objects": COUNTS, "backgrounds": tuple(BACKGROUNDS)}
    for name, menu in menus.items():
      value = getattr(self, name)
      if not isinstance(value, tuple) or not _some_of(menu, value):
        raise UserError(
          f"shapes: {name}={value!r}: expected one or more, each once, of "
          f"{', '.join(map(repr, menu))}"
        )

  def fingerprint(self) -> str:
    """Sha256 hex of version and options: the records depend on nothing else."""
    return options_fingerprint(self)

  def splits(self) -> Mapping[str, Iterable[Record]]:
    """Lazy records of `train`, `val` and `compositional`."""
    counts = dict(zip(_SPLITS, (self.num_train, self.num_val, self.num_test), strict=True))
    return {split: self._records(split, count) for split, count in counts.items()}

  def _records(self, split: str, count: int) -> Iterator[Record]:
    return (self.record(split, index) for index in range(count))

  def record(self, split: str, index: int) -> Record:
    """Record `index` of a split.

    Its image is [image_size, image_size, 3] uint8. Its attributes are those of `Scene.attributes`,
    each object's with its `"centre": [x, y]` in pixels.
    """
    # Raw bits and SeedSequence are the parts of numpy.random that stay the same in all versions.
    bits = np.random.PCG64(np.random.SeedSequence([self.seed, _SPLITS.index(split), index]))
    # Chosen once, lest the splits had their own shares: held-out pairs are likelier among three.
    count, background = _pick(bits, self.objects), _pick(bits, self.backgrounds)
    while True:
      scene = _random_scene(bits, count, background)
      if scene is not None and split_of(scene) == split:
        break
    centres = [(x * self.image_size, y * self.image_size) for x, y in _centres(bits, scene)]
    attributes = scene.attributes()
    for which, centre in zip(ORDINALS, centres, strict=False):
      attributes[which]["centre"] = list(centre)
    return Record(
      image_id=f"shapes-{split}-{index:06d}",
      image=draw(scene, centres, self.image_size),
      captions=scene.captions(),
      attributes=attributes,
    )


def _some_of(menu: Sequence[Any], chosen: tuple[Any, ...]) -> bool:
  """Whether `chosen` is one or more of a menu, each once; True is no 1."""
  known = [(type(dish), dish) for dish in menu]
  found = [(type(dish), dish) in known for dish in chosen]
  return bool(found) and all(found) and len(set(chosen)) == len(chosen)


def _pick(bits: np.random.PCG64, menu: Sequence[T]) -> T:
  """One of a menu, each equally likely; where there is no choice the stream does not move."""
  if len(menu) == 1:
    return menu[0]
  uniform = (bits.random_raw() >> 11) * 2.0**-53  # in [0, 1)
  return menu[int(uniform * len(menu))]


def _random_scene(bits: np.random.PCG64, count: int, background: str) -> Scene | None:
  """A scene with every choice equally likely.

  None where objects look alike but for size, or where three do not fit.
  """
  menus = (tuple(SIZES), tuple(COLOURS), SHAPES)
  objects = tuple(SceneObject(*(_pick(bits, menu) for menu in menus)) for _ in range(count))
  place = _pick(bits, tuple(POSITIONS) if count == 1 else RELATIONS)
  alike = len({(thing.colour, thing.shape) for thing in objects}) < count
  cramped = count == 3 and tuple(thing.size for thing in objects) not in _THREE
  return None if alike or cramped else Scene(objects, place, background)


def _centres(bits: np.random.PCG64, scene: Scene) -> list[tuple[float, float]]:
  """Where the objects stand: (x, y) as shares of the image."""
  if len(scene.objects) == 1:
    x, y = POSITIONS[scene.place]
    return [(x + _pick(bits, _NUDGES), y + _pick(bits, _NUDGES))]
  sizes = tuple(thing.size for thing in scene.objects)
  across = _pick(bits, _LEVELS)
  points = [(along, across) for along in (_TWO if len(sizes) == 2 else _THREE[sizes])]
  return [(y, x) for x, y in points] if scene.place == "above" else points
