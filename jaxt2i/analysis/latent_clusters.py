"""Clusters of images by their latents: do they go together with labels, or with words?"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64
from threadpoolctl import threadpool_limits

from jaxt2i.analysis import latent_words
from jaxt2i.analysis.latent_set import LatentSet
from jaxt2i.analysis.measures import Measure, shown

AXES = 50  # principal axes that clusters and probes see
NUMBER = 10  # of clusters, where no label says how many
_SHUFFLES = 200


def of_label(
  found: LatentSet, name: str, values: Sequence[str], where: str
) -> tuple[Measure, Measure]:
  """Agreement of as many clusters as a label has classes with these.

  Args:
    found: the images.
    name: of the label.
    values: of each image; "" where it lacks the label.
    where: what the protocol begins with.
  """
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


def of_words(found: LatentSet, where: str) -> tuple[str, tuple[Measure, ...]]:
  """Mutual information of “the image is in the cluster” and “its captions have the word”.

  Args:
    found: the images.
    where: what the protocol begins with.

  Returns:
    What is to be said, a sentence or two, and the numbers; none where there is nothing to compare.
  """
  words, with_word = latent_words.presence_of_words(found)
  if not len(words):
    least = latent_words.LEAST_IMAGES
    return (
      f"nothing, as no word of captions is in {least} images or more and lacking in as many.",
      (),
    )
  assigned = clusters(found.flat, NUMBER)
  number = int(assigned.max()) + 1
  if number < 2:
    return "nothing, as all images have the same latents.", ()
  inside = assigned[:, None] == np.arange(number)
  bits = latent_words.mutual_information(inside, with_word)
  floor = latent_words.shuffled(inside, with_word).floor
  share = float((bits > floor).any(axis=0).mean())
  protocol = (
    f"{where}; k-means, {number} clusters, seed 0; {len(words):,} words of captions that "
    f"{latent_words.LEAST_IMAGES} images or more have and lack; {latent_words.SHUFFLES} shuffles "
    "of the captions among the images"
  )
  cluster, word = np.unravel_index(int(bits.argmax()), bits.shape)
  has, members = with_word[:, word], inside[:, cluster]
  told = (
    f"one of {number} clusters of images tells of {share:.0%} of {len(words):,} words more than "
    f"chance ever does ({shown(floor)} bits); most of all a cluster of "
    f"{int(members.sum()):,} images, {has[members].mean():.0%} of which have “{words[word]}” in "
    f"their captions, of all images {has.mean():.0%} ({shown(float(bits.max()))} bits)."
  )
  return told, _of_pairs(share, float(bits.max()), floor, protocol)


def _of_pairs(share: float, largest: float, floor: float, protocol: str) -> tuple[Measure, ...]:
  return (
    Measure(
      "cluster_words",
      share,
      "Words that some cluster of images tells more of than the floor, of those looked at; by "
      "chance none in 95 of 100 such reports.",
      protocol,
    ),
    Measure("cluster_largest_bits", largest, "The most telling pair.", protocol, unit="bits"),
    Measure(
      "cluster_floor_bits",
      floor,
      "What the most telling pair of a cluster and a word has in 95 of 100 shuffles.",
      protocol,
      unit="bits",
    ),
  )


def clusters(rows: Float[np.ndarray, "n F"], number: int) -> np.ndarray:
  """Of each row its cluster, by k-means on principal axes (the best of 10 starts)."""
  from sklearn.cluster import KMeans

  distinct = len(np.unique(rows, axis=0))
  if distinct < 2:
    return np.zeros(len(rows), int)
  axes, _ = principal(rows, rows)
  with threadpool_limits(1):
    return KMeans(min(number, distinct), n_init=10, random_state=0).fit_predict(axes)


def principal(
  fitted: Float[np.ndarray, "n F"], others: Float[np.ndarray, "m F"]
) -> tuple[Float64[np.ndarray, "n A"], Float64[np.ndarray, "m A"]]:
  """Both along the first principal axes of the former; not those that hold rounding alone."""
  from sklearn.decomposition import PCA

  with threadpool_limits(1):
    pca = PCA(min(AXES, *fitted.shape), svd_solver="full").fit(fitted.astype(np.float64))
    real = pca.explained_variance_ > 1e-9 * pca.explained_variance_[0]
    return tuple(pca.transform(rows.astype(np.float64))[:, real] for rows in (fitted, others))
