"""Is a latent space smooth? Whether what lies near decodes alike: swaps of codes, and ways between.

All on decoded pictures in units of the range of a pixel, 0 to 1.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float, Float64, Int, Int32, Int64, UInt8

from jaxt2i.analysis.latent_set import LatentSet, decode_codes
from jaxt2i.analysis.measures import Interval, Measure, Section, mean_of
from jaxt2i.evaluators import intervals
from jaxt2i.evaluators.pairwise import squared_distances
from jaxt2i.pipeline import Pipeline

SWAPS = 1024
WAYS = 32  # pairs of images
STEPS = 16  # of a way, so pictures − 1
_RESAMPLES = intervals.RESAMPLES


@dataclasses.dataclass(frozen=True, eq=False)
class Swaps:
  """One token of an image replaced by another code, S times.

  Attributes:
    image: which of the set.
    row, column: of the token.
    old, new: codes.
    distance: between both, Euclidean, in the codebook's units.
    change: of the decoded picture, root of the mean square over all pixels.
    inside: share of the squared change that lies in the token's own patch.
    around: the same of it and its eight neighbours.
  """

  image: Int64[np.ndarray, "S"]
  row: Int64[np.ndarray, "S"]
  column: Int64[np.ndarray, "S"]
  old: Int64[np.ndarray, "S"]
  new: Int64[np.ndarray, "S"]
  distance: Float64[np.ndarray, "S"]
  change: Float64[np.ndarray, "S"]
  inside: Float64[np.ndarray, "S"]
  around: Float64[np.ndarray, "S"]


def measure(pipeline: Pipeline, found: LatentSet) -> Section:
  """Swaps of codes and ways between images."""
  question = "Is it smooth?"
  if len(found.used) < 3:
    note = f"Not measured: fewer than three codes occur ({len(found.used)})."
    return Section("smooth", question, note, ())
  random = swap(pipeline, found, nearest=False)
  near = swap(pipeline, found, nearest=True)
  measures = (*_of_swaps(found, random, near), *_ways(pipeline, found))
  by_name = {m.name: m.value for m in measures}
  assert measures[0].interval is not None
  low, high = measures[0].interval
  answer = (
    f"Spearman's correlation of code distance and change of picture: {by_name['smooth']:.2f} "
    f"({low:.2f} to {high:.2f}); the nearest code changes {by_name['nearest_change']:.0%} of what "
    "a random one does. The way between two images through the code vectors is "
    f"{by_name['embedding_path']:.2f} times as long as the straight one through pixels, through "
    f"the tokens {by_name['token_path']:.2f} times."
  )
  points = np.stack([random.distance, random.change], axis=1)
  return Section(
    "smooth", question, answer, measures, tables={"swaps": np.round(points, 5).tolist()}
  )


def _of_swaps(found: LatentSet, random: Swaps, near: Swaps) -> tuple[Measure, ...]:
  """What swaps at random and by the nearest code say."""
  value, bounds = correlation(random)
  count = len(random.image)
  where = f"{found.where}; {count:,} tokens, one at a time replaced by another code that occurs"
  return (
    Measure(
      "smooth",
      value,
      "Spearman's correlation of how far a code lies from the one that it replaces and how much "
      "the picture changes: 1 the same order, 0 the codebook has none that the decoder knows.",
      f"{where} at random; ± 1.96 standard deviations over resampled images",
      bounds,
    ),
    Measure(
      "nearest_change",
      float(near.change.mean() / max(random.change.mean(), 1e-12)),
      "Change by the nearest code as a share of that by a random one: 1 neighbours are no more "
      "alike than any codes.",
      f"{where}: by the nearest, and at random",
    ),
    Measure(
      "inside_patch",
      float(np.nanmean(random.inside)),
      "Share of the squared change in the token's own patch: 1 tokens are drawn apart.",
      f"{where} at random; mean over swaps that change anything",
    ),
    Measure(
      "inside_neighbourhood",
      float(np.nanmean(random.around)),
      "The same in the patch and the eight around it.",
      f"{where} at random; mean over swaps that change anything",
    ),
  )


def swap(pipeline: Pipeline, found: LatentSet, *, nearest: bool) -> Swaps:
  """Replaces a token at a time by the nearest code that occurs, or by one of them at random.

  The images and places are the same either way.
  """
  rng = np.random.default_rng(0)
  count = max(SWAPS // len(found), 1) * len(found) if len(found) < SWAPS else SWAPS
  h, w = found.grid
  image = np.arange(count) % len(found)
  row, column = rng.integers(h, size=count), rng.integers(w, size=count)
  old = found.tokens[image, row, column].astype(np.int64)
  new = nearest_codes(found)[old] if nearest else _others(found.used, old, rng)
  change, inside, around = (np.zeros(count) for _ in range(3))
  for start in range(0, count, 256):
    some = slice(start, min(start + 256, count))
    tokens = found.tokens[image[some]].copy()
    tokens[np.arange(len(tokens)), row[some], column[some]] = new[some]
    squares = _squares(pipeline.decode(tokens), found.decoded[image[some]], found.patch)
    change[some] = np.sqrt(squares.mean(axis=(1, 2)))
    for which, (y, x) in enumerate(zip(row[some], column[some], strict=True)):
      total = squares[which].sum()
      near = squares[which, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].sum()
      inside[start + which] = squares[which, y, x] / total if total else math.nan
      around[start + which] = near / total if total else math.nan
  gap = found.codes[old].astype(np.float64) - found.codes[new]
  distance = np.sqrt(np.square(gap).sum(axis=1))
  return Swaps(image, row, column, old, new, distance, change, inside, around)


def correlation(swaps: Swaps) -> tuple[float, Interval]:
  """Spearman's of distance and change, and its interval over images; 0 if either never varies."""
  order = np.argsort(swaps.image, kind="stable")
  groups = np.split(order, np.flatnonzero(np.diff(swaps.image[order])) + 1)
  rng = np.random.default_rng(0)
  values = [spearman(swaps.distance, swaps.change)]
  for _ in range(_RESAMPLES):
    some = np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))])
    values.append(spearman(swaps.distance[some], swaps.change[some]))
  low, high = intervals.of_resamples(np.array(values))
  return values[0], (max(low, -1.0), min(high, 1.0))


