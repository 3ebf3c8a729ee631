"""Is a latent space over- or under-complete? Its bits and dimensions against those of pixels."""

import io
import math

import numpy as np
from jaxtyping import Float, Float64, UInt8
from PIL import Image

from jaxt2i.analysis.latent_set import LatentSet
from jaxt2i.analysis.measures import Measure, Section, mean_of, shown

_PERCENT = 95  # of the variance


def measure(found: LatentSet) -> Section:
  """Bits of tokens and of pixels; dimensions, and how many of them the latents fill."""
  dimensions, where = found.codes.shape[1], found.where
  of_codes = variances_of_codes(found)
  of_z = np.linalg.eigvalsh(found.before.covariance).clip(0)
  measures = (
    *_bits(found),
    Measure("unique_grids", *_unique(found)),
    *_dimensions("codes", of_codes, dimensions, None, f"{where}; codes weighted by use"),
    *_dimensions("latents", of_z, len(of_z), None, f"{where}; before the lookup, all positions"),
    *_dimensions(
      "images",
      variances_of_rows(found.flat),
      found.flat.shape[1],
      len(found),
      f"{where}; the code vectors of an image in a row",
    ),
  )
  value = {measure.name: measure.value for measure in measures}
  filled = effective_dimension(of_codes, dimensions)
  answer = (
    f"{str(value['complete']).capitalize()}-complete: a grid of tokens can tell "
    f"{shown(value['token_bits'])} bits, the same image takes {shown(value['png_bits'])} bits as "
    f"PNG and {value['raw_bits']:,} raw. The codes in use spread over about {filled:.1f} of their "
    f"{dimensions} dimensions."
  )
  tables = {
    "spectrum_codes": _rounded(spectrum(of_codes)),
    "spectrum_latents": _rounded(spectrum(of_z)),
  }
  return Section("complete", "Is it over- or under-complete?", answer, measures, tables=tables)


def _bits(found: LatentSet) -> tuple[Measure, ...]:
  """Of a grid of tokens and of the image."""
  h, w = found.grid
  size, dimensions = found.codes.shape
  pixels, where = found.decoded[0].size, found.where
  token_bits = h * w * math.log2(size)
  png = np.array([8.0 * _png_bytes(image) for image in found.images])
  mean, bounds = mean_of(png)
  word = "under" if token_bits < mean else "over"
  return (
    Measure("complete", word, _COMPLETE, where),
    Measure("token_bits", token_bits, "What a grid can tell: tokens · log2 K.", where, unit="bits"),
    Measure("raw_bits", 8 * pixels, "The same images as 8-bit pixels.", where, unit="bits"),
    Measure(
      "png_bits",
      mean,
      "The same images without loss as PNG: more than their entropy, which nobody knows.",
      f"{where}; Pillow's PNG, optimised; mean ± 1.96 standard errors",
      bounds,
      "bits",
    ),
    Measure("compression", mean / token_bits, "PNG bits for each bit of tokens.", where),
    Measure(
      "dimension_ratio",
      h * w * dimensions / pixels,
      "Numbers in the code vectors of a grid for each number in the pixels.",
      f"{where}; code_dim {dimensions}",
    ),
  )


_COMPLETE = (
  "“under” if a grid of tokens can tell fewer bits than the lossless image takes, so that it must "
  "leave something out; else “over”."
)


def effective_dimension(
  variances: Float[np.ndarray, " A"], size: int, count: int | None = None
) -> float:
  """Participation ratio (Σ λ)² / Σ λ², 1 to `size`: how many equal axes would spread as much.

  Args:
    variances: along all principal axes, those without any left out or 0.
    size: D, dimensions that there are.
    count: vectors that they were estimated from, divided by count − 1: then the expectation of both
      sums under a Gaussian is put right (Wishart moments), without which the ratio cannot exceed
      count − 1. None: take them as they are.

  Returns:
    0 if all vectors are the same.
  """
  squares, square = float(np.square(variances).sum()), float(variances.sum()) ** 2
  if square <= 0:
    return 0.0
  if count is not None and count > 3:
    n = count - 1
    squares = (squares - square / n) / (1 + 1 / n - 2 / n**2)
    square = square - 2 * squares / n
  return float(size) if squares <= square / size else square / squares


def axes_for(variances: Float[np.ndarray, " A"], percent: int) -> int:
  """How many principal axes hold so much of the variance; 0 if there is none."""
  shares = spectrum(variances)
  return int(np.searchsorted(shares, percent / 100 - 1e-12) + 1) if len(shares) else 0


def spectrum(variances: Float[np.ndarray, " A"]) -> Float64[np.ndarray, " n"]:
  """Cumulative shares of the variance along principal axes; empty if there is none."""
  total = variances.sum()
  return np.cumsum(np.sort(variances)[::-1]) / total if total > 0 else np.zeros(0)


def variances_of_rows(rows: Float[np.ndarray, "M F"]) -> Float64[np.ndarray, " A"]:
  """Variances along principal axes of M vectors, by the smaller of the two Gram matrices."""
  x = rows.astype(np.float64)
  x = x - x.mean(axis=0)
  gram = x @ x.T if len(x) < x.shape[1] else x.T @ x
  return np.linalg.eigvalsh(gram).clip(0) / (len(x) - 1)


def variances_of_codes(found: LatentSet) -> Float64[np.ndarray, " D"]:
  """Variances along principal axes of the codebook, each code counted as often as it is used."""
  weights = found.counts / found.counts.sum()
  x = found.codes.astype(np.float64)
  x = x - weights @ x
  return np.linalg.eigvalsh((x * weights[:, None]).T @ x).clip(0)


def _dimensions(
  name: str, variances: Float64[np.ndarray, " A"], size: int, count: int | None, protocol: str
) -> list[Measure]:
  most = size if count is None else min(size, count - 1)
  corrected = "" if count is None else "; Gaussian correction for the number of images"
  limit = "" if most == size else f"; from so few images {most:,} at most"
  return [
    Measure(
      f"effective_dimension_{name}",
      effective_dimension(variances, size, count),
      f"Participation ratio of the variances along principal axes, of {size:,}.",
      protocol + corrected,
    ),
    Measure(
      f"axes_{_PERCENT}_{name}",
      axes_for(variances, _PERCENT),
      f"Principal axes that hold {_PERCENT} % of the variance, of {size:,}{limit}.",
      protocol,
    ),
  ]


def _unique(found: LatentSet) -> tuple[float, str, str]:
  """Share of different images whose grids differ too."""
  count = lambda rows: len({row.tobytes() for row in rows})
  different = count(found.images)
  return (
    count(found.tokens) / different,
    "Different grids for each different image; below 1 some images cannot be told apart.",
    f"{found.where}; {different:,} different images",
  )


def _png_bytes(image: UInt8[np.ndarray, "H W 3"]) -> int:
  file = io.BytesIO()
  Image.fromarray(image).save(file, format="PNG", optimize=True)
  return file.tell()


def _rounded(values: Float64[np.ndarray, " n"]) -> list[float]:
  return [round(float(value), 6) for value in values]
