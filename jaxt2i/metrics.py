"""Metrics: sums that add up across batches and devices, code usage, picture quality."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Float, Num

AnyArray = jax.Array | np.ndarray

# Window and constants of Wang et al. 2004; data range 1.
_SSIM_WINDOW, _SSIM_SIGMA, _SSIM_K1, _SSIM_K2 = 11, 1.5, 0.01, 0.03
SSIM = (
  f"values from 0 to 1, Gaussian window of {_SSIM_WINDOW} pixels, sigma {_SSIM_SIGMA}, "
  f"K1 {_SSIM_K1}, K2 {_SSIM_K2}, mean over channels"
)


class Mean(struct.PyTreeNode):
  """A weighted mean as its two sums; `a + b` is the mean over the examples of both.

  Never average two means: batches with different weights would count the same.
  """

  total: Any  # [] float32, sum of weight * value
  weight: Any  # [] float32, sum of weight

  @classmethod
  def of(cls, values: Any, weight: Any = None) -> "Mean":
    """Sums `values` (any shape), each counted once or by its `weight` (same shape)."""
    values = jnp.asarray(values).astype(jnp.float32)
    if weight is None:
      return cls(total=jnp.sum(values), weight=jnp.asarray(values.size, jnp.float32))
    weight = jnp.asarray(weight).astype(jnp.float32)
    if weight.shape != values.shape:
      raise ValueError(f"weight has shape {weight.shape}, expected that of values, {values.shape}")
    # where: a padded example may hold anything, NaN too, and 0 * NaN is NaN.
    total = jnp.sum(jnp.where(weight == 0, 0, weight * values))
    return cls(total=total, weight=jnp.sum(weight))

  def __add__(self, other: "Mean") -> "Mean":
    return Mean(total=self.total + other.total, weight=self.weight + other.weight)

  def compute(self) -> Any:
    """The mean, [] float32; NaN where nothing was counted."""
    return self.total / self.weight


class Count(struct.PyTreeNode):
  """How often something happened; `a + b` is that of both."""

  total: Any  # [] float32

  def __add__(self, other: "Count") -> "Count":
    return Count(self.total + other.total)


class CodeCounts(struct.PyTreeNode):
  """How often each code was used; `a + b` is that of both. Gives usage and perplexity."""

  counts: Any  # [K] float32

  @classmethod
  def of(cls, tokens: Any, codebook_size: int) -> "CodeCounts":
    """Counts tokens of any shape."""
    return cls(jnp.zeros(codebook_size, jnp.float32).at[tokens].add(1.0))

  def __add__(self, other: "CodeCounts") -> "CodeCounts":
    return CodeCounts(self.counts + other.counts)


Metric = Mean | Count | CodeCounts


def merge(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
  """Adds the metrics of two parts of a split by name; a name in one of them only is kept."""
  merged = dict(a)
  for name, metric in b.items():
    merged[name] = merged[name] + metric if name in merged else metric
  return merged


def compute(metrics: Mapping[str, Metric]) -> dict[str, float]:
  """As Python floats, fetched from the device at once; a mean of nothing is NaN.

  Counts of codes become `<name>_usage` and `<name>_perplexity`.
  """
  values: dict[str, float] = {}
  for name, metric in jax.device_get(dict(metrics)).items():
    if isinstance(metric, CodeCounts):
      values[f"{name}_usage"] = usage(metric.counts)
      values[f"{name}_perplexity"] = perplexity(metric.counts)
    elif isinstance(metric, Count):
      values[name] = float(metric.total)
    else:
      with np.errstate(invalid="ignore", divide="ignore"):
        values[name] = float(np.divide(metric.total, metric.weight))
  return values


def usage(counts: Num[AnyArray, "K"]) -> float:
  """The share of codes hit at least once, 0 to 1; `counts` are to be summed over a whole split."""
  return float(np.mean(np.asarray(counts) > 0))


def perplexity(counts: Num[AnyArray, "K"]) -> float:
  """exp of the entropy of code use: 1 if one code does all, K if all are used alike.

  `counts` are to be summed over a whole split: a batch cannot hit every code. NaN if all are 0.
  """
  counts = np.asarray(counts, np.float64)
  if not counts.sum() > 0:
    return float("nan")
  shares = counts[counts > 0] / counts.sum()
  return float(np.exp(-np.sum(shares * np.log(shares))))


def psnr(a: Float[AnyArray, "B H W C"], b: Float[AnyArray, "B H W C"]) -> Float[jax.Array, "B"]:
  """Peak signal-to-noise ratio of each image in decibels, for values in [0, 1].

  At most 100 dB, so that identical images leave a mean over images finite.
  """
  mse = jnp.mean(jnp.square(jnp.asarray(a) - jnp.asarray(b)), axis=(1, 2, 3))
  return -10 * jnp.log10(jnp.maximum(mse, 1e-10))


def ssim(a: Float[AnyArray, "B H W C"], b: Float[AnyArray, "B H W C"]) -> Float[jax.Array, "B"]:
  """Structural similarity of each image, -1 to 1, for values in [0, 1].

  Gaussian window of 11 pixels, sigma 1.5; mean over channels and over the windows that lie inside
  the image. Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 13 (2004), equation 13.

  Raises:
    ValueError: if an image is smaller than the window.
  """
  height, width = a.shape[1:3]
  if min(height, width) < _SSIM_WINDOW:
    raise ValueError(f"images of {height}x{width}, expected at least 11x11 pixels for SSIM")
  rows, columns = _window_matrix(height), _window_matrix(width)

  # As two matrix products: five times faster on CPU than convolving each row.
  def blur(x: jax.Array) -> jax.Array:
    return jnp.einsum("yh,xw,bhwc->byxc", rows, columns, x, precision="highest")

  # Variances do not change when a constant is subtracted, but lose fewer digits around 0.
  a, b = jnp.asarray(a, jnp.float32) - 0.5, jnp.asarray(b, jnp.float32) - 0.5
  mean_a, mean_b = blur(a), blur(b)
  variance_a = jnp.maximum(blur(a * a) - mean_a * mean_a, 0)
  variance_b = jnp.maximum(blur(b * b) - mean_b * mean_b, 0)
  # Cauchy-Schwarz, which rounding breaks in flat areas.
  bound = jnp.sqrt(variance_a * variance_b)
  covariance = jnp.clip(blur(a * b) - mean_a * mean_b, -bound, bound)

  mean_a, mean_b = mean_a + 0.5, mean_b + 0.5
  c1, c2 = _SSIM_K1**2, _SSIM_K2**2
  luminance = (2 * mean_a * mean_b + c1) / (mean_a * mean_a + mean_b * mean_b + c1)
  structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
  return jnp.mean(luminance * structure, axis=(1, 2, 3))


def _window_matrix(size: int) -> Float[np.ndarray, "Y H"]:
  """[H - 10, H]: row y holds the Gaussian window at y ... y + 10."""
  offsets = np.arange(_SSIM_WINDOW) - _SSIM_WINDOW // 2
  window = np.exp(-0.5 * (offsets / _SSIM_SIGMA) ** 2)
  window /= window.sum()
  rows = [np.pad(window, (y, size - _SSIM_WINDOW - y)) for y in range(size - _SSIM_WINDOW + 1)]
  return np.stack(rows).astype(np.float32)
