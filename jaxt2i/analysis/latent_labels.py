"""Is a latent space organised? Clusters against labels, and linear probes against pixels."""

import dataclasses
from collections import Counter
from collections.abc import Sequence, Sized

import numpy as np
from jaxtyping import Bool, Float, Float64, UInt8
from threadpoolctl import threadpool_limits

from jaxt2i.analysis.latent_set import LatentSet, labels
from jaxt2i.analysis.measures import Measure, Section
from jaxt2i.evaluators import intervals

# Everything of scikit-learn's runs on one thread: sums of several differ in their last digits, and
# with them what k-means and t-SNE make of these.
AXES = 50  # principal axes that clusters and probes see
_SHUFFLES = 200
_STRENGTH = 0.1  # C of the logistic regression, on axes of variance 1


@dataclasses.dataclass(frozen=True, eq=False)
class Probe:
  """How well a linear classifier reads a label from M images that it has not seen.

  Attributes:
    tested: which images have a class that it has learnt.
    right: of these, which it gets right by their latents.
    pixels: which a classifier gets right that sees mean colours of patches instead.
    chance: which are of the class that is commonest in what was learnt from.
    classes: how many.
  """

  tested: Bool[np.ndarray, " M"]
  right: Bool[np.ndarray, " M"]
  pixels: Bool[np.ndarray, " M"]
  chance: Bool[np.ndarray, " M"]
  classes: int

  def accuracy(self, hits: Bool[np.ndarray, " M"]) -> float:
    """Share of the tested images."""
    return float(hits.sum() / self.tested.sum())

  def skill(self, weights: Float64[np.ndarray, "M R"]) -> Float64[np.ndarray, " R"]:
    """Share of what chance leaves that is got right: 0 no better than chance, 1 all.

    Args:
      weights: how often each image counts.
    """
    right, chance, total = (x @ weights for x in (self.right, self.chance, self.tested))
    return (right - chance) / np.maximum(total - chance, 1e-9)


def measure(found: LatentSet, train: LatentSet) -> Section:
  """Clusters and probes for every label that the images have.

  Args:
    found: what is tested.
    train: what probes learn from, of other images.
  """
  question = "Is it organised?"
  known = labels(found.records)
  if not known:
    note = (
      "Not measured: the data has no labels (attributes of its images with a few classes) to "
      "compare with."
    )
    return Section("organised", question, note, ())
  theirs = labels(train.records)
  probes = {
    name: probed
    for name, values in known.items()
    if name in theirs and (probed := _probe(found, values, train, theirs[name]))
  }
  where = f"{found.where}; {AXES} principal axes of the grid of code vectors"
  measures = [m for name in known for m in _clusters(found, name, known[name], where)]
  learnt = (
    f"{where}, fitted with the classifier on {len(train):,} images of the split {train.split}; "
    f"logistic regression, C {_STRENGTH}"
  )
  for name, probe in probes.items():
    measures += _measures(name, probe, learnt)
  answer = "Labels are known, but no class of them is common enough in training for a probe."
  if probes:
    weights = intervals.resamples(len(found), seed=0)
    skills = {name: probe.skill(weights) for name, probe in probes.items()}
    skill = np.mean(list(skills.values()), axis=0)
    means = _ORGANISED.format(_many(probes))
    protocol = f"{learnt}; ± 1.96 standard deviations over resampled images"
    bounds = intervals.of_resamples(skill)
    measures.insert(0, Measure("organised", float(skill[0]), means, protocol, bounds))
    ranked = sorted(probes, key=lambda name: -skills[name][0])
    told = "; ".join(
      f"“{name}” {probes[name].accuracy(probes[name].right):.0%} right (pixels "
      f"{probes[name].accuracy(probes[name].pixels):.0%}, chance "
      f"{probes[name].accuracy(probes[name].chance):.0%})"
      for name in dict.fromkeys((ranked[0], ranked[-1]))
    )
    answer = f"A linear probe gets {skill[0]:.0%} of what chance leaves, {_many(probes)}: {told}."
  table = {
    name: {
      **{key: probe.accuracy(getattr(probe, key)) for key in ("right", "pixels", "chance")},
      "interval": intervals.of_share(probe.right[probe.tested]),
      "classes": probe.classes,
      "images": int(probe.tested.sum()),
    }
    for name, probe in probes.items()
  }
  return Section("organised", question, answer, tuple(measures), tables={"probes": table})


_ORGANISED = (
  "(accuracy − chance) / (1 − chance) of a linear probe, {}: 0 labels cannot be read linearly, 1 "
  "without error."
)


def _many(probes: Sized) -> str:
  return f"the mean over {len(probes)} labels" if len(probes) > 1 else "of the only label"


