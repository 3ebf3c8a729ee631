"""What the pictures of `shapes` show, in words: objects, how they stand, and on what.

"large red star left of small blue heart on grey": one to three objects, each with a size, a colour
and a shape; the position of one, the relation of two or three; a background unless it is white.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxt2i.data.records import share_of_hash

# Every colour has 30 in its lowest channel and no channel of a background is so low: the channel
# that fell most on the way from background to 30 then says how much of a pixel is covered,
# whatever the colour; `evaluators.shapes` relies on it.
COLOURS: dict[str, tuple[int, int, int]] = {
  "red": (225, 30, 45),
  "yellow": (255, 200, 30),
  "green": (30, 165, 80),
  "blue": (30, 100, 235),
  "purple": (155, 30, 200),
  "black": (30, 30, 30),
}
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
  "white": (255, 255, 255),  # goes without saying
  "grey": (190, 190, 190),
  "pink": (255, 195, 215),
  "light blue": (175, 215, 255),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross")
SIZES = {"large": 0.36, "small": 0.22}  # side of the box around an object / side of the image
# Of one object: its centre as shares of the image, to the right and downwards. Corners and centre,
# because "on the left" would be true of an upper left as well.
POSITIONS = {
  "upper left": (0.25, 0.25),
  "upper right": (0.75, 0.25),
  "lower left": (0.25, 0.75),
  "lower right": (0.75, 0.75),
  "centre": (0.5, 0.5),
}
# Scenes are told in reading order, from the left or the upper object: with the opposites as well, a
# prior spends most of its minutes on finding out which object it has to draw first.
RELATIONS = ("left of", "above")
# For telling a scene from its other end, as the judge of pictures must.
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
_VAL_SHARE = 0.1
ORDINALS = ("first", "second", "third")  # keys of the objects in a record's attributes
_ALSO = {  # other words for a position
  "upper left": "top left",
  "upper right": "top right",
  "lower left": "bottom left",
  "lower right": "bottom right",
  "centre": "middle",
}
# "a large red star with a small blue heart <these words>"
_WHERE_SECOND = {"left of": "to its right", "above": "below it"}
_READING = {"left of": "from left to right", "above": "from top to bottom"}


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
  """What is said of a picture.

  Attributes:
    objects: one to three.
    place: of one object, one of POSITIONS; of more, the relation of each to the next, one of
      RELATIONS, or of OPPOSITES where it is told from the other end.
    background: one of BACKGROUNDS.
  """

  objects: tuple[SceneObject, ...]
  place: str
  background: str

  @classmethod
  def from_attributes(cls, attributes: Mapping[str, Any]) -> "Scene":
    """The scene in a record's attributes; centres, if there are any, are left out."""
    names = [field.name for field in dataclasses.fields(SceneObject)]
    told = [attributes[which] for which in ORDINALS if which in attributes]
    objects = tuple(SceneObject(**{name: one[name] for name in names}) for one in told)
    place = attributes["position" if len(objects) == 1 else "relation"]
    return cls(objects, place, attributes["background"])

  def attributes(self) -> dict[str, Any]:
    """The scene as JSON-able labels: `{"first": {"size": …}, …, "relation": …, "background": …}`.

    Objects are `first`, `second`, `third`; one alone has a `position` instead of a `relation`.
    """
    told = zip(ORDINALS, self.objects, strict=False)
    labels: dict[str, Any] = {which: dataclasses.asdict(thing) for which, thing in told}
    labels["position" if len(self.objects) == 1 else "relation"] = self.place
    return labels | {"background": self.background}

  def mirrored(self) -> "Scene":
    """The same scene told from its last object: A left of B is B right of A."""
    return Scene(self.objects[::-1], OPPOSITES.get(self.place, self.place), self.background)

  def captions(self) -> tuple[str, ...]:
    """The exact statement, then paraphrases of it; of scenes that are not mirrored."""
    names = [str(thing) for thing in self.objects]
    a = [f"a {name}" for name in names]  # no size begins with a vowel
    joint = f" {self.place} "
    match len(names):
      case 1:
        told = [f"{one} in the {self.place}" for one in (*names, *a)]
        told.append(f"{a[0]} in the {_ALSO[self.place]}")
      case 2:
        told = [joint.join(names), joint.join(a)]
        told.append(f"{a[0]} with {a[1]} {_WHERE_SECOND[self.place]}")
      case _:
        told = [joint.join(names), joint.join(a)]
        told.append(f"{a[0]}, {a[1]} and {a[2]} {_READING[self.place]}")
    if self.background == "white":
      return tuple(told)
    ends = (f"on {self.background}",) * 2 + (f"on a {self.background} background",)
    return tuple(f"{words} {end}" for words, end in zip(told, ends, strict=True))


def split_of(scene: Scene) -> str:
  """The only split that may show this statement, the same on all backgrounds."""
  if any((thing.colour, thing.shape) in HELD_OUT for thing in scene.objects):
    return "compositional"
  statement = dataclasses.replace(scene, background="white").captions()[0]
  return "val" if share_of_hash(statement) < _VAL_SHARE else "train"
