"""Scores by InceptionV3 and CLIP, as published ones are, with weights that the user supplies."""

from functools import partial

import numpy as np
from jaxtyping import Float, Float32

from jaxt2i.clip import Clip
from jaxt2i.evaluators import intervals
from jaxt2i.evaluators.clip_score import clip_score
from jaxt2i.evaluators.drawn import Piece
from jaxt2i.evaluators.frechet import frechet_distances
from jaxt2i.evaluators.generation import Space, resampled, with_intervals
from jaxt2i.evaluators.intervals import Value
from jaxt2i.evaluators.kernel import gaussian, mmd2, polynomial
from jaxt2i.inception import Inception

RESAMPLES = 50  # of FID: each takes the singular values of a matrix as large as the sets


def inception_space(network: Inception) -> Space:
  """`fid` and `inception_kid` (without bias, of all images at once), on 2,048 features."""
  return Space(network, np.concatenate, _of_inception)


def clip_space(network: Clip) -> Space:
  """`cmmd`, 1,000 times the squared distance, without bias (the authors' code has a little)."""
  return Space(network.images, np.concatenate, _of_clip)


class ClipScores:
  """A `Score`: `clip_score` of drawings and captions, its mean; beside it those of real images and

  of their reconstructions. Of another CLIP than a published score's they are not comparable.
  """

  def __init__(self, network: Clip):
    self._network = network
    self._found: dict[str, list[np.ndarray]] = {
      "clip_score": [],
      "clip_score_reconstructed": [],
      "clip_score_real": [],
    }

  def add(self, piece: Piece) -> None:
    """Scores a piece."""
    texts = self._network.texts(piece.captions)
    sets = (piece.drawn, piece.reconstructed, piece.real)
    for found, images in zip(self._found.values(), sets, strict=True):
      found.append(clip_score(self._network.images(images), texts))

  def values(self) -> dict[str, Value]:
    """Of all pieces."""
    result: dict[str, Value] = {}
    for name, parts in self._found.items():
      result |= intervals.mean(name, np.concatenate(parts))
    return result


def _of_inception(
  real: Float32[np.ndarray, "n D"], fake: Float32[np.ndarray, "m D"], *, paired: bool = False
) -> dict[str, Value]:
  weights = partial(resampled, len(real), len(fake), paired=paired, seed=0)
  return with_intervals(
    {
      "fid": frechet_distances(real, fake, weights(most=RESAMPLES)),
      "inception_kid": mmd2(real, fake, polynomial, weights(), paired=paired),
    }
  )


def _of_clip(
  real: Float[np.ndarray, "n D"], fake: Float[np.ndarray, "m D"], *, paired: bool = False
) -> dict[str, Value]:
  weights = resampled(len(real), len(fake), paired=paired, seed=0)
  return with_intervals({"cmmd": 1000 * mmd2(real, fake, gaussian, weights, paired=paired)})


def protocol(network: Inception | Clip) -> str:
  """What must be said beside scores by a network."""
  return f"{network.name}; {network.how}"


def protocol_of_sets(network: Inception | Clip, count: int) -> str:
  """What must be said beside distances of sets."""
  few = f"; fid: {RESAMPLES} resamples; it grows as images get fewer, compare equally many alone"
  return (
    f"{protocol(network)}; {count} drawings for captions, as many without, against the images of "
    "those captions (kernel distances of drawings for captions: no drawing against the image of "
    "its own caption); floor: as many training images, or all; intervals: ±1.96 "
    f"standard deviations of {intervals.RESAMPLES} bootstrap resamples"
    + few
    * isinstance(network, Inception)
  )
