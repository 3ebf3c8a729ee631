"""Finding the caption of an image among others, and the image of a caption."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxt2i.data.records import Source
from jaxt2i.errors import UserError
from jaxt2i.matcher import Matcher

CANDIDATES = 100  # captions that an image's own is ranked among
_AT_ONCE = 1024  # images


@dataclasses.dataclass(frozen=True)
class Retrieval:
  """How well a matcher finds the first caption of each image of a split, and the other way round.

  `image_to_text_r1`, `_r5`, `text_to_image_r1`, `_r5`: share of queries with a right answer among
  the first 1 and 5 of all that the split has; `r_precision`: see the function, with its `chance`.
  """

  source: Source

  def __call__(self, matcher: Matcher) -> dict[str, float]:
    """Evaluates a matcher on the whole split."""
    captions, points = [], []
    for start in range(0, len(self.source), _AT_ONCE):  # all pixels may not fit into memory
      end = min(start + _AT_ONCE, len(self.source))
      records = [self.source[i] for i in range(start, end)]
      captions += [record.captions[0] for record in records]
      points.append(matcher.images(np.stack([record.image for record in records])))
    images, texts = np.concatenate(points), matcher.texts(captions)
    precision, chance = r_precision(images, texts, captions)
    values = {"r_precision": precision, "chance": chance}
    for name, queries, answers in (
      ("image_to_text", images, texts),
      ("text_to_image", texts, images),
    ):
      for k in (1, 5):
        values[f"{name}_r{k}"] = recall_at(queries, answers, captions, k)
    return values


def recall_at(
  queries: Float[np.ndarray, "n D"],
  answers: Float[np.ndarray, "n D"],
  captions: Sequence[str],
  k: int,
) -> float:
  """Share of queries i with an answer j of the same caption (j = i, for one) among its k nearest.

  Args:
    queries, answers: points of length 1, row by row those of the captions.
    captions: of each row.
    k: 1 or more.
  """
  same = _same(captions)
  nearest = np.argsort(-(queries @ answers.T), axis=1, kind="stable")[:, :k]
  return float(np.mean(np.take_along_axis(same, nearest, axis=1).any(axis=1)))


def r_precision(
  images: Float[np.ndarray, "n D"],
  texts: Float[np.ndarray, "n D"],
  captions: Sequence[str],
  *,
  seed: int = 0,
  candidates: int = CANDIDATES,
) -> tuple[float, float]:
  """Share of images nearer to their own caption than to 99 other ones (AttnGAN, arXiv 1711.10485).

  The others are drawn for each image, without those that are the same as its own.

  Args:
    images, texts: points of length 1, row by row those of the captions.
    captions: of each row.
    seed: of who the others are.
    candidates: captions that are ranked, the own one among them; fewer where there are no more.

  Returns:
    The share, and the chance level.

  Raises:
    UserError: all captions are the same.
  """
  same = _same(captions)
  similarity = images @ texts.T
  rng = np.random.default_rng(seed)
  # One row for each distinct caption: the same distractor twice would count twice.
  _, distinct = np.unique(np.asarray(captions, dtype=object).astype(str), return_index=True)
  count = min(candidates, len(distinct)) - 1
  if count < 1:
    raise UserError("all captions are the same: R-precision needs two different ones or more.")
  hits = []
  for i in range(len(images)):
    others = rng.choice([j for j in distinct if not same[i, j]], count, replace=False)
    hits.append(similarity[i, i] > similarity[i, others].max())
  return float(np.mean(hits)), 1 / (count + 1)


def _same(captions: Sequence[str]) -> np.ndarray:
  """[n, n] bool: which rows have the same caption."""
  _, numbers = np.unique(np.asarray(captions, dtype=object).astype(str), return_inverse=True)
  return numbers[:, None] == numbers[None]
