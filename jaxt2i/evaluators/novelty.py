"""Are drawings of a prior copies of training images, and do they fit captions it did not learn?"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from jaxt2i.data.records import Source
from jaxt2i.evaluators.pairwise import squared_distances
from jaxt2i.evaluators.recall import spread
from jaxt2i.evaluators.retrieval import r_precision
from jaxt2i.matcher import Matcher
from jaxt2i.pipeline import Pipeline
from jaxt2i.sampling import SamplingOptions

PERCENTILE = 1.0  # of the distances from validation to training images
_MOST_VAL = 1000  # validation images that it is taken from
_SIDE = 64  # larger images are compared at this size
_AT_ONCE = 256  # training images that are compared


@dataclasses.dataclass(frozen=True)
class Novelty:
  """Draws one picture for the first caption of each of n images spread over a split.

  `copy_rate`: share of drawings that are nearer to a training image than the 1st percentile of the
  distances from validation images to their nearest training image, by mean squared distance of
  pixels at 64×64 (`copy_distance`). Of validation images themselves it is 1 % by definition; where
  captions are those of training, a prior that remembers has a high one.
  With a judge, `r_precision`: share of drawings that it finds nearer to their own caption than to
  99 others, with its chance and what it finds of the real images and of their reconstructions.
  """

  source: Source
  train: Source
  val: Source
  n: int
  options: SamplingOptions
  judge: Matcher | None = None
  seed: int = 0

  def __call__(self, pipeline: Pipeline) -> dict[str, float]:
    """Draws and compares."""
    records = spread(self.source, self.n)
    captions = [record.captions[0] for record in records]
    options: dict[str, Any] = dataclasses.asdict(self.options)
    drawn = pipeline(captions, seed=self.seed, **options).images[:, 0]
    val = np.stack([record.image for record in spread(self.val, _MOST_VAL)])
    limit = float(np.percentile(nearest(val, self.train), PERCENTILE))
    values = {
      "copy_rate": float(np.mean(nearest(drawn, self.train) < limit)),
      "copy_distance": limit,
    }
    if self.judge is None:
      return values
    real = np.stack([record.image for record in records])
    texts = self.judge.texts(captions)
    answers = [record.captions for record in records]
    seen = {
      "r_precision": drawn,
      "r_precision_reconstructed": pipeline.decode(pipeline.encode(real)),
      "r_precision_real": real,
    }
    for name, images in seen.items():
      values[name], chance = r_precision(self.judge.images(images), texts, answers)
    return {**values, "r_precision_chance": chance}


def nearest(images: UInt8[np.ndarray, "n H W 3"], source: Source) -> Float[np.ndarray, " n"]:
  """Mean squared distance of pixels in [0, 1] from each image to the nearest one of a source.

  Images whose sides are multiples of 64 are averaged down to it.
  """
  x = _rows(images)
  best = np.full(len(images), np.inf)
  for start in range(0, len(source), _AT_ONCE):  # all pixels may not fit into memory
    end = min(start + _AT_ONCE, len(source))
    y = _rows(np.stack([source[i].image for i in range(start, end)]))
    best = np.minimum(best, squared_distances(x, y).min(axis=1))
  return best / x.shape[1]


def _rows(images: UInt8[np.ndarray, "n H W 3"]) -> Float[np.ndarray, "n D"]:
  n, height, width, _ = images.shape
  if height % _SIDE == 0 and width % _SIDE == 0:
    squares = images.reshape(n, _SIDE, height // _SIDE, _SIDE, width // _SIDE, 3)
    images = squares.mean(axis=(2, 4))
  return images.reshape(n, -1).astype(np.float64) / 255
