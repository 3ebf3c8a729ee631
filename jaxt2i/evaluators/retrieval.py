"""Finding the caption of an image among others, and the image of a caption."""

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxt2i.data.records import Source
from jaxt2i.data.splits import same_words
from jaxt2i.errors import UserError
from jaxt2i.evaluators import intervals
from jaxt2i.evaluators.captioned import captioned
from jaxt2i.evaluators.drawn import Piece
from jaxt2i.evaluators.intervals import Value
from jaxt2i.matcher import Matcher

CANDIDATES = 100  # captions that an image's own is ranked among
PROTOCOL = (
  f"own first caption before {CANDIDATES - 1} of other images, or all there are, drawn for each "
  "with seed 0; no other caption of the image is a rival; recalls among all that were drawn; "
  "intervals: Wilson's"
)
_LEAST_CAPTIONS = 10  # of a word, to say something of it
_AT_ONCE = 1024  # images


@dataclasses.dataclass(frozen=True)
class Retrieval:
  """How well a matcher finds the first caption of each image of a split, and the other way round.

  `image_to_text_r1`, `_r5`, `text_to_image_r1`, `_r5`: share of queries with a right answer among
  the first 1 and 5 of all that the split has, where whatever is one of an image's captions is right
  for it; `r_precision`: the share of `own_first`, with its `chance`. `…_95` are Wilson's intervals.
  """

  source: Source

  def __call__(self, matcher: Matcher) -> dict[str, Value]:
    """Evaluates a matcher on the whole split; UserError at an image without a caption."""
    captions, points = [], []
    for start in range(0, len(self.source), _AT_ONCE):  # all pixels may not fit into memory
      end = min(start + _AT_ONCE, len(self.source))
      records = [captioned(self.source[i]) for i in range(start, end)]
      captions += [record.captions for record in records]
      points.append(matcher.images(np.stack([record.image for record in records])))
    images, texts = np.concatenate(points), matcher.texts([each[0] for each in captions])
    hits, chance = own_first(images, texts, captions)
    values = {**intervals.share("r_precision", hits), "chance": chance}
    return values | recalls(images, texts, captions)


class RPrecision:
  """A `Score`: does a judge find each drawing's caption, and a caption's drawing?

  `r_precision`: the share of `own_first`; beside it chance, and the same
  share of the real images and of their reconstructions, which is the most that drawings made of
  such tokens can be expected to reach. `…_by_length`: of captions of so many words, `…_by_word`: of
  those with the word, each with their number.
  `image_to_text_r1` and so on: as `Retrieval`, of drawings and their captions. `…_95` are Wilson's.
  """

  def __init__(self, judge: Matcher):
    self._judge = judge
    self._captions: list[Sequence[str]] = []
    self._texts: list[np.ndarray] = []
    self._images: dict[str, list[np.ndarray]] = {
      "r_precision": [],
      "r_precision_reconstructed": [],
      "r_precision_real": [],
    }

  def add(self, piece: Piece) -> None:
    """Turns a piece into points."""
    self._captions += [record.captions for record in piece.records]
    self._texts.append(self._judge.texts(piece.captions))
    sets = (piece.drawn, piece.reconstructed, piece.real)
    for points, images in zip(self._images.values(), sets, strict=True):
      points.append(self._judge.images(images))

  def values(self) -> dict[str, Any]:
    """Of all pieces."""
    texts = np.concatenate(self._texts)
    points = {name: np.concatenate(parts) for name, parts in self._images.items()}
    found = {name: own_first(x, texts, self._captions) for name, x in points.items()}
    hits, chance = found["r_precision"]
    words = [same_words(each[0]).split() for each in self._captions]
    shares: dict[str, Any] = {}
    for name, (right, _) in found.items():
      shares |= intervals.share(name, right)
    return {
      **shares,
      "r_precision_chance": chance,
      "r_precision_by_length": breakdown(hits, [{_length(each)} for each in words]),
      "r_precision_by_word": breakdown(hits, list(map(set, words)), least=_LEAST_CAPTIONS),
      **recalls(points["r_precision"], texts, self._captions),
    }