def probe(
  learnt_from: Float[np.ndarray, "n F"],
  classes: Sequence[str],
  tested_on: Float[np.ndarray, "m F"],
) -> np.ndarray:
  """Classes of the rows that are tested, by logistic regression on principal axes."""
  from sklearn.linear_model import LogisticRegression

  if not np.ptp(learnt_from, axis=0).any():  # nothing to tell classes by
    return np.full(len(tested_on), Counter(classes).most_common(1)[0][0])
  learnt, tested = _principal(learnt_from, tested_on)
  scale = learnt.std(axis=0)
  with threadpool_limits(1):
    model = LogisticRegression(C=_STRENGTH, max_iter=10_000).fit(learnt / scale, list(classes))
    return model.predict(tested / scale)


def clusters(rows: Float[np.ndarray, "n F"], number: int) -> np.ndarray:
  """Of each row its cluster, by k-means on principal axes (the best of 10 starts)."""
  from sklearn.cluster import KMeans

  distinct = len(np.unique(rows, axis=0))
  if distinct < 2:
    return np.zeros(len(rows), int)
  axes, _ = _principal(rows, rows)
  with threadpool_limits(1):
    return KMeans(min(number, distinct), n_init=10, random_state=0).fit_predict(axes)


def _principal(
  fitted: Float[np.ndarray, "n F"], others: Float[np.ndarray, "m F"]
) -> tuple[Float64[np.ndarray, "n A"], Float64[np.ndarray, "m A"]]:
  """Both along the first principal axes of the former; not those that hold rounding alone."""
  from sklearn.decomposition import PCA

  with threadpool_limits(1):
    pca = PCA(min(AXES, *fitted.shape), svd_solver="full").fit(fitted.astype(np.float64))
    real = pca.explained_variance_ > 1e-9 * pca.explained_variance_[0]
    return tuple(pca.transform(rows.astype(np.float64))[:, real] for rows in (fitted, others))


def coarse(images: UInt8[np.ndarray, "n H W 3"], side: int) -> Float64[np.ndarray, "n F"]:
  """Means over squares of so many pixels a side: images with about as many numbers as latents."""
  n, height, width, _ = images.shape
  cut = images.reshape(n, height // side, side, width // side, side, 3)
  return cut.mean(axis=(2, 4), dtype=np.float64).reshape(n, -1) / 255


def _probe(
  found: LatentSet, values: Sequence[str], train: LatentSet, theirs: Sequence[str]
) -> Probe | None:
  """None if fewer than two classes occur in both."""
  both = set(values) & set(theirs) - {""}
  test = np.array([value in both for value in values])
  learn = np.array([value in both for value in theirs])
  if len(both) < 2:
    return None
  truth = np.array(values)
  classes = np.array(theirs)[learn].tolist()
  guess = Counter(classes).most_common(1)[0][0]

  def hits(learnt_from: np.ndarray, tested_on: np.ndarray) -> Bool[np.ndarray, " M"]:
    found = np.zeros(len(truth), bool)
    found[test] = probe(learnt_from[learn], classes, tested_on[test]) == truth[test]
    return found

  return Probe(
    tested=test,
    right=hits(train.flat, found.flat),
    pixels=hits(coarse(train.images, train.patch), coarse(found.images, found.patch)),
    chance=test & (truth == guess),
    classes=len(both),
  )


def _measures(name: str, found: Probe, protocol: str) -> list[Measure]:
  tested = f"{protocol}; tested on {found.tested.sum():,} images of {found.classes} classes"
  return [
    Measure(
      f"probe.{name}",
      found.accuracy(found.right),
      f"Images whose “{name}” a linear classifier reads from the latents.",
      f"{tested}; Wilson's interval",
      intervals.of_share(found.right[found.tested]),
    ),
    Measure(
      f"probe_chance.{name}",
      found.accuracy(found.chance),
      f"The same if the commonest “{name}” of training is always named.",
      tested,
    ),
    Measure(
      f"probe_pixels.{name}",
      found.accuracy(found.pixels),
      f"The same from the mean colours of the patches, {AXES} principal axes of them too.",
      tested,
    ),
  ]


def _clusters(
  found: LatentSet, name: str, values: Sequence[str], where: str
) -> tuple[Measure, Measure]:
  from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

  known = np.array([value != "" for value in values])
  truth = np.array(values)[known]
  number = len(set(truth))
  assigned = clusters(found.flat[known], number)
  rng = np.random.default_rng(0)
  shuffled = [
    normalized_mutual_info_score(rng.permutation(truth), assigned) for _ in range(_SHUFFLES)
  ]
  mean, deviation = float(np.mean(shuffled)), float(np.std(shuffled))
  value = float(normalized_mutual_info_score(truth, assigned))
  z = f", z {(value - mean) / deviation:.1f}" if deviation > 0 else ""
  protocol = f"{where}; k-means, {number} clusters, {len(truth):,} images, seed 0"
  return (
    Measure(
      f"nmi.{name}",
      value,
      f"Normalised mutual information of clusters and “{name}”, 0 to 1; by chance {mean:.3f}{z}.",
      f"{protocol}; chance: {_SHUFFLES} shuffles of the labels",
    ),
    Measure(
      f"ari.{name}",
      float(adjusted_rand_score(truth, assigned)),
      f"Adjusted Rand index of clusters and “{name}”: 0 by chance, 1 the same.",
      protocol,
    ),
  )
