"""Is a latent space organised? Clusters and linear probes against labels, or against words."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence, Sized
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, UInt8
from threadpoolctl import threadpool_limits

from jaxt2i.analysis import latent_clusters
from jaxt2i.analysis.latent_clusters import AXES, principal
from jaxt2i.analysis.latent_set import LatentSet, labels
from jaxt2i.analysis.measures import Measure, Section
from jaxt2i.evaluators import intervals

# Everything of scikit-learn's runs on one thread: sums of several differ in their last digits, and
# with them what k-means and t-SNE make of these.
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
  """Clusters and probes for every label that the images have; of data without any, `_unlabelled`.

  Args:
    found: what is tested.
    train: what probes learn from, of other images.
  """
  known = labels(found.records)
  where = f"{found.where}; {AXES} principal axes of the grid of code vectors"
  if not known:
    return _unlabelled(found, where)
  theirs = labels(train.records)
  probes = {
    name: probed
    for name, values in known.items()
    if name in theirs and (probed := _probe(found, values, train, theirs[name]))
  }
  learnt = (
    f"{where}, fitted with the classifier on {len(train):,} images of the split {train.split}; "
    f"logistic regression, C {_STRENGTH}"
  )
  answer = "Labels are known, but no class of them is common enough in training for a probe."
  measures: list[Measure] = []
  if probes:
    organised, answer = _together(probes, learnt)
    measures.append(organised)
  for name, values in known.items():
    measures += latent_clusters.of_label(found, name, values, where)
  for name, probe in probes.items():
    measures += _measures(name, probe, learnt)
  tables = {"probes": {name: _row(probe) for name, probe in probes.items()}}
  return Section("organised", _QUESTION, answer, tuple(measures), tables=tables)


def _unlabelled(found: LatentSet, where: str) -> Section:
  """What can be said where no label is known: whether clusters go together with words."""
  told, measures = latent_clusters.of_words(found, where)
  answer = (
    "Not measured against labels: the data has no labels (attributes of its images with a few "
    f"classes), so a goal “organised” cannot be said to be reached or not. In their place: {told}"
  )
  note = (
    "What codes have to do with words of captions stands under “Do codes mean what words say?”."
  )
  return Section("organised", _QUESTION, answer, measures, (note,))


def _together(probes: Mapping[str, Probe], learnt: str) -> tuple[Measure, str]:
  """What all probes say, as a number and in words."""
  weights = intervals.resamples(len(next(iter(probes.values())).tested), seed=0)
  skills = {name: probe.skill(weights) for name, probe in probes.items()}
  skill = np.mean(list(skills.values()), axis=0)
  measure = Measure(
    "organised",
    float(skill[0]),
    _ORGANISED.format(_many(probes)),
    f"{learnt}; ± 1.96 standard deviations over resampled images",
    intervals.of_resamples(skill),
  )
  ranked = sorted(probes, key=lambda name: -skills[name][0])
  told = "; ".join(
    f"“{name}” {probes[name].accuracy(probes[name].right):.0%} right (pixels "
    f"{probes[name].accuracy(probes[name].pixels):.0%}, chance "
    f"{probes[name].accuracy(probes[name].chance):.0%})"
    for name in dict.fromkeys((ranked[0], ranked[-1]))
  )
  return (
    measure,
    f"A linear probe gets {skill[0]:.0%} of what chance leaves, {_many(probes)}: {told}.",
  )


def _row(probe: Probe) -> dict[str, Any]:
  """Of the table."""
  return {
    **{key: probe.accuracy(getattr(probe, key)) for key in ("right", "pixels", "chance")},
    "interval": intervals.of_share(probe.right[probe.tested]),
    "classes": probe.classes,
    "images": int(probe.tested.sum()),
  }


_QUESTION = "Is it organised?"
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
  learnt, tested = principal(learnt_from, tested_on)
  scale = learnt.std(axis=0)
  with threadpool_limits(1):
    model = LogisticRegression(C=_STRENGTH, max_iter=10_000).fit(learnt / scale, list(classes))
    return model.predict(tested / scale)


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
