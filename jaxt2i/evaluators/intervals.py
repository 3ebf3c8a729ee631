"""How far a score would move with other images: 95 % intervals."""

import math

import numpy as np
from jaxtyping import Bool, Float64

SUFFIX = "_95"  # ends the name of a value's interval
RESAMPLES = 200
_DEVIATIONS = 1.96  # of a normal distribution hold 95 %


def resamples(count: int, seed: int) -> Float64[np.ndarray, "n R"]:
  """How often each of n images is in each resample of the bootstrap (Efron 1979).

  The first column is the sample itself.
  """
  rng = np.random.default_rng(seed)
  drawn = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
  return np.concatenate([np.ones((1, count)), drawn]).T.astype(np.float64)


def of_resamples(values: Float64[np.ndarray, " R"]) -> tuple[float, float]:
  """±1.96 standard deviations over resamples, about the sample's own value.

  Not their percentiles: resamples hold fewer different images, so those of a distance are larger
  than the sample's own. The interval is too wide rather than too narrow for a distance near 0,
  where the bootstrap of such statistics is known to overestimate.

  Args:
    values: of the sample, then of its resamples.
  """
  half = _DEVIATIONS * float(np.std(values[1:], ddof=1))
  return float(values[0]) - half, float(values[0]) + half


def of_mean(values: Float64[np.ndarray, " n"]) -> tuple[float, float]:
  """±1.96 standard errors about a mean of 2 values or more."""
  half = _DEVIATIONS * float(np.std(values, ddof=1)) / math.sqrt(len(values))
  return float(np.mean(values)) - half, float(np.mean(values)) + half


def of_share(hits: Bool[np.ndarray, " n"]) -> tuple[float, float]:
  """Wilson's interval of a share (1927): it stays within [0, 1] and has a width at 0 and at 1."""
  n, z2 = len(hits), _DEVIATIONS**2
  share = float(np.mean(hits))
  centre = (share + z2 / (2 * n)) / (1 + z2 / n)
  half = _DEVIATIONS * math.sqrt(share * (1 - share) / n + z2 / (4 * n**2)) / (1 + z2 / n)
  return max(0.0, centre - half), min(1.0, centre + half)
