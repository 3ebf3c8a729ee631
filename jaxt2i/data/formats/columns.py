"""Tables as entries: which columns are names and captions, rows of one image."""

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from jaxt2i.data.files import Blob
from jaxt2i.data.listing import Captions, Entry, Listing
from jaxt2i.errors import UserError

# Columns that name the image, the first that is there; a bare id may be anything's.
_IMAGE_NAMES = ("image_id", "img_id", "imgid", "filename", "file_name", "image_name")
_ANY_NAMES = (*_IMAGE_NAMES, "id")
_CAPTION = re.compile(r"(caption|sentence|text|comment|description)s?(?:_raw|_?\d+)?")


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
  """One row of a table: an image, and what is said of it there."""

  split: str  # as the data calls it
  index: int  # within the split
  name: str  # of the image; "" if it has none
  official: str  # "train", "val", "test" or ""
  blob: Blob
  captions: Sequence[str]
  attributes: Mapping[str, Any]


def last(name: str) -> str:
  """`image/filename` -> "filename": what a column within others is called."""
  return name.rsplit("/", 1)[-1]


def name_columns(columns: Iterable[str]) -> list[str]:
  """Columns that may name the image, the likeliest first."""
  found = [column for column in columns if last(column) in _ANY_NAMES]
  return sorted(found, key=lambda column: (_ANY_NAMES.index(last(column)), column))


def caption_columns(texts: Collection[str], chosen: str, option: str, where: str) -> list[str]:
  """Columns of captions: the one asked for, the known names, or the only text there is.

  `caption_0` to `caption_4` belong together.

  Args:
    texts: names of all columns of text.
    chosen: value of the option, "" if the user left it out.
    option: its name.
    where: the data, for messages.

  Raises:
    UserError: no such column, none at all, or several of which none is the likeliest.
  """
  names = ", ".join(sorted(texts))
  if chosen:
    if chosen not in texts:
      raise UserError(
        f"{option} {chosen!r}: {where} has no such text; it has {names or 'no text at all'}"
      )
    return [chosen]
  candidates = [t for t in texts if last(t) != "split" and not name_columns([t])]
  if not candidates:
    raise UserError(f"{where} has no text that could be captions; choose other data")
  kinds: dict[str, list[str]] = {}
  for text in candidates:
    if match := _CAPTION.fullmatch(last(text).lower()):
      kinds.setdefault(match[1], []).append(text)
  if "caption" in kinds:
    return sorted(kinds["caption"])
  if len(kinds) == 1:
    return sorted(*kinds.values())
  if len(candidates) == 1:
    return candidates
  raise UserError(
    f"{where} has several texts ({names}): choose the captions by the option {option}"
  )


def listing(rows: Sequence[Row], where: str, names: str) -> Listing:
  """Entries of the rows; those of one image are one entry with all its captions.

  Args:
    rows: of all splits.
    where: the data, for messages.
    names: the column that the names came from, "" if from none.

  Raises:
    UserError: no row has a caption.
  """
  captions = Captions()
  first: dict[str, Row] = {}
  for row, image_id in zip(rows, _ids(rows, names), strict=True):
    first.setdefault(image_id, row)
    for caption in row.captions:
      captions.add(image_id, caption)
  said = captions.by_image()
  divided = len({row.official for row in rows}) > 1  # a single split divides nothing
  if not said:
    raise UserError(f"no image in {where} has a caption; choose other data")
  entries = (
    Entry(image_id, row.blob, said[image_id], row.attributes, row.official if divided else "")
    for image_id, row in first.items()
    if image_id in said
  )
  return Listing.of(entries, uncaptioned=first.keys() - said.keys(), dropped=captions.dropped)


def _ids(rows: Sequence[Row], names: str) -> list[str]:
  """An id for each row; rows with one id are rows of one image."""
  places = [(row.split, row.name) for row in rows]
  # A bare id that comes twice is not that of an image.
  alike = last(names) not in _IMAGE_NAMES and len(set(places)) < len(places)
  if alike or not all(row.name for row in rows):
    return ["/".join(filter(None, (row.split, f"{row.index:07d}"))) for row in rows]
  # Names that are in several splits count each split anew.
  if len({name for _, name in places}) < len(set(places)):
    return [f"{split}/{name}" for split, name in places]
  return [row.name for row in rows]


def reason(error: BaseException) -> str:
  """What an error of another library says, on one short line."""
  return " ".join(str(error).split())[:200] or type(error).__name__
