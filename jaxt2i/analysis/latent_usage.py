"""Is a latent space sparse or dense? Which codes do the work, how evenly, and where."""

import math

import numpy as np
from jaxtyping import Float64, Int, Num

from jaxt2i import metrics
from jaxt2i.analysis import latents
from jaxt2i.analysis.latent_set import LatentSet
from jaxt2i.analysis.measures import Measure, Section, shown
from jaxt2i.evaluators import intervals


def measure(found: LatentSet) -> Section:
  """Usage, evenness and entropy of the codes, over all and by position."""
  counts, by_position = found.counts, positions(found)
  size, half = len(counts), codes_for_half(counts)
  all_of = "All" if len(found.used) == size else f"{len(found.used):,} of"
  answer = (
    f"{all_of} {size:,} codes occur, and half of all tokens are of {half:,} of them "
    f"(Gini {gini(counts):.2f}). A token tells {shown(entropy_bits(counts))} of "
    f"{math.log2(size):.2f} bits, {shown(float(by_position.mean()))} once its position is known."
  )
  tables = {
    "entropy_of_positions": np.round(by_position, 4).tolist(),
    "distinct_of_positions": latents.distinct_by_position(found.tokens).tolist(),
    "counts": counts.tolist(),
  }
  measures = (*_over_all(found), *_by_place(found, by_position))
  return Section("sparse", "Is it sparse or dense?", answer, measures, tables=tables)


def _over_all(found: LatentSet) -> tuple[Measure, ...]:
  """Of the codes, wherever they stand."""
  where, counts = found.where, found.counts
  size, total = len(counts), int(counts.sum())
  resampled = found.counts_by_image.T @ intervals.resamples(len(found), seed=0)  # [K, R]
  bounds = lambda of: intervals.of_resamples(np.array([of(column) for column in resampled.T]))
  over_images = f"{where}; ± 1.96 standard deviations over resampled images"
  even = np.random.default_rng(0).multinomial(total, np.full(size, 1 / size))
  few = f"; an even source would show {metrics.usage(even):.3g} in so many tokens"
  return (
    Measure(
      "usage", metrics.usage(counts), "Codes that occur at all, of the codebook.", where + few
    ),
    Measure(
      "coverage",
      1 - float(np.sum(counts == 1)) / total,
      "Probability that the next token is of a code that has occurred (Good–Turing): near 1, codes "
      "that did not occur are dead rather than rare.",
      f"{where}; as if tokens were independent",
    ),
    Measure(
      "gini",
      gini(counts),
      "Inequality of use over the whole codebook: 0 all codes alike, towards 1 a few do all.",
      f"{over_images}; an even source would show {gini(even):.2g} in so many tokens",
      bounds(gini),
    ),
    Measure(
      "codes_for_half",
      codes_for_half(counts),
      "The commonest codes that together are half of all tokens.",
      where,
    ),
    Measure("perplexity", metrics.perplexity(counts), "Codes, if all were used alike.", where),
    Measure(
      "entropy",
      entropy_bits(counts),
      f"Of a token whose position is not known, of {math.log2(size):.2f} bits; Miller–Madow.",
      over_images,
      bounds(entropy_bits),
      "bits",
    ),
  )


def _by_place(found: LatentSet, by_position: Float64[np.ndarray, "h w"]) -> tuple[Measure, Measure]:
  """Of the codes at each position, and in each image."""
  where, (h, w) = found.where, found.grid
  return (
    Measure(
      "entropy_by_position",
      float(by_position.mean()),
      "Of a token whose position is known, the mean over positions; Miller–Madow. Too low unless "
      "there are several times as many images as codes.",
      f"{where}; of so many images at most {math.log2(len(found)) + 0.5 / math.log(2):.2f} bits",
      unit="bits",
    ),
    Measure(
      "codes_an_image",
      float(np.mean(np.sum(found.counts_by_image > 0, axis=1))),
      f"Different codes in an image of {h * w} tokens, the mean.",
      where,
    ),
  )


def gini(counts: Num[np.ndarray, "K"]) -> float:
  """Gini coefficient (1912) of counts, not all 0: 0 if equal, 1 − 1/K if one has all."""
  ascending = np.sort(counts.astype(np.float64))
  size = len(ascending)
  ranks = np.arange(1, size + 1)
  return float(2 * (ranks @ ascending) / (size * ascending.sum()) - (size + 1) / size)


def entropy_bits(counts: Num[np.ndarray, "K"]) -> float:
  """Entropy in bits of the source of counts, by Miller and Madow (1955): + (codes seen − 1) / 2n.

  At most log2 K. What they leave of the bias is negative while many codes have not occurred.
  """
  n = float(counts.sum())
  seen = int(np.sum(counts > 0))
  plain = float(np.log2(metrics.perplexity(counts)))
  return min(plain + (seen - 1) / (2 * n * math.log(2)), math.log2(len(counts)))


def codes_for_half(counts: Num[np.ndarray, "K"]) -> int:
  """How many of the commonest codes it takes for half of all tokens."""
  shares = np.cumsum(np.sort(counts)[::-1]) / counts.sum()
  return int(np.searchsorted(shares, 0.5 - 1e-12) + 1)


def positions(found: LatentSet) -> Float64[np.ndarray, "h w"]:
  """`entropy_bits` of the codes at each position."""
  size = len(found.codes)
  column = lambda tokens: entropy_bits(latents.count(tokens, size))
  return np.apply_along_axis(column, 0, _int64(found.tokens)).astype(np.float64)


def _int64(tokens: Int[np.ndarray, "M h w"]) -> Int[np.ndarray, "M h w"]:
  return tokens.astype(np.int64)
