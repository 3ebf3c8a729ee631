"""How far a score would move with other images: 95 % intervals."""

import math

import numpy as np
from jaxtyping import Bool, Float, Float64

SUFFIX = "_95"  # ends the name of a value's interval
Value = float | tuple[float, float]  # or an interval
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
  half = _DEVIATIONS * _standard_error(values)
  return float(np.mean(values)) - half, float(np.mean(values)) + half


def of_difference(
  a: Float64[np.ndarray, " n"], b: Float64[np.ndarray, " m"]
) -> tuple[float, float]:
  """±1.96 standard errors about mean(a) − mean(b), of independent samples of 2 or more each."""
  half = _DEVIATIONS * math.hypot(_standard_error(a), _standard_error(b))
  gap = float(np.mean(a)) - float(np.mean(b))
  return gap - half, gap + half


def of_share(hits: Bool[np.ndarray, " n"]) -> tuple[float, float]:
  """Wilson's interval of a share (1927): it stays within [0, 1] and has a width at 0 and at 1."""
  n, z2 = len(hits), _DEVIATIONS**2
  share = float(np.mean(hits))
  centre = (share + z2 / (2 * n)) / (1 + z2 / n)
  half = _DEVIATIONS * math.sqrt(share * (1 - share) / n + z2 / (4 * n**2)) / (1 + z2 / n)
  # Rounding would leave 1e-18 where the formula has 0.
  return (
    0.0 if share == 0 else max(0.0, centre - half),
    1.0 if share == 1 else min(1.0, centre + half),
  )


def mean(name: str, values: Float[np.ndarray, " n"]) -> dict[str, Value]:
  """A mean by its name, with the interval `…_95` where there are 2 values or more."""
  x = np.asarray(values, np.float64)
  ends = {name + SUFFIX: of_mean(x)} if len(x) > 1 else {}
  return {name: float(np.mean(x)), **ends}


def difference(
  name: str, a: Float64[np.ndarray, " n"], b: Float64[np.ndarray, " m"]
) -> dict[str, Value]:
  """mean(a) − mean(b) by its name, with the interval `…_95` where there are 2 values or more."""
  ends = {name + SUFFIX: of_difference(a, b)} if min(len(a), len(b)) > 1 else {}
  return {name: float(np.mean(a)) - float(np.mean(b)), **ends}


def share(name: str, hits: Bool[np.ndarray, " n"]) -> dict[str, Value]:
  """A share by its name, with Wilson's interval `…_95`."""
  return {name: float(np.mean(hits)), name + SUFFIX: of_share(hits)}


def _standard_error(values: Float64[np.ndarray, " n"]) -> float:
  return float(np.std(values, ddof=1)) / math.sqrt(len(values))
