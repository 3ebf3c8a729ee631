"""Finding the caption of an image among others, and the image of a caption."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from jaxt2i.data.records import Source
from jaxt2i.errors import UserError
from jaxt2i.evaluators.drawn import Piece
from jaxt2i.matcher import Matcher

CANDIDATES = 100  # captions that an image's own is ranked among
_AT_ONCE = 1024  # images


@dataclasses.dataclass(frozen=True)
class Retrieval:
  """How well a matcher finds the first caption of each image of a split, and the other way round.

  `image_to_text_r1`, `_r5`, `text_to_image_r1`, `_r5`: share of queries with a right answer among
  the first 1 and 5 of all that the split has, where whatever is one of an image's captions is right
  for it; `r_precision`: see the function, with its `chance`.
  """

  source: Source

  def __call__(self, matcher: Matcher) -> dict[str, float]:
    """Evaluates a matcher on the whole split."""
    captions, points = [], []
    for start in range(0, len(self.source), _AT_ONCE):  # all pixels may not fit into memory
      end = min(start + _AT_ONCE, len(self.source))
      records = [self.source[i] for i in range(start, end)]
      captions += [record.captions for record in records]
      points.append(matcher.images(np.stack([record.image for record in records])))
    images, texts = np.concatenate(points), matcher.texts([each[0] for each in captions])
    right = right_answers(captions)
    precision, chance = r_precision(images, texts, captions)
    values = {"r_precision": precision, "chance": chance}
    for name, similarity, matches in (
      ("image_to_text", images @ texts.T, right),
      ("text_to_image", texts @ images.T, right.T),
    ):
      for k in (1, 5):
        values[f"{name}_r{k}"] = recall_at(similarity, matches, k)
    return values


class RPrecision:
  """A `Score`: share of drawings that a judge ranks right, see `r_precision`, and what it means.

  Beside it chance, the same share of the real images and of their reconstructions, which is the
  most that drawings made of such tokens can be expected to reach.
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

  def values(self) -> dict[str, float]:
    """Of all pieces."""
    texts = np.concatenate(self._texts)
    found = {
      name: r_precision(np.concatenate(points), texts, self._captions)
      for name, points in self._images.items()
    }
    chance = found["r_precision"][1]
    return {name: share for name, (share, _) in found.items()} | {"r_precision_chance": chance}


def recall_at(
  similarity: Float[np.ndarray, "n m"], right: Bool[np.ndarray, "n m"], k: int
) -> float:
  """Share of queries, of which each is a row, with a right answer among the k most similar."""
  nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
  return float(np.mean(np.take_along_axis(right, nearest, axis=1).any(axis=1)))


def r_precision(
  images: Float[np.ndarray, "n D"],
  texts: Float[np.ndarray, "n D"],
  captions: Sequence[Sequence[str]],
  *,
  seed: int = 0,
  candidates: int = CANDIDATES,
) -> tuple[float, float]:
  """Share of images nearer to their own caption than to 99 other ones (AttnGAN, arXiv 1711.10485).

  The others are first captions of other images, drawn for each image, none of which is among its
  own captions.

  Args:
    images, texts: points of length 1: of each image, and of its first caption.
    captions: all captions of each image.
    seed: of who the others are.
    candidates: captions that are ranked, the own one among them; fewer where there are no more.

  Returns:
    The share, and the chance level.

  Raises:
    UserError: there is an image that all captions are right for.
  """
  right = right_answers(captions)
  similarity = images @ texts.T
  rng = np.random.default_rng(seed)
  # One row for each distinct caption: the same distractor twice would count twice.
  distinct = list({each[0]: i for i, each in enumerate(captions)}.values())
  rivals = [[j for j in distinct if not own[j]] for own in right]
  count = min(candidates - 1, *map(len, rivals))
  if count < 1:
    raise UserError("all captions are the same: R-precision needs two different ones or more.")
  hits = []
  for i in range(len(images)):
    others = rng.choice(rivals[i], count, replace=False)
    hits.append(similarity[i, i] > similarity[i, others].max())
  return float(np.mean(hits)), 1 / (count + 1)


def right_answers(captions: Sequence[Sequence[str]]) -> Bool[np.ndarray, "n n"]:
  """Whether the first caption of image j is among the captions of image i, for all [i, j]."""
  return np.array([[other[0] in own for other in captions] for own in map(set, captions)])
