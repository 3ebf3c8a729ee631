"""Some photos of prepared data as they were and as the squares that they have become.

Prepared data has squares only. What lay before them is read again from where it was prepared from,
if that is still there.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from jaxt2i.analysis import exploration
from jaxt2i.data import DATASETS, formats, images, prepared, split_files
from jaxt2i.data.listing import Entry
from jaxt2i.data.records import share_of_hash
from jaxt2i.errors import UserError

NUM_EXAMPLES = 8
_LARGEST = 256  # pixels shown of a side


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
  """One image before and after."""

  image_id: str
  captions: tuple[str, ...]
  splits: tuple[str, ...]  # that it belongs to
  width: int  # of the photo, pixels
  height: int
  before: UInt8[np.ndarray, "h w 3"] | None  # at most 256 pixels a side; None: see `Examples.why`
  after: UInt8[np.ndarray, "S S 3"]


@dataclasses.dataclass(frozen=True)
class Examples:
  """The examples, and why some or all of them have no photo before; "" if all have one."""

  items: tuple[Example, ...]
  why: str


def choose(found: exploration.Exploration, directory: Path) -> Examples:
  """Eight images of the splits that were explored, by a hash of their names: always the same.

  Raises:
    UserError: the prepared data is damaged. If its source is, `why` says so instead.
  """
  selections = {
    split.name: split_files.load(directory, found.protocol, split.name) for split in found.splits
  }
  facts = prepared.read_facts(directory)
  rows = exploration.rows_of(selections.values()).tolist()
  # Salted, since the hash of the name alone may have chosen the splits.
  shares = {row: share_of_hash(f"{facts[row].image_id}#example") for row in rows}
  chosen = sorted(rows, key=shares.__getitem__)[:NUM_EXAMPLES]
  entries, why = _entries(found, [facts[row].image_id for row in chosen])
  sizes = found.manifest["image_sizes"]
  size = max((size for size in sizes if size <= _LARGEST), default=min(sizes))
  records = prepared.Rows(directory, size)
  items = []
  for row in chosen:
    fact, record = facts[row], records[row]
    before = None
    if not why:
      before = _before(entries.get(fact.image_id), fact.sha256)
    splits = tuple(name for name, selection in selections.items() if row in selection.rows)
    after = _shown(Image.fromarray(record.image))
    items.append(
      Example(fact.image_id, record.captions, splits, fact.width, fact.height, before, after)
    )
  changed = sum(item.before is None for item in items)
  if not why and changed:
    why = (
      f"{changed} of these {len(items)} photos are no longer what they were when the data was "
      "prepared, so they are shown after preparing only."
    )
  return Examples(tuple(items), why)


def _entries(
  found: exploration.Exploration, image_ids: Sequence[str]
) -> tuple[dict[str, Entry], str]:
  """Where the photos of these ids lie, or why that is not known."""
  info = found.manifest["info"]
  name, options = info.get("name", ""), info.get("options", {})
  if name in DATASETS:
    return {}, "These images were drawn by the program at this size: there is no photo before."
  if not options.get("src"):
    return {}, "The data does not say where it was prepared from, so there is no photo before."
  try:
    listing = formats.make(name, **options).listing()
  except (UserError, OSError) as error:
    return {}, f"The original photos cannot be read any more, so they are not shown: {error}."
  wanted = set(image_ids)
  return {entry.image_id: entry for entry in listing.entries if entry.image_id in wanted}, ""


def _before(entry: Entry | None, sha256: str) -> UInt8[np.ndarray, "h w 3"] | None:
  """The photo, if it still has the bytes that it was prepared from."""
  if entry is None:
    return None
  try:
    data = entry.blob.read()
    if hashlib.sha256(data).hexdigest() != sha256:
      return None
    return _shown(images.decode(data))
  except (OSError, images.BadImageError):
    return None


def _shown(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
  """A copy that is small enough to be shown."""
  small = image.copy()
  small.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
  return np.asarray(small)
