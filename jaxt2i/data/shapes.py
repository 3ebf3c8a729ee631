"""Procedural scenes of two objects with exact ground truth: `shapes`.

A scene says "large red star left of small blue heart": two objects, each with a size, a colour
and a shape, and a relation. Scene i of a split depends on (seed, split, i) alone. Three splits:

- `train`: none of `HELD_OUT`, the (colour, shape) pairs kept for the last split;
- `val`: none of `HELD_OUT` either, and only statements that `train` never shows in any position
  or wording: a tenth of all statements, always the same, belongs to `val`;
- `compositional`: at least one object is of a pair in `HELD_OUT`. Its colour and its shape occur
  in `train`, together they do not.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxt2i.data.records import Record, options_fingerprint, share_of_hash
from jaxt2i.errors import UserError

# Every colour has 30 in its lowest channel, so that on white (255 - lowest channel) / 225 is the
# covered share of a pixel whatever the colour; `evaluators.shapes` relies on it.
COLOURS: dict[str, tuple[int, int, int]] = {
  "red": (225, 30, 45),
  "yellow": (255, 200, 30),
  "green": (30, 165, 80),
  "blue": (30, 100, 235),
  "purple": (155, 30, 200),
  "black": (30, 30, 30),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross")
SIZES = {"large": 0.36, "small": 0.22}  # side of the box around an object / side of the image
# Scenes are told in reading order, from the left or the upper object: with the opposites as well, a
# prior spends most of its minutes on finding out which object it has to draw first.
RELATIONS = ("left of", "above")
# For telling a scene from its second object, as the judge of pictures must.
OPPOSITES = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
# One of 6 pairs for each colour and each shape: everything is learnt equally often.
HELD_OUT = (
  ("red", "heart"),
  ("yellow", "square"),
  ("green", "circle"),
  ("blue", "star"),
  ("purple", "triangle"),
  ("black", "cross"),
)
_SPLITS = ("train", "val", "compositional")  # the position seeds the split: append only
_VAL_SHARE = 0.1
# Where scenes lie across the relation's axis, share of the image. A raster, and a coarse one: were
# objects anywhere, each would cut the squares behind the tokens in its own way, and learning those
# cuts would take a prior far longer than learning what the words mean.
_LEVELS = (7 / 16, 8 / 16, 9 / 16)
_SUPERSAMPLING = 6  # inside-or-outside decisions along each side of a pixel
# "a large red star with a small blue heart <these words>"
_WHERE_SECOND = {"left of": "to its right", "above": "below it"}


@dataclasses.dataclass(frozen=True)
class SceneObject:
  """What is said of one object."""

  size: str
  colour: str
  shape: str

  def __str__(self) -> str:
    return f"{self.size} {self.colour} {self.shape}"


@dataclasses.dataclass(frozen=True)
class Scene:
  """What is said of a picture: `first` is `relation` `second`."""

  first: SceneObject
  second: SceneObject
  relation: str  # one of RELATIONS; of OPPOSITES where it is told the other way round

  @classmethod
  def from_attributes(cls, attributes: Mapping[str, Any]) -> "Scene":
    """The scene in a record's attributes; centres, if there are any, are left out."""
    names = [field.name for field in dataclasses.fields(SceneObject)]
    first, second = (
      SceneObject(**{name: attributes[which][name] for name in names})
      for which in ("first", "second")
    )
    return cls(first, second, attributes["relation"])

  def mirrored(self) -> "Scene":
    """The same scene told from the second object: A left of B is B right of A."""
    return Scene(self.second, self.first, OPPOSITES[self.relation])

  def captions(self) -> tuple[str, ...]:
    """The exact statement, then paraphrases of it."""
    return (
      f"{self.first} {self.relation} {self.second}",
      f"a {self.first} {self.relation} a {self.second}",
      f"a {self.first} with a {self.second} {_WHERE_SECOND[self.relation]}",
    )