def recalls(
  images: Float[np.ndarray, "n D"],
  texts: Float[np.ndarray, "n D"],
  captions: Sequence[Sequence[str]],
) -> dict[str, Value]:
  """`found_at` 1 and 5, both ways, as shares with intervals. Arguments as of `own_first`."""
  right = right_answers(captions)
  ways = {
    "image_to_text": (images @ texts.T, right),
    "text_to_image": (texts @ images.T, right.T),
  }
  found: dict[str, Value] = {}
  for name, way in ways.items():
    for k in (1, 5):
      found |= intervals.share(f"{name}_r{k}", found_at(*way, k))
  return found


def breakdown(
  hits: Bool[np.ndarray, " n"], groups: Sequence[Collection[str]], least: int = 1
) -> dict[str, tuple[float, int]]:
  """Share of hits and number of rows of each group that has enough, the best one first.

  Args:
    hits: of each row.
    groups: that each row belongs to.
    least: rows of a group.
  """
  rows: dict[str, list[bool]] = {}
  for hit, names in zip(hits, groups, strict=True):
    for name in names:
      rows.setdefault(name, []).append(bool(hit))
  shares = {name: (float(np.mean(x)), len(x)) for name, x in rows.items() if len(x) >= least}
  return dict(sorted(shares.items(), key=lambda item: (-item[1][0], -item[1][1], item[0])))


def _length(words: Sequence[str]) -> str:
  """How many words, five lengths together: "1–5"."""
  start = (max(len(words), 1) - 1) // 5 * 5
  return f"{start + 1}–{start + 5}"


def found_at(
  similarity: Float[np.ndarray, "n m"], right: Bool[np.ndarray, "n m"], k: int
) -> Bool[np.ndarray, " n"]:
  """Which queries, each of them a row, have a right answer among the k most similar."""
  nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
  return np.asarray(np.take_along_axis(right, nearest, axis=1).any(axis=1))


def own_first(
  images: Float[np.ndarray, "n D"],
  texts: Float[np.ndarray, "n D"],
  captions: Sequence[Sequence[str]],
  *,
  seed: int = 0,
  candidates: int = CANDIDATES,
) -> tuple[Bool[np.ndarray, " n"], float]:
  """Which images are nearer to their own caption than to 99 others; the share is R-precision.

  As in AttnGAN (arXiv 1711.10485, §4). The others are first captions of other images, drawn for
  each image, none of which is among its own captions.

  Args:
    images, texts: points of length 1: of each image, and of its first caption.
    captions: all captions of each image.
    seed: of who the others are.
    candidates: captions that are ranked, the own one among them; fewer where there are no more.

  Returns:
    Of each image, and the chance level, the mean of all images'.

  Raises:
    UserError: all captions are right for all images.
  """
  right = right_answers(captions)
  similarity = images @ texts.T
  rng = np.random.default_rng(seed)
  # One row for each distinct caption: the same distractor twice would count twice.
  distinct = np.array(list({same_words(each[0]): i for i, each in enumerate(captions)}.values()))
  hits, chances = [], []
  for i, own in enumerate(right):
    rivals = distinct[~own[distinct]]
    others = rng.choice(rivals, min(candidates - 1, len(rivals)), replace=False)
    hits.append(similarity[i, i] > similarity[i, others].max(initial=-np.inf))
    chances.append(1 / (len(others) + 1))
  if min(chances) == 1:
    raise UserError("all captions are the same: R-precision needs two different ones or more.")
  return np.array(hits), float(np.mean(chances))


def right_answers(captions: Sequence[Sequence[str]]) -> Bool[np.ndarray, "n n"]:
  """Whether the first caption of image j is among the captions of image i, for all [i, j].

  Captions that differ in case, spaces and punctuation alone are the same.
  """
  images: dict[str, list[int]] = {}
  for j, each in enumerate(captions):
    images.setdefault(same_words(each[0]), []).append(j)
  right = np.zeros((len(captions), len(captions)), bool)
  for i, own in enumerate(captions):
    for caption in own:
      right[i, images.get(same_words(caption), [])] = True
  return right
