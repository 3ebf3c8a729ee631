"""How well a tokenizer gives images back, over a whole split."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int64

from jaxt2i import metrics
from jaxt2i.metrics import Mean
from jaxt2i.models.vqvae import VQVAE
from jaxt2i.types import Batch, Variables


@dataclasses.dataclass(frozen=True)
class Reconstruction:
  """PSNR (dB) and SSIM of 8-bit reconstructions, means over images; codes used over the split.

  `codebook_usage` is the share of codes that occur anywhere in the split, `perplexity` the exp
  of the entropy of their frequencies: both of the split's total counts, never a mean of batches.
  """

  model: VQVAE
  batches: Callable[[], Iterable[Batch]]  # image uint8 [B, H, W, 3], weight [B]

  def __call__(self, variables: Variables) -> Mapping[str, float]:
    """Evaluates variables on the whole split."""
    return self.measure(variables)[0]

  def measure(self, variables: Variables) -> tuple[dict[str, float], Int64[np.ndarray, " K"]]:
    """The same, and how often each code occurs."""
    totals: Mapping[str, Mean] = {}
    counts = np.zeros(self.model.quantizer.codebook_size, np.int64)
    for batch in self.batches():
      means, hits = _evaluate(self.model, variables, batch["image"], batch["weight"])
      totals = metrics.merge(totals, means)
      counts += np.asarray(hits, np.int64)
    values = metrics.compute(totals)
    values["codebook_usage"] = metrics.usage(counts)
    values["perplexity"] = metrics.perplexity(counts)
    return values, counts


@partial(jax.jit, static_argnums=0)
def _evaluate(
  model: VQVAE, variables: Any, image: jax.Array, weight: jax.Array
) -> tuple[Mapping[str, Mean], jax.Array]:
  tokens: Any = model.apply(variables, image, method="encode")
  decoded: Any = model.apply(variables, tokens, method="decode")
  real, fake = image.astype(jnp.float32) / 255, decoded.astype(jnp.float32) / 255
  rows = jnp.broadcast_to(weight.astype(jnp.int32)[:, None, None], tokens.shape)
  counts = jnp.zeros(model.quantizer.codebook_size, jnp.int32).at[tokens].add(rows)
  means = {
    "psnr": Mean.of(metrics.psnr(real, fake), weight),
    "ssim": Mean.of(metrics.ssim(real, fake), weight),
  }
  return means, counts
