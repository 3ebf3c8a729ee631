"""Does a prior recall the training image of a training caption?"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxt2i.data.records import Source
from jaxt2i.evaluators import intervals
from jaxt2i.evaluators.captioned import captioned
from jaxt2i.evaluators.drawn import spread
from jaxt2i.evaluators.intervals import Value
from jaxt2i.pipeline import Pipeline
from jaxt2i.sampling import SamplingOptions

MOST_RECALLED = 1000  # images, all of which are compared with all


@dataclasses.dataclass(frozen=True)
class Recall:
  """Draws one picture for the first caption of each of n training images spread over the split.

  `recall`: share of drawings nearer to their own image than to the n − 1 others, by mean squared
  pixel distance; `recall_chance` is 1/n. This measures memory, not understanding.
  `recall_ceiling`: the same for the tokenizer's reconstructions, which a perfect memory reaches.
  Both with Wilson's intervals.
  """

  source: Source
  n: int
  options: SamplingOptions
  seed: int = 0

  def __call__(self, pipeline: Pipeline) -> dict[str, Value]:
    """Draws and compares; UserError at an image without a caption."""
    records = [captioned(self.source[i]) for i in spread(len(self.source), self.n)]
    real = np.stack([record.image for record in records])
    drawings = pipeline(
      [record.captions[0] for record in records],
      seed=self.seed,
      **dataclasses.asdict(self.options),
    )
    reconstructed = pipeline.decode(pipeline.encode(real))
    return {
      **intervals.share("recall", own_is_nearest(drawings.images[:, 0], real)),
      **intervals.share("recall_ceiling", own_is_nearest(reconstructed, real)),
      "recall_chance": 1 / len(records),
    }


def protocol(n: int) -> str:
  """What must be said beside it."""
  return (
    f"drawings for the first captions of {n} images spread over train, own image nearest of these "
    "by pixels; intervals: Wilson's"
  )


def own_is_nearest(
  a: UInt8[np.ndarray, "n H W 3"], b: UInt8[np.ndarray, "n H W 3"]
) -> Bool[np.ndarray, " n"]:
  """For each i whether a[i] is nearer to b[i] than to every other b[j]."""
  distances = pixel_distances(a, b)
  others = distances + np.diag(np.full(len(a), np.inf))
  return np.diag(distances) < others.min(axis=1)


def pixel_distances(
  a: UInt8[np.ndarray, "n H W 3"], b: UInt8[np.ndarray, "m H W 3"]
) -> Float[np.ndarray, "n m"]:
  """Mean squared distance of pixels in [0, 1], of every pair."""
  x = a.reshape(len(a), -1).astype(np.float64) / 255
  y = b.reshape(len(b), -1).astype(np.float64) / 255
  return np.stack([np.square(row - y).mean(axis=1) for row in x])  # all at once: gigabytes
