"""Learning the image tokenizer."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxt2i.errors import UsageError
from jaxt2i.metrics import CodeCounts, Mean
from jaxt2i.models.perceptual import perceptual_distance
from jaxt2i.models.vqvae import VQVAE, to_float
from jaxt2i.state import FEATURES, of_model
from jaxt2i.tasks.base import LossOutput
from jaxt2i.types import Batch, Key, Variables


@dataclasses.dataclass(frozen=True)
class TokenizerTask:
  """VQ-VAE reconstruction (arXiv 1711.00937, eq. 3).

  Batches hold `image` uint8 [B, H, W, 3]; `weight` [B], where there, is 0 for padding.

  Attributes:
    model: the tokenizer.
    l1_weight: weight of the mean absolute error beside the mean squared one; both on [-1, 1].
    perceptual_weight: weight of `perceptual_distance`; above 0 the variables hold its network's
      parameters as the collection "features", which is not trained.
  """

  model: VQVAE
  l1_weight: float
  perceptual_weight: float

  def __post_init__(self) -> None:
    if not self.perceptual_weight >= 0:
      raise UsageError(
        f"config.loss.perceptual_weight is {self.perceptual_weight}: must be 0 (off) or more."
      )

  def init(self, key: Key, batch: Batch) -> Variables:
    """Fresh parameters, and the codebook where the quantizer has one."""
    return self.model.init(key, to_float(jnp.asarray(batch["image"])), train=False)

  def loss(self, variables: Variables, batch: Batch, key: Key, *, train: bool) -> LossOutput:
    """Loss of a batch; `updates` holds the moved codebook."""
    x = to_float(batch["image"])
    weight = batch.get("weight", jnp.ones(x.shape[0], jnp.float32))
    mutable = ["codebook"] if train else []
    output, updates = self.model.apply(
      of_model(variables), x, train=train, rngs={"codebook": key}, mutable=mutable
    )
    error = output.image - x
    mse = jnp.mean(jnp.square(error), axis=(1, 2, 3))  # [B]
    mae = jnp.mean(jnp.abs(error), axis=(1, 2, 3))  # [B]

    # 1. Reconstruction: −log p(x | z_q) of a Gaussian and a Laplacian.
    reconstruction = mse + self.l1_weight * mae
    metrics: dict[str, Any] = {"mse": Mean.of(mse, weight)}
    if self.perceptual_weight:
      # What the mean squared error forgives and people don't: blur (arXiv 1801.03924).
      perceptual = perceptual_distance(variables[FEATURES], output.image, x)  # [B]
      reconstruction = reconstruction + self.perceptual_weight * perceptual
      metrics["perceptual"] = Mean.of(perceptual, weight)
    # 2. and 3. What the quantizer adds, such as β‖z − sg(z_q)‖²; nothing under FSQ.
    loss = Mean.of(reconstruction + output.quantized.loss, weight)

    metrics["loss"] = loss
    metrics |= {name: Mean.of(value, weight) for name, value in output.quantized.losses.items()}
    metrics |= {name: Mean.of(value) for name, value in output.quantized.stats.items()}
    metrics["quantizer_loss"] = Mean.of(output.quantized.loss, weight)
    # Codes used since the last log: an early warning; the evaluation counts over a whole split.
    tokens, codebook_size = output.quantized.tokens, self.model.quantizer.codebook_size
    metrics["window"] = CodeCounts.of(tokens, codebook_size)
    return LossOutput(
      loss=loss.compute(),
      metrics=metrics,
      updates=jax.lax.stop_gradient(updates),
      image=output.image,
    )
