"""The judge of `shapes` pictures: which two objects are drawn, and how they stand, from pixels.

A fixed rule, no learnt part: the covered share of each pixel, connected components, the nearest
palette colour, the renderer's own shapes as templates, size by area, relation by centres of mass.
It knows no truth while it looks. `judge_accuracy` says how far to trust it: at 64×64 everything
was right in 1,000 of 1,000 renderings, also after a Gaussian blur of sigma 1 and noise of sigma 15;
after a blur of sigma 2 in 945. Shapes fail first: the judge is strict with mushy pictures.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from jaxt2i.data.records import Record
from jaxt2i.data.shapes import COLOURS, SHAPES, SIZES, Scene, SceneObject, coverage
from jaxt2i.errors import UserError

UNCLEAR = "unclear"  # a colour or a shape that resembles none enough; equal to no truth
SCORES = ("colours", "shapes", "sizes", "relation", "everything")

_CAST = 225.0  # 255 - lowest channel of a palette colour; see COLOURS
_LEAST_AREA = 0.005  # share of the image; the smallest object, a small star, covers 0.019
_FARTHEST_COLOUR = 90.0  # RGB distance; the nearest two palette colours are 144 apart
_LEAST_OVERLAP = 0.7  # of a template and an object; half of all shapeless blobs stay below
_BLUR = 1.0 / 64  # sigma of the softened templates, share of the image side


def judge(image: UInt8[np.ndarray, "H H 3"]) -> Scene | None:
  """What is drawn: a scene told from its left or upper object, or None unless two objects are.

  Args:
    image: RGB on white, as `data.shapes.draw` makes it or a model imitates it.

  Returns:
    A scene whose colours and shapes may be UNCLEAR. Its relation is "left of" or "above",
    whichever axis separates the centres of mass more.
  """
  covered = ((255.0 - image.min(-1)) / _CAST).clip(0, 1)
  regions = _regions(covered)
  if len(regions) != 2:
    return None
  centres = [ndimage.center_of_mass(covered * region) for region in regions]  # (y, x)
  (y0, x0), (y1, x1) = centres
  relation, order = ("left of", x1 - x0) if abs(x1 - x0) > abs(y1 - y0) else ("above", y1 - y0)
  things = [_look(image, covered * region) for region in regions]
  if order < 0:
    things.reverse()
  return Scene(things[0], things[1], relation)


def score(image: UInt8[np.ndarray, "H H 3"], truth: Mapping[str, Any]) -> dict[str, bool]:
  """Whether a picture shows what `truth`, the attributes of a record, says.

  Objects are paired with the truth's so that as many labels as possible agree; of two equal
  pairings, the one in which the relation holds counts. "A left of B" and "B right of A" are one.

  Returns:
    `colours`, `shapes`, `sizes` (of both objects), `relation`, `everything` (all of these).
    All False unless exactly two objects are drawn.
  """
  seen = judge(image)
  if seen is None:
    return dict.fromkeys(SCORES, False)
  said = Scene.from_attributes(truth)
  return max((_compare(told, said) for told in (seen, seen.mirrored())), key=_agreement)[0]


def judge_accuracy(records: Iterable[Record]) -> dict[str, float]:
  """Share of real renderings that the judge reads rightly, for each of SCORES.

  Raises:
    UserError: no record was given.
  """
  scores = [score(record.image, record.attributes) for record in records]
  if not scores:
    raise UserError("the judge's accuracy over 0 records: expected at least 1 record of `shapes`")
  return {name: float(np.mean([one[name] for one in scores])) for name in SCORES}


def _compare(seen: Scene, said: Scene) -> tuple[dict[str, bool], int]:
  """Scores with `first` meaning the same object in both, and how many of six labels agree."""
  pairs = ((seen.first, said.first), (seen.second, said.second))
  agree = {
    f"{name}s": [getattr(a, name) == getattr(b, name) for a, b in pairs]
    for name in ("colour", "shape", "size")
  }
  scores = {name: all(agree[name]) for name in ("colours", "shapes", "sizes")}
  scores["relation"] = seen.relation == said.relation
  scores["everything"] = all(scores.values())
  return scores, sum(map(sum, agree.values()))


def _agreement(compared: tuple[dict[str, bool], int]) -> tuple[int, bool]:
  scores, labels = compared
  return labels, scores["relation"]


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
  core = covered >= min(0.8, 0.9 * covered.max())  # pixels that hold little of the white
  shades = np.median(image[core], axis=0)
  distances = {name: float(np.linalg.norm(shades - rgb)) for name, rgb in COLOURS.items()}
  colour = min(distances, key=distances.__getitem__)
  fits = {shape: _fit(shape, covered) for shape in SHAPES}
  shape = max(fits, key=lambda name: fits[name][0])
  overlap, diameter = fits[shape]
  middle = float(np.sqrt(SIZES["large"] * SIZES["small"]))
  return SceneObject(
    size="large" if diameter > middle * image.shape[0] else "small",
    colour=colour if distances[colour] <= _FARTHEST_COLOUR else UNCLEAR,
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
