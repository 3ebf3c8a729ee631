"""How well a tokenizer gives images back, over a whole split."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int64

from jaxt2i import metrics
from jaxt2i.evaluators import intervals
from jaxt2i.evaluators.frechet import LEAST_IMAGES, Moments, frechet_distance
from jaxt2i.evaluators.intervals import Value
from jaxt2i.models import perceptual
from jaxt2i.models.vqvae import VQVAE, to_float
from jaxt2i.state import FEATURES
from jaxt2i.types import Batch, Variables


@dataclasses.dataclass(frozen=True)
class Reconstruction:
  """PSNR (dB) and SSIM of 8-bit reconstructions, means over images; codes used over the split.

  `codebook_usage` is the share of codes that occur anywhere in the split, `perplexity` the exp
  of the entropy of their frequencies: both of the split's total counts, never a mean of batches.

  Where the variables have a collection "features" (`jaxt2i.pretrained`) also `perceptual`, the
  mean of `perceptual_distance` between the 8-bit images, and, of `LEAST_IMAGES` or more, `rfd`: the
  Fréchet distance of all reconstructions from the same images (see `frechet.protocol`).

  Means have intervals over images, `rfd` of resamples of the pairs; codes have none: resamples hold
  fewer different images, and so fewer codes.
  """

  model: VQVAE
  batches: Callable[[], Iterable[Batch]]  # image uint8 [B, H, W, 3], weight [B]

  def __call__(self, variables: Variables) -> dict[str, Value]:
    """Evaluates variables on the whole split."""
    split = self._look_at_all(variables)
    values: dict[str, Value] = {}
    for name, each in split.of_images.items():
      values |= intervals.mean(name, each)
    if len(split.real) >= LEAST_IMAGES:
      weights = intervals.resamples(len(split.real), seed=0).T
      found = np.array([_distance(split, w) for w in weights])
      values |= {"rfd": float(found[0]), "rfd" + intervals.SUFFIX: intervals.of_resamples(found)}
    return values | _of_codes(split.counts)

  def measure(self, variables: Variables) -> tuple[dict[str, float], Int64[np.ndarray, " K"]]:
    """The numbers without intervals, to watch a training; and how often each code occurs."""
    split = self._look_at_all(variables)
    means = {name: float(np.mean(each, dtype=np.float64)) for name, each in split.of_images.items()}
    if len(split.real) >= LEAST_IMAGES:
      means["rfd"] = _distance(split)
    return means | _of_codes(split.counts), split.counts

  def _look_at_all(self, variables: Variables) -> "_Split":
    counts = np.zeros(self.model.quantizer.codebook_size, np.int64)
    found: dict[str, list[np.ndarray]] = {}
    for batch in self.batches():
      image, weight = batch["image"], batch["weight"]
      values, hits, decoded = _evaluate(self.model, variables, image, weight)
      if FEATURES in variables:
        values |= _look(variables[FEATURES], image, decoded)
      for name, each in values.items():
        found.setdefault(name, []).append(np.asarray(each)[np.asarray(weight) > 0])
      counts += np.asarray(hits, np.int64)
    of_images = {name: np.concatenate(parts) for name, parts in found.items()}
    none = np.empty((0, 0), np.float32)
    real, fake = (of_images.pop(name, none) for name in ("real", "fake"))
    return _Split(of_images, real, fake, counts)


@dataclasses.dataclass(frozen=True)
class _Split:
  """What was seen of n images: values of each, features of both sides (without a network none)."""

  of_images: Mapping[str, Float32[np.ndarray, " n"]]
  real: Float32[np.ndarray, "m D"]
  fake: Float32[np.ndarray, "m D"]
  counts: Int64[np.ndarray, " K"]


def _distance(split: _Split, weights: np.ndarray | None = None) -> float:
  return frechet_distance(Moments.of(split.real, weights), Moments.of(split.fake, weights))


def _of_codes(counts: Int64[np.ndarray, " K"]) -> dict[str, Any]:
  return {"codebook_usage": metrics.usage(counts), "perplexity": metrics.perplexity(counts)}


@partial(jax.jit, static_argnums=0)
def _evaluate(
  model: VQVAE, variables: Any, image: jax.Array, weight: jax.Array
) -> tuple[dict[str, jax.Array], jax.Array, jax.Array]:
  tokens: Any = model.apply(variables, image, method="encode")
  decoded: Any = model.apply(variables, tokens, method="decode")
  real, fake = image.astype(jnp.float32) / 255, decoded.astype(jnp.float32) / 255
  rows = jnp.broadcast_to(weight.astype(jnp.int32)[:, None, None], tokens.shape)
  counts = jnp.zeros(model.quantizer.codebook_size, jnp.int32).at[tokens].add(rows)
  return {"psnr": metrics.psnr(real, fake), "ssim": metrics.ssim(real, fake)}, counts, decoded


@jax.jit
def _look(features: Any, image: jax.Array, decoded: jax.Array) -> dict[str, jax.Array]:
  """The perceptual distance, and what sets are compared by, of images and reconstructions."""
  real, fake = (perceptual.image_features(features, to_float(x)) for x in (image, decoded))
  return {
    "perceptual": perceptual.distance(real, fake),
    "real": perceptual.pooled(real),
    "fake": perceptual.pooled(fake),
  }
