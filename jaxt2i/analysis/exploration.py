"""What prepared data consists of, in numbers: images, captions, their words, and the splits.

Captions are read once and kept as numbers of words; pixels are only looked at to see how the
photos were made square.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from jaxt2i.analysis import vocabulary
from jaxt2i.analysis.vocabulary import Growth, Heaps, Unseen
from jaxt2i.data import prepared, split_files
from jaxt2i.errors import UserError

NUM_TOP = 20
_NEARLY_SQUARE = 1.02  # up to here, longer by shorter side counts as square
_PREFERRED = "image"  # of the protocols
_MIN_FIT = 100  # captions from which on Heaps' law is fitted


@dataclasses.dataclass(frozen=True)
class Split:
  """What belongs to one split."""

  name: str
  images: int
  captions: int
  running_words: int
  distinct_words: int


@dataclasses.dataclass(frozen=True, eq=False)
class Exploration:
  """The numbers about the images and captions of one protocol's splits."""

  manifest: Mapping[str, Any]  # of the data
  protocol: str
  note: str  # what a report must say of the protocol; "" if nothing
  splits: tuple[Split, ...]
  images: int  # in the splits, each once
  captions: int
  running_words: int
  distinct_words: int
  widths: Int64[np.ndarray, "n"]  # of the photos, pixels
  heights: Int64[np.ndarray, "n"]
  fit: str  # how photos became squares, "letterbox", "crop" or "stretch"; "" if all were square
  captions_per_image: Int64[np.ndarray, "n"]
  words_per_caption: Int64[np.ndarray, "c"]
  growth: Growth
  heaps: Heaps | None  # None for less than 100 captions
  top_words: tuple[tuple[str, int], ...]  # without stop words, the most frequent first
  stop_share: float  # of the running words
  unseen: tuple[Unseen, ...]  # of every split but "train"; empty if there is no such split

  @property
  def bars(self) -> Float64[np.ndarray, "n"]:
    """Share of its square that each photo does not fill when letterboxed."""
    return 1 - np.minimum(self.widths, self.heights) / np.maximum(self.widths, self.heights)

  @property
  def orientation(self) -> dict[str, int]:
    """Number of landscape, portrait and square images; within 2 % of square is square."""
    ratio = self.widths / self.heights
    landscape = int((ratio > _NEARLY_SQUARE).sum())
    portrait = int((ratio < 1 / _NEARLY_SQUARE).sum())
    square = len(ratio) - landscape - portrait
    return {"landscape": landscape, "portrait": portrait, "square": square}

  @property
  def sizes(self) -> Int64[np.ndarray, "k 3"]:
    """Width, height and number of images of every size that occurs."""
    both = np.stack([self.widths, self.heights], axis=1)
    pairs, counts = np.unique(both, axis=0, return_counts=True)
    return np.concatenate([pairs, counts[:, None]], axis=1)

  def json(self) -> dict[str, Any]:
    """The numbers as JSON-able values; those of single images and captions as histograms."""
    fields = (
      "protocol note images captions running_words distinct_words orientation fit "
      "top_words stop_share"
    )
    return {
      **{name: getattr(self, name) for name in fields.split()},
      "splits": [dataclasses.asdict(split) for split in self.splits],
      "sizes": self.sizes.tolist(),
      "mean_share_of_bars": float(self.bars.mean()),
      "captions_per_image": _histogram(self.captions_per_image),
      "words_per_caption": _histogram(self.words_per_caption),
      "growth": {name: v.tolist() for name, v in dataclasses.asdict(self.growth).items()},
      "heaps": self.heaps and dataclasses.asdict(self.heaps),
      "unseen": [dataclasses.asdict(unseen) for unseen in self.unseen],
    }


def _histogram(values: Int64[np.ndarray, "n"]) -> dict[str, int]:
  """Value → how often."""
  found, counts = np.unique(values, return_counts=True)
  return {str(value): int(count) for value, count in zip(found, counts, strict=True)}


def explore(directory: Path, protocol: str = "") -> Exploration:
  """Looks at the splits of a protocol.

  Args:
    directory: prepared data.
    protocol: its name; "": "image" if stored, else the first that is.

  Raises:
    UserError: no such data or protocol, no image in its splits, or damaged files.
  """
  manifest = prepared.read_manifest(directory)
  protocol = protocol or _default_protocol(directory)
  stored = split_files.describe(directory, protocol)
  names = _ordered(stored["splits"])
  selections = [split_files.load(directory, protocol, name) for name in names]
  rows = rows_of(selections)
  if not len(rows):
    raise UserError(f"the splits of {protocol!r} in {directory} have no images to explore")
  every = prepared.read_facts(directory)
  facts = [every[row] for row in rows]
  texts = vocabulary.read(prepared.Rows(directory, min(manifest["image_sizes"])), selections)
  grown = vocabulary.growth(texts)
  return Exploration(
    manifest=manifest,
    protocol=protocol,
    note=stored["note"],
    splits=tuple(_split(*each, texts) for each in enumerate(zip(names, selections, strict=True))),
    images=len(rows),
    captions=len(texts.split),
    running_words=len(texts.words),
    distinct_words=len(texts.vocabulary),
    widths=np.asarray([f.width for f in facts], np.int64),
    heights=np.asarray([f.height for f in facts], np.int64),
    fit=manifest["info"].get("fit", "") if any(f.width != f.height for f in facts) else "",
    captions_per_image=np.bincount(texts.row, minlength=int(rows[-1]) + 1)[rows],
    words_per_caption=np.bincount(texts.caption, minlength=len(texts.split)),
    growth=grown,
    heaps=vocabulary.heaps(grown) if len(texts.split) >= _MIN_FIT else None,
    top_words=vocabulary.top(texts, NUM_TOP),
    stop_share=vocabulary.stop_share(texts),
    unseen=tuple(vocabulary.unseen(names, texts)),
  )


def rows_of(selections: Iterable[split_files.Selection]) -> Int64[np.ndarray, "n"]:
  """The rows of all splits, sorted, each once."""
  return np.unique(np.concatenate([np.zeros(0, np.int64), *(s.rows for s in selections)]))


def _default_protocol(directory: Path) -> str:
  known = split_files.protocols(directory)
  if not known:
    raise UserError(
      f"{directory} has no splits; make them: jaxt2i data split --data {directory} --protocol image"
    )
  return _PREFERRED if _PREFERRED in known else known[0]


def _ordered(names: Iterable[str]) -> list[str]:
  """Names of splits: training, validation, test, then all others."""
  order = {"train": 0, "val": 1, "test": 2}
  return sorted(names, key=lambda name: (order.get(name, len(order)), name))


def _split(number: int, split: tuple[str, split_files.Selection], texts: vocabulary.Texts) -> Split:
  counts = texts.counts_in(number)
  captions = int((texts.split == number).sum())
  return Split(split[0], len(split[1]), captions, int(counts.sum()), int((counts > 0).sum()))
