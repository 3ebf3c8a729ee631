"""What lies in somebody's data before a single image is decoded: entries, and what does not fit."""

import dataclasses
import itertools
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

from jaxt2i.data.files import Blob


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
  """One image that has not been decoded: where its bytes lie, and what is said of it."""

  image_id: str
  blob: Blob
  captions: tuple[str, ...]  # one or more, each as `clean` returns it
  attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # JSON-able columns
  split: str = ""  # "train", "val" or "test" of an official split; "" if there is none


@dataclasses.dataclass(frozen=True)
class Listing:
  """All entries of a source, and what was left out of them and why."""

  entries: tuple[Entry, ...]  # sorted by image_id, each id once
  missing: Mapping[str, int]  # photos that are named but absent → number of their captions
  uncaptioned: tuple[str, ...]  # images that nothing is said of, sorted
  dropped: Mapping[str, int]  # why ("empty", …) → how many captions or files
  refused: tuple[str, ...] = ()  # files that are not read, with the reason
  terms: str = ""  # under which the data may be used, where the data itself says so

  @classmethod
  def of(
    cls,
    entries: Iterable[Entry],
    *,
    missing: Mapping[str, int] | None = None,
    uncaptioned: Iterable[str] = (),
    dropped: Mapping[str, int] | None = None,
    refused: Iterable[str] = (),
  ) -> "Listing":
    """Sorts everything, so that the order in which a file system lists files does not matter.

    Raises:
      ValueError: two entries with one id; a format must make ids unique.
    """
    ordered = tuple(sorted(entries, key=lambda entry: entry.image_id))
    for one, other in itertools.pairwise(ordered):
      if one.image_id == other.image_id:
        raise ValueError(f"two images have the id {one.image_id!r}")
    kept = {why: count for why, count in sorted((dropped or {}).items()) if count}
    return cls(
      ordered,
      dict(sorted((missing or {}).items())),
      tuple(sorted(uncaptioned)),
      kept,
      tuple(sorted(refused)),
    )


@runtime_checkable
class Format(Protocol):
  """A frozen dataclass whose fields are the options of a format, `src` first.

  Options it cannot work with are refused by a UserError.
  """

  src: str  # the folder
  terms: ClassVar[str]  # under which data of this format may be used; "" if unknown

  def listing(self) -> Listing:
    """Reads names and captions, but no image.

    Raises:
      UserError: the folder is not of this format, or has no image with a caption.
    """
    ...


class Captions:
  """Captions by image, in the order of adding; empty ones are counted instead.

  An image's captions may repeat each other: in Flickr8k's 40,455 pairs some do.

  Attributes:
    dropped: why → how many captions were left out.
  """

  def __init__(self) -> None:
    self.dropped: Counter[str] = Counter()
    self._rows: dict[str, list[str]] = {}

  def add(self, image: str, caption: str) -> None:
    """Adds one caption of an image, cleaned."""
    rows = self._rows.setdefault(image, [])
    if text := clean(caption):
      rows.append(text)
    else:
      self.dropped["empty"] += 1

  def by_image(self) -> dict[str, tuple[str, ...]]:
    """Captions of each image that has one."""
    return {image: tuple(rows) for image, rows in self._rows.items() if rows}


def clean(caption: str) -> str:
  """A caption on one line: what no text should hold becomes single spaces.

  That is: control characters such as NUL, line breaks, and half characters, which JSON can name
  and nothing can write.
  """
  if not caption.isprintable():  # most are, and then there is nothing to look for
    caption = "".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in caption)
  return " ".join(caption.split())
