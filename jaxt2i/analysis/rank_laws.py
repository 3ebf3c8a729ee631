"""Which distribution the codes follow: laws of frequency by rank, fitted by likelihood.

Ranks come from one half of the images and frequencies from the other: ranks of the same counts
would put those in descending order whatever the truth is (Piantadosi 2014, Zipf's word frequency
law in natural language, §"correlated errors"). No line is drawn through a log–log plot.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Num

from jaxt2i.analysis.latent_set import LatentSet
from jaxt2i.analysis.measures import Measure, Section, mean_of, shown
from jaxt2i.evaluators import intervals

Law = Callable[[int, float], np.ndarray]  # (K, parameter) → p by rank, [K] float64


def zipf(size: int, exponent: float) -> Float64[np.ndarray, "K"]:
  """p ∝ rank^−exponent over K ranks; 0 is the uniform law."""
  return _normalised(-exponent * np.log(np.arange(1, size + 1)))


def geometric(size: int, rate: float) -> Float64[np.ndarray, "K"]:
  """p ∝ exp(−rate · rank) over K ranks; 0 is the uniform law."""
  return _normalised(-rate * np.arange(size, dtype=np.float64))


def uniform(size: int, _: float = 0.0) -> Float64[np.ndarray, "K"]:
  """1 / K."""
  return np.full(size, 1 / size)


LAWS: dict[str, tuple[Law, float]] = {  # name → law, upper bound of its parameter (lower: 0)
  "uniform": (uniform, 0.0),
  "geometric": (geometric, 10.0),
  "zipf": (zipf, 10.0),
}


def fit(law: str, counts: Num[np.ndarray, "K"]) -> float:
  """The parameter of greatest likelihood for counts by rank; 0 for the uniform law."""
  from scipy import optimize

  of, most = LAWS[law]
  if not most:
    return 0.0
  # −log p is convex in either parameter: both laws are exponential families.
  loss = lambda parameter: -float(counts @ np.log(of(len(counts), parameter)))
  return float(optimize.minimize_scalar(loss, bounds=(0.0, most), method="bounded").x)


def by_rank(found: LatentSet) -> Int64[np.ndarray, "m K"]:
  """Counts of the codes in every second image, by their rank in the others."""
  ranks = np.argsort(-found.counts_by_image[0::2].sum(axis=0), kind="stable")
  return found.counts_by_image[1::2][:, ranks]


def measure(found: LatentSet) -> Section:
  """The law that makes the codes of half of the images most probable."""
  counts = by_rank(found)
  total, size = counts.sum(axis=0), counts.shape[1]
  fitted = {name: fit(name, total) for name in LAWS}
  lengths = _lengths(found, counts, fitted)
  best, second, *_ = sorted(LAWS, key=lambda name: lengths[name].mean())
  mean, bounds = mean_of(lengths[second] - lengths[best])
  low, high = bounds or (mean, mean)
  told = "" if low > 0 else ", which so few images cannot tell from 0"
  exponent = f" of exponent {fitted['zipf']:.2f}" if best == "zipf" else ""
  lost = float((lengths[best] - lengths["table"]).mean())
  answer = (
    f"Of the three laws a {best} one{exponent} fits best, by {shown(mean)} bits a "
    f"token ({shown(low)} to {shown(high)}) before the {second} one{told}. {_of_table(lost)}"
  )
  tables: dict[str, Any] = {
    "counts_by_rank": total.tolist(),
    "laws": {
      name: np.round(law(size, fitted[name]), 9).tolist() for name, (law, _) in LAWS.items()
    },
  }
  measures = _measures(found, counts, fitted, lengths, best)
  return Section(
    "distribution", "Which distribution do the codes follow?", answer, measures, tables=tables
  )


def _lengths(
  found: LatentSet, counts: Int64[np.ndarray, "m K"], fitted: Mapping[str, float]
) -> dict[str, Float64[np.ndarray, " m"]]:
  """Bits of a token of each image under each law: a code length, less is better.

  Beside the laws "table": the frequencies by rank of the images that the ranks are from.
  """
  tokens, size = counts[0].sum(), counts.shape[1]
  table = found.counts_by_image[0::2].sum(axis=0)
  shares = {name: law(size, fitted[name]) for name, (law, _) in LAWS.items()}
  shares["table"] = np.sort(table + 0.5)[::-1] / (table + 0.5).sum()
  return {name: -(counts @ np.log2(p)) / tokens for name, p in shares.items()}


def _measures(
  found: LatentSet,
  counts: Int64[np.ndarray, "m K"],
  fitted: Mapping[str, float],
  lengths: Mapping[str, Float64[np.ndarray, " m"]],
  best: str,
) -> tuple[Measure, ...]:
  m = len(counts)
  exponents = [fit("zipf", column) for column in (counts.T @ intervals.resamples(m, seed=0)).T]
  where = f"{found.where}; ranks from every second image, frequencies and fit from the {m:,} others"
  over_images = f"{where}; ± 1.96 standard errors over images"
  lost = lengths[best] - lengths["table"]
  return (
    Measure("distribution", best, "The law of the shortest code length.", where),
    Measure(
      "zipf_exponent",
      fitted["zipf"],
      "s in p ∝ rank^−s, of greatest likelihood: 0 is even, 1 is Zipf's law of words.",
      f"{where}; ± 1.96 standard deviations over resampled images",
      intervals.of_resamples(np.array(exponents)),
    ),
    Measure(
      "geometric_rate", fitted["geometric"], "Share by which frequency falls from a rank.", where
    ),
    *(
      Measure(
        f"bits_{name}",
        float(values.mean()),
        _MEANS[name],
        over_images,
        mean_of(values)[1],
        "bits",
      )
      for name, values in lengths.items()
    ),
    Measure(
      "bits_lost_by_law",
      float(lost.mean()),
      "What the best law needs more than the table: near 0 or less it describes the codes, else "
      "no such law does.",
      over_images,
      mean_of(lost)[1],
      "bits",
    ),
  )


def _of_table(lost: float) -> str:
  if lost <= 0:
    return "A table of the other half's frequencies is no better: the law describes the codes."
  return f"A table of the other half's frequencies would save {shown(lost)} bits more."


_MEANS = {
  "uniform": "Of a token if all codes were alike: log2 K.",
  "geometric": "Of a token under the geometric law.",
  "zipf": "Of a token under Zipf's law.",
  "table": "Of a token under the frequencies of the other half (+ ½ a code): no law at all.",
}


def _normalised(logits: Float64[np.ndarray, "K"]) -> Float64[np.ndarray, "K"]:
  p = np.exp(logits - logits.max())
  # No frequency is impossible: log 0 of a code that does occur would end every comparison.
  return (p + 1e-300) / p.sum()
