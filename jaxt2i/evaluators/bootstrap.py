"""How far a score would move with other images: the bootstrap over images (Efron 1979)."""

import numpy as np
from jaxtyping import Float64

RESAMPLES = 200
_DEVIATIONS = 1.96  # of a normal distribution hold 95 %


def weights(count: int, seed: int) -> Float64[np.ndarray, "n R"]:
  """How often each of n images is in each resample; the first column is the sample itself."""
  rng = np.random.default_rng(seed)
  drawn = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
  return np.concatenate([np.ones((1, count)), drawn]).T.astype(np.float64)


def interval(values: Float64[np.ndarray, " R"]) -> tuple[float, float]:
  """95 % of other samples of as many images, by the standard deviation over resamples.

  It lies about the sample's own value: resamples hold fewer different images, so those of a
  distance are larger, and their percentiles would say more of that than of other samples.

  Args:
    values: of the sample, then of its resamples.
  """
  half = _DEVIATIONS * float(np.std(values[1:], ddof=1))
  return float(values[0]) - half, float(values[0]) + half
