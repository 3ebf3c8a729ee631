"""The Houses Dataset (Ahmed & Moustafa, 2016): four photos of each house, its rooms and price."""

import dataclasses
import posixpath
import re
from typing import Any, ClassVar

from jaxt2i.data.files import Tree, is_image
from jaxt2i.data.formats import common
from jaxt2i.data.formats.photos import Pairs
from jaxt2i.data.formats.tables import BadLine, lines_of
from jaxt2i.data.listing import Listing
from jaxt2i.errors import UserError

_INFO = "HousesInfo.txt"
# What stands for each kind of photo in "the … of a house" and in "a house's …".
_ROOMS = {
  "bathroom": ("the bathroom", "a bathroom"),
  "bedroom": ("the bedroom", "a bedroom"),
  "frontal": ("the front", "the outside"),
  "kitchen": ("the kitchen", "a kitchen"),
}
_PHOTO = re.compile(rf"(?P<house>[0-9]{{1,9}})_(?P<room>{'|'.join(_ROOMS)})")


@dataclasses.dataclass(frozen=True)
class Houses:
  """`Houses Dataset/<n>_{bathroom,bedroom,frontal,kitchen}.jpg` and `HousesInfo.txt`.

  Line n of the latter: bedrooms, bathrooms, area in square feet, zipcode and price in dollars of
  house n. Each photo has two captions made of them. Ids are the photos' file names.
  """

  src: str  # the folder

  terms: ClassVar[str] = (
    "the Houses Dataset is free to use with citation of Ahmed & Moustafa (2016), House price "
    "estimation from visual and textual features; there is no formal licence"
  )

  def __post_init__(self):
    common.check_texts(self, ("src",))

  def listing(self) -> Listing:
    """See Format."""
    tree = Tree(self.src)
    path = common.only(
      tree, common.named(tree, re.escape(_INFO)), f"files {_INFO}", "keep one of them"
    )
    if not path:
      raise UserError(f"no {_INFO} in {self.src}{tree.hint()}; check --src")
    where = f"{self.src}/{path}"
    lines = lines_of(tree.text(path))
    pairs = Pairs(tree, where)
    photos = _photos(pairs.photos.paths)
    try:
      for house, line in enumerate(lines, start=1):
        if not line.strip() and not any(map(str.strip, lines[house:])):
          break  # blank lines at the end
        facts = _facts(house, line)
        for room in _ROOMS:
          name = f"{house}_{room}.jpg"
          photo = photos.get((house, room), "")
          captions = _captions(room, facts["bedrooms"], facts["bathrooms"])
          pairs.add(photo, captions, name=name, attributes={"room": room, **facts})
    except BadLine as error:
      raise error.told(where, lines) from error
    return pairs.listing()


def _photos(paths: list[str]) -> dict[tuple[int, str], str]:
  """The photo of each house and room."""
  photos: dict[tuple[int, str], str] = {}
  for path in paths:
    if is_image(path) and (match := _PHOTO.fullmatch(posixpath.basename(path).partition(".")[0])):
      first = photos.setdefault((int(match["house"]), match["room"]), path)
      if first != path:
        raise UserError(f"two photos of one room, {first!r} and {path!r}: remove one of them")
  return photos


def _facts(house: int, line: str) -> dict[str, Any]:
  cells = line.split()
  numeric = [re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", cell) for cell in cells]
  if len(cells) != 5 or not all(numeric):
    raise BadLine(house, "expected five numbers: bedrooms bathrooms area zipcode price")
  bedrooms, bathrooms, area, _, price = (
    float(cell) if "." in cell else int(cell) for cell in cells
  )
  return {
    "house": house,
    "bedrooms": bedrooms,
    "bathrooms": bathrooms,
    "area": area,
    "zipcode": cells[3],  # a name made of digits: 01234 is not 1234
    "price": price,
  }


def _captions(room: str, bedrooms: int | float, bathrooms: int | float) -> tuple[str, str]:
  one, other = _ROOMS[room]
  counts = f"{_count(bedrooms, 'bedroom')} and {_count(bathrooms, 'bathroom')}"
  return (
    f"{one} of a house with {counts}",
    f"a photo of {other} of a {bedrooms:g} bedroom, {bathrooms:g} bathroom house",
  )


def _count(number: int | float, noun: str) -> str:
  return f"{number:g} {noun}" + ("" if number == 1 else "s")