def split_of(scene: Scene) -> str:
  """The only split that may show this statement."""
  if any((thing.colour, thing.shape) in HELD_OUT for thing in (scene.first, scene.second)):
    return "compositional"
  return "val" if share_of_hash(scene.captions()[0]) < _VAL_SHARE else "train"


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
  scene: Scene, centres: tuple[tuple[float, float], tuple[float, float]], image_size: int
) -> UInt8[np.ndarray, "H W 3"]:
  """The picture of a scene, on white; `centres` are (x, y) in pixels of the two objects."""
  image = np.full((image_size, image_size, 3), 255, np.float32)
  for thing, centre in zip((scene.first, scene.second), centres, strict=True):
    covered = coverage(thing.shape, centre, SIZES[thing.size] * image_size, image_size)
    image -= covered[..., None] * (255 - np.asarray(COLOURS[thing.colour], np.float32))
  return np.rint(image).astype(np.uint8)


def _centres(
  scene: Scene, uniform: float, image_size: int
) -> tuple[tuple[float, float], tuple[float, float]]:
  """Where the objects stand: a quarter and three quarters along the relation's axis, and level."""
  across = _LEVELS[int(uniform * len(_LEVELS))] * image_size
  points = (0.25 * image_size, across), (0.75 * image_size, across)
  if scene.relation == "above":
    return (points[0][1], points[0][0]), (points[1][1], points[1][0])
  return points


@dataclasses.dataclass(frozen=True)
class Shapes:
  """The data set `shapes`, drawn with numpy: no download, every label known.

  Raises:
    UserError: an option is not a whole number in its range.
  """

  image_size: int  # pixels, at least 32: a small star needs 7
  num_train: int
  num_val: int
  num_test: int  # of the split `compositional`
  seed: int

  version: ClassVar[int] = 2
  attribution: ClassVar[str] = ""
  licence: ClassVar[str] = "Apache-2.0"

  def __post_init__(self) -> None:
    least = {"image_size": 32, "num_train": 1, "num_val": 1, "num_test": 1, "seed": 0}
    for name, lowest in least.items():
      value = getattr(self, name)
      if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise UserError(f"shapes: {name}={value!r}: expected a whole number of {lowest} or more")

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

    Its image is [image_size, image_size, 3] uint8. Its attributes are
    `{"first": {"size", "colour", "shape", "centre": [x, y] in pixels}, "second": …, "relation"}`.
    """
    # Raw bits and SeedSequence are the parts of numpy.random that stay the same in all versions.
    bits = np.random.PCG64(np.random.SeedSequence([self.seed, _SPLITS.index(split), index]))
    while True:
      scene = _random_scene(_uniforms(bits, 7))
      if scene is not None and split_of(scene) == split:
        break
    centres = _centres(scene, float(_uniforms(bits, 1)[0]), self.image_size)
    attributes: dict[str, Any] = {"relation": scene.relation}
    for which, centre in zip(("first", "second"), centres, strict=True):
      attributes[which] = dataclasses.asdict(getattr(scene, which)) | {"centre": list(centre)}
    return Record(
      image_id=f"shapes-{split}-{index:06d}",
      image=draw(scene, centres, self.image_size),
      captions=scene.captions(),
      attributes=attributes,
    )


def _uniforms(bits: np.random.PCG64, count: int) -> Float[np.ndarray, "count"]:
  """Numbers in [0, 1), the next `count` of the stream."""
  return (np.asarray(bits.random_raw(count)) >> np.uint64(11)) * 2.0**-53


def _random_scene(uniforms: Float[np.ndarray, "7"]) -> Scene | None:
  """A scene with every choice equally likely; None where both objects look alike but for size."""
  menus = (tuple(SIZES), tuple(COLOURS), SHAPES) * 2 + (RELATIONS,)
  picks = [menu[int(u * len(menu))] for menu, u in zip(menus, uniforms, strict=True)]
  scene = Scene(SceneObject(*picks[:3]), SceneObject(*picks[3:6]), picks[6])
  return None if picks[1:3] == picks[4:6] else scene
