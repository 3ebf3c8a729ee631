"""The judge of `shapes` pictures: which objects are drawn, how they stand, on what, from pixels.

A fixed rule, no learnt part: the background at the border, the covered share of each pixel,
connected components, the nearest palette colour, the renderer's own shapes as templates, size by
area, relation and position by centres of mass. It knows no truth while it looks. `judge_accuracy`
says how far to trust it: at 64×64 everything was right in 1,000 of 1,000 renderings of each number
of objects on each background, also after a Gaussian blur of sigma 1 and noise of sigma 15. After a
blur of sigma 2 it was in 897 of one object, 828 of two, 646 of three. Shapes fail first: the judge
is strict with mushy pictures.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8
from scipy import ndimage

from jaxt2i.data.records import Record
from jaxt2i.data.scenes import (
  BACKGROUNDS,
  COLOURS,
  POSITIONS,
  SHAPES,
  SIZES,
  Scene,
  SceneObject,
)
from jaxt2i.data.shapes import COUNTS, coverage
from jaxt2i.errors import UserError

UNCLEAR = "unclear"  # what resembles no colour, shape or relation enough; equal to no truth
# A scene has a position (of one object) or a relation (of two or three), and a score for that one.
SCORES = (
  *("count", "colours", "shapes", "sizes"),
  *("relation", "position", "background", "everything"),
)

_LOWEST = 30.0  # channel of every palette colour; see COLOURS
_LEAST_AREA = 0.005  # share of the image; the smallest object, a small star, covers 0.019
_FARTHEST_COLOUR = 90.0  # RGB distance; the nearest two palette colours are 144 apart
_FARTHEST_BACKGROUND = 45.0  # the nearest two are 70 apart
_LEAST_OVERLAP = 0.7  # of a template and an object; half of all shapeless blobs stay below
_BLUR = 1.0 / 64  # sigma of the softened templates, share of the image side


def judge(image: UInt8[np.ndarray, "H H 3"]) -> Scene | None:
  """What is drawn: a scene told from its left or upper object.

  Args:
    image: RGB, as `data.shapes.draw` makes it or a model imitates it.

  Returns:
    A scene whose colours, shapes and background may be UNCLEAR. The relation of two is "left of"
    or "above", whichever axis separates the centres of mass more; of three it is UNCLEAR if
    neighbours do not agree. The position of one is the nearest. None unless one to three objects
    are drawn.
  """
  shade = np.median(_border(image), axis=0)
  nearest = _nearest(shade, BACKGROUNDS, np.inf)  # to measure what is drawn on an unclear one
  clear = np.asarray(BACKGROUNDS[nearest], np.float64)
  covered = ((clear - image) / (clear - _LOWEST)).max(-1).clip(0, 1)
  regions = _regions(covered)
  if len(regions) not in COUNTS or np.median(_border(covered)) > 0.5:  # all dark: no background
    return None
  centres = np.asarray([ndimage.center_of_mass(covered * region) for region in regions])  # y, x
  order, place = _place((centres[:, ::-1] + 0.5) / len(image))
  things = [_look(image, covered * region) for region in regions]
  return Scene(tuple(things[i] for i in order), place, _background(image))


def score(image: UInt8[np.ndarray, "H H 3"], truth: Mapping[str, Any]) -> dict[str, bool]:
  """Whether a picture shows what `truth`, the attributes of a record, says.

  Objects are paired with the truth's so that as many labels as possible agree; of equal pairings,
  one in which the relation holds counts. "A left of B" and "B right of A" are one.

  Returns:
    `count`, `colours`, `shapes`, `sizes` (of all objects), `relation` or `position`, `background`,
    `everything` (all of these). Without the right count nothing but the background can be right.
  """
  said = Scene.from_attributes(truth)
  seen = judge(image)
  if seen is None or len(seen.objects) != len(said.objects):
    right = _background(image) == said.background
    names = (*("count", "colours", "shapes", "sizes"), _place_name(said))
    return dict.fromkeys(names, False) | {"background": right, "everything": False}
  return max((_compare(told, said) for told in _tellings(seen)), key=lambda c: c[1:])[0]


def shares(scores: Iterable[Mapping[str, bool]]) -> dict[str, float]:
  """Share of True for each of SCORES, among the pictures that have it; without those none has."""
  return {name: float(np.mean(found)) for name, found in hits(scores).items()}


def hits(scores: Iterable[Mapping[str, bool]]) -> dict[str, Bool[np.ndarray, " n"]]:
  """For each of SCORES whether it is True, of the pictures that have it; without those none has."""
  rows = list(scores)
  found = {name: [row[name] for row in rows if name in row] for name in SCORES}
  return {name: np.array(values) for name, values in found.items() if values}


def judge_accuracy(records: Iterable[Record]) -> dict[str, float]:
  """Share of real renderings that the judge reads rightly, for each of SCORES that they have.

  Raises:
    UserError: no record was given.
  """
  accuracy = shares(score(record.image, record.attributes) for record in records)
  if not accuracy:
    raise UserError("the judge's accuracy over 0 records: expected at least 1 record of `shapes`")
  return accuracy


def _place_name(scene: Scene) -> str:
  return "position" if len(scene.objects) == 1 else "relation"


def _tellings(seen: Scene) -> Iterator[Scene]:
  """The scene told in every order of its objects; only from an end is there a word for it."""
  mirrored = seen.mirrored()
  yield from (seen, mirrored)
  for order in itertools.permutations(seen.objects):
    if order not in (seen.objects, mirrored.objects):
      yield Scene(order, UNCLEAR, seen.background)


def _compare(seen: Scene, said: Scene) -> tuple[dict[str, bool], int, bool]:
  """Scores if the nth object is the same in both; how many labels agree, whether the place does."""
  agree = {
    f"{name}s": [
      getattr(a, name) == getattr(b, name) for a, b in zip(seen.objects, said.objects, strict=True)
    ]
    for name in ("colour", "shape", "size")
  }
  scores = {"count": True} | {name: all(found) for name, found in agree.items()}
  scores[_place_name(said)] = seen.place == said.place
  scores["background"] = seen.background == said.background
  scores["everything"] = all(scores.values())
  return scores, sum(map(sum, agree.values())), seen.place == said.place


def _border(image: Shaped[np.ndarray, "H H *rest"]) -> Shaped[np.ndarray, "n *rest"]:
  """The outermost pixels, where no object lies."""
  return np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])


def _background(image: UInt8[np.ndarray, "H H 3"]) -> str:
  """Name of what objects stand on, or UNCLEAR."""
  return _nearest(np.median(_border(image), axis=0), BACKGROUNDS, _FARTHEST_BACKGROUND)


def _nearest(
  shade: Float[np.ndarray, "3"], palette: Mapping[str, tuple[int, int, int]], farthest: float
) -> str:
  """Name of the nearest colour of a palette, UNCLEAR if even that is too far."""
  distances = {name: float(np.linalg.norm(shade - rgb)) for name, rgb in palette.items()}
  name = min(distances, key=distances.__getitem__)
  return name if distances[name] <= farthest else UNCLEAR


def _place(centres: Float[np.ndarray, "n 2"]) -> tuple[list[int], str]:
  """Reading order of objects, and their relation or the position of one.

  Args:
    centres: (x, y) of each as shares of the image.
  """
  if len(centres) == 1:
    away = {name: float(np.linalg.norm(centres[0] - xy)) for name, xy in POSITIONS.items()}
    return [0], min(away, key=away.__getitem__)
  width, height = np.ptp(centres, axis=0)
  axis, relation = (0, "left of") if width > height else (1, "above")
  order = np.argsort(centres[:, axis], kind="stable")
  steps = np.abs(np.diff(centres[order], axis=0))
  if (steps[:, axis] < steps[:, 1 - axis]).any():
    relation = UNCLEAR
  return [int(i) for i in order], relation


def _regions(covered: Float[np.ndarray, "H H"]) -> list[Bool[np.ndarray, "H H"]]:
  """Connected parts of a picture that are large enough to be objects, each with its soft rim."""
  labels, count = ndimage.label(covered > 0.5)
  areas = ndimage.sum_labels(covered, labels, range(1, count + 1))
  objects = [1 + i for i, area in enumerate(areas) if area > _LEAST_AREA * covered.size]
  rim = max(1, round(covered.shape[0] / 32))
  grown = [ndimage.binary_dilation(labels == label, iterations=rim) for label in objects]
  return [
    mine & ~np.isin(labels, [label for label in objects if label != own])
    for own, mine in zip(objects, grown, strict=True)
  ]


def _look(image: UInt8[np.ndarray, "H H 3"], covered: Float[np.ndarray, "H H"]) -> SceneObject:
  """Names the one object of which `covered` is the share of each pixel, 0 elsewhere."""
  core = covered >= min(0.8, 0.9 * covered.max())  # pixels that hold little of the background
  shades = np.median(image[core], axis=0)
  fits = {shape: _fit(shape, covered) for shape in SHAPES}
  shape = max(fits, key=lambda name: fits[name][0])
  overlap, diameter = fits[shape]
  middle = float(np.sqrt(SIZES["large"] * SIZES["small"]))
  return SceneObject(
    size="large" if diameter > middle * image.shape[0] else "small",
    colour=_nearest(shades, COLOURS, _FARTHEST_COLOUR),
    shape=shape if overlap >= _LEAST_OVERLAP else UNCLEAR,
  )


def _fit(shape: str, covered: Float[np.ndarray, "H H"]) -> tuple[float, float]:
  """Overlap with a template of the same area and centre of mass, and that template's diameter.

  Overlap is the soft intersection over union, sum min(a, b) / sum max(a, b), with the template
  sharp or softened, whichever fits: generated pictures are soft, and softness is not judged.
  """
  image_size = covered.shape[0]
  template = _unit_template(shape)
  diameter = float(np.sqrt(covered.sum() / template.area))
  y, x = ndimage.center_of_mass(covered)
  centre = (float(x) - template.x * diameter + 0.5, float(y) - template.y * diameter + 0.5)
  sharp = coverage(shape, centre, diameter, image_size)
  soft = ndimage.gaussian_filter(sharp, _BLUR * image_size)
  overlaps = [np.minimum(covered, c).sum() / np.maximum(covered, c).sum() for c in (sharp, soft)]
  return float(max(overlaps)), diameter


@dataclasses.dataclass(frozen=True)
class _Unit:
  """A shape in a box of side 1: its area, its centre of mass from the middle of the box."""

  area: float
  x: float
  y: float


@functools.cache
def _unit_template(shape: str) -> _Unit:
  side = 64
  drawn = coverage(shape, (side / 2, side / 2), float(side), side)
  y, x = ndimage.center_of_mass(drawn)
  middle = (side - 1) / 2
  area = float(drawn.sum()) / side**2
  return _Unit(area, float(x - middle) / side, float(y - middle) / side)