def spearman(a: Float[np.ndarray, "n"], b: Float[np.ndarray, "n"]) -> float:
  """Rank correlation, ties at their mean rank; 0 if either has one value only."""
  from scipy import stats

  if np.ptp(a) == 0 or np.ptp(b) == 0:
    return 0.0
  return float(stats.spearmanr(a, b).statistic)


def nearest_codes(found: LatentSet) -> Int64[np.ndarray, "K"]:
  """Of each code that occurs the nearest other one that occurs; of the others themselves."""
  used = np.sort(found.used)
  gaps = squared_distances(found.codes[used], found.codes[used])
  np.fill_diagonal(gaps, np.inf)
  result = np.arange(len(found.codes))
  result[used] = used[gaps.argmin(axis=1)]
  return result


def pairs_of_images(found: LatentSet, count: int = WAYS) -> Int64[np.ndarray, "P 2"]:
  """Pairs of different images, by chance but always the same."""
  order = np.random.default_rng(0).permutation(len(found))
  return order[: 2 * min(count, len(order) // 2)].reshape(-1, 2)


def embedding_way(
  pipeline: Pipeline, found: LatentSet, first: int, last: int, steps: int = STEPS
) -> UInt8[np.ndarray, "T H W 3"]:
  """Pictures on the straight line between the code vectors of two images, not looked up again."""
  share = np.linspace(0, 1, steps + 1, dtype=np.float32)[:, None, None, None]
  a, b = (found.codes[found.tokens[i]] for i in (first, last))
  return decode_codes(pipeline, (1 - share) * a + share * b)


def token_way(
  pipeline: Pipeline, found: LatentSet, first: int, last: int, steps: int = STEPS
) -> UInt8[np.ndarray, "T H W 3"]:
  """Pictures on the way on which tokens change over, a few at a time in an order of chance."""
  return pipeline.decode(_changing(found.tokens[first], found.tokens[last], steps))


def path_length(pictures: UInt8[np.ndarray, "T H W 3"]) -> tuple[float, float]:
  """Length of a way and of its longest step, each as a share of the straight way's and a step's.

  Of steps that all go the same way by as much both are 1; NaN if it ends where it began.
  """
  x = pictures.reshape(len(pictures), -1).astype(np.float64)
  steps = np.sqrt(np.square(np.diff(x, axis=0)).sum(axis=1))
  straight = float(np.sqrt(np.square(x[-1] - x[0]).sum()))
  if not straight:
    return math.nan, math.nan
  return float(steps.sum()) / straight, float(steps.max() / steps.mean())


def _ways(pipeline: Pipeline, found: LatentSet) -> list[Measure]:
  pairs = pairs_of_images(found)
  protocol = (
    f"{found.where}; {len(pairs)} pairs of images by chance, {STEPS} steps; mean ± 1.96 standard "
    "errors over pairs"
  )
  measures = []
  for name, way, through, reference in (
    (
      "embedding",
      embedding_way,
      "the straight line of code vectors",
      "1 is a cross-fade of pixels",
    ),
    ("token", token_way, "tokens that change over one after the other", _INDEPENDENT),
  ):
    found_lengths = [path_length(way(pipeline, found, int(a), int(b))) for a, b in pairs]
    length, longest = np.array(found_lengths).T
    for key, values, means in (
      (
        "path",
        length,
        f"Length in pixels of the way between two images through {through}, over that of the "
        f"straight way: {reference}.",
      ),
      (
        "largest_step",
        longest,
        f"The longest step of it over its mean step, through {through}: 1 is even, {STEPS} a jump.",
      ),
    ):
      mean, bounds = mean_of(values[np.isfinite(values)])
      measures.append(Measure(f"{name}_{key}", mean, means, protocol, bounds))
  return measures


_INDEPENDENT = f"{math.sqrt(STEPS):.0f} if {STEPS} groups of tokens change separate pixels alike"


def _changing(
  first: Int32[np.ndarray, "h w"], last: Int32[np.ndarray, "h w"], steps: int
) -> Int32[np.ndarray, "T h w"]:
  order = np.random.default_rng(0).permutation(first.size)
  rank = np.argsort(order).reshape(first.shape)
  changed = np.linspace(0, first.size, steps + 1).round()
  return np.where(rank < changed[:, None, None], last, first).astype(np.int32)


def _others(
  used: Int64[np.ndarray, "U"], old: Int[np.ndarray, "S"], rng: np.random.Generator
) -> Int64[np.ndarray, "S"]:
  """Of the codes that occur one at random that is not the old one."""
  place = np.zeros(used.max() + 1, np.int64)
  place[used] = np.arange(len(used))
  return used[(place[old] + rng.integers(1, len(used), size=len(old))) % len(used)]


def _squares(
  a: UInt8[np.ndarray, "B H W 3"], b: UInt8[np.ndarray, "B H W 3"], p: int
) -> Float64[np.ndarray, "B h w"]:
  """Mean squared difference in each patch."""
  n, height, width, _ = a.shape
  squares = np.square((a.astype(np.float32) - b) / 255)
  cut = squares.reshape(n, height // p, p, width // p, p, 3)
  return cut.mean(axis=(2, 4, 5)).astype(np.float64)
