"""The words of a data set's captions: which, how often, in which split, and how fast they grow."""

import array
import dataclasses
import functools
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int64

from jaxt2i.analysis.words import STOP_WORDS, split_words
from jaxt2i.data import prepared
from jaxt2i.data.split_files import Selection

_NUM_POINTS = 200  # of the curve of growth
_NUM_EXAMPLES = 10


@dataclasses.dataclass(frozen=True, eq=False)
class Texts:
  """Every caption of every split, word by word."""

  vocabulary: tuple[str, ...]
  words: Int64[np.ndarray, "w"]  # places in the vocabulary
  caption: Int64[np.ndarray, "w"]  # which caption a word stands in
  split: Int64[np.ndarray, "c"]  # number of each caption's split
  row: Int64[np.ndarray, "c"]  # of the image that a caption belongs to

  @functools.cached_property
  def counts(self) -> Int64[np.ndarray, "V"]:
    """How often each word occurs."""
    return np.bincount(self.words, minlength=len(self.vocabulary))

  def counts_in(self, split: int) -> Int64[np.ndarray, "V"]:
    """How often each word occurs in one split."""
    words = self.words[self.split[self.caption] == split]
    return np.bincount(words, minlength=len(self.vocabulary))


@dataclasses.dataclass(frozen=True)
class Unseen:
  """What of a split's vocabulary no training caption has."""

  split: str
  distinct_words: int  # of the split
  unseen_distinct: int
  running_words: int
  unseen_running: int
  examples: tuple[str, ...]  # the most frequent of the unseen words


@dataclasses.dataclass(frozen=True, eq=False)
class Growth:
  """How many different words there are among the captions read so far, in an order fixed by chance.

  Attributes:
    captions: read; the last point is all of them.
    words: in those.
    distinct: different ones among these.
  """

  captions: Int64[np.ndarray, "p"]
  words: Int64[np.ndarray, "p"]
  distinct: Int64[np.ndarray, "p"]


@dataclasses.dataclass(frozen=True)
class Heaps:
  """Heaps' law: `factor` · n ^ `exponent` different words among the first n."""

  factor: float
  exponent: float


def read(rows: prepared.Rows, selections: Sequence[Selection]) -> Texts:
  """Reads the captions of splits, each record once.

  Raises:
    UserError: a record is damaged.
  """
  places: dict[int, list[tuple[int, int]]] = defaultdict(list)
  for number, selection in enumerate(selections):
    for index, row in enumerate(selection.rows.tolist()):
      places[row].append((number, index))
  ids: dict[str, int] = {}
  words, caption, split, image = (array.array("q") for _ in range(4))
  for row in sorted(places):  # in the order of the files
    record = rows[row]
    for number, index in places[row]:
      for text in selections[number].of(index, {row: record}).captions:
        found = [ids.setdefault(word, len(ids)) for word in split_words(text)]
        words.extend(found)
        caption.extend([len(split)] * len(found))
        split.append(number)
        image.append(row)
  # `view`, since what comes from an array is another 64-bit type ("longlong") to NumPy.
  columns = [np.asarray(column).view(np.int64) for column in (words, caption, split, image)]
  return Texts(tuple(ids), *columns)


def growth(texts: Texts) -> Growth:
  """Vocabulary growth at up to 200 points."""
  num = len(texts.split)
  place = np.random.default_rng(0).permutation(num)  # of each caption in the order of reading
  first = np.full(len(texts.vocabulary), num, np.int64)
  np.minimum.at(first, texts.words, place[texts.caption])
  distinct = np.cumsum(np.bincount(first, minlength=num))
  words = np.cumsum(np.bincount(place[texts.caption], minlength=num))
  points = np.unique(np.linspace(1, num, min(num, _NUM_POINTS)).round().astype(np.int64))
  return Growth(points, words[points - 1], distinct[points - 1])


def heaps(grown: Growth) -> Heaps | None:
  """The straight line through the logarithms by least squares; None if they are too few."""
  some = grown.words > 0
  if len(np.unique(grown.words[some])) < 2:
    return None
  exponent, factor = np.polyfit(np.log(grown.words[some]), np.log(grown.distinct[some]), 1)
  return Heaps(float(np.exp(factor)), float(exponent))


def top(texts: Texts, number: int) -> tuple[tuple[str, int], ...]:
  """The most frequent words but for stop words, with how often they occur."""
  telling = [pair for pair in _by_count(texts, texts.counts) if pair[0] not in STOP_WORDS]
  return tuple(telling[:number])


def stop_share(texts: Texts) -> float:
  """Share of stop words among the running words."""
  stops = [number for number, word in enumerate(texts.vocabulary) if word in STOP_WORDS]
  return float(texts.counts[stops].sum() / max(1, len(texts.words)))


def unseen(names: Sequence[str], texts: Texts) -> Iterator[Unseen]:
  """What is new in each split but "train"; nothing if there are no training captions.

  Args:
    names: of the splits, by number.
    texts: their captions.
  """
  if "train" not in names:
    return
  new = texts.counts_in(names.index("train")) == 0
  for number, name in enumerate(names):
    if name == "train":
      continue
    counts = texts.counts_in(number)
    fresh = counts * new
    examples = tuple(word for word, _ in _by_count(texts, fresh))[:_NUM_EXAMPLES]
    num, num_fresh = int((counts > 0).sum()), int((fresh > 0).sum())
    yield Unseen(name, num, num_fresh, int(counts.sum()), int(fresh.sum()), examples)


def _by_count(texts: Texts, counts: Int64[np.ndarray, "V"]) -> list[tuple[str, int]]:
  """Words that occur, the most frequent first, among equals in the order of the alphabet."""
  found = [(texts.vocabulary[i], int(counts[i])) for i in np.flatnonzero(counts)]
  return sorted(found, key=lambda pair: (-pair[1], pair[0]))
