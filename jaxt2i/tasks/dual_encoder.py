"""Learning which caption belongs to which image."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float

from jaxt2i.metrics import Mean
from jaxt2i.models.dual_encoder import DualEncoder
from jaxt2i.tasks.base import LossOutput
from jaxt2i.types import Array, Batch, Key, Text, Variables


@dataclasses.dataclass(frozen=True)
class DualEncoderTask:
  """Contrastive learning (CLIP, arXiv 2103.00020, figure 3), both ways.

  Batches hold `image` uint8 [B, H, W, 3] and `text`, see `Text`. Images whose captions are the
  same to the last token share them: each is as right an answer as the other.

  Attributes:
    model: the dual encoder.
  """

  model: DualEncoder

  def init(self, key: Key, batch: Batch) -> Variables:
    """Fresh parameters."""
    return self.model.init(key, jnp.asarray(batch["image"]), jnp.asarray(batch["text"]))

  def loss(self, variables: Variables, batch: Batch, key: Key, *, train: bool) -> LossOutput:
    """Cross-entropy of finding the other half within the batch, the mean of both ways, in nats."""
    points: Any = self.model.apply(variables, batch["image"], batch["text"])
    logits = points.scale * points.images @ points.texts.T  # [B, B]
    target = _target(batch["text"])
    to_text, to_image = (_cross_entropy(x, target) for x in (logits, logits.T))
    loss = Mean.of(0.5 * (to_text + to_image))
    right = jnp.take_along_axis(target, jnp.argmax(logits, axis=1)[:, None], axis=1)[:, 0] > 0
    metrics = {
      "loss": loss,
      "accuracy": Mean.of(right.astype(jnp.float32)),
      "scale": Mean.of(points.scale),
    }
    return LossOutput(loss=loss.compute(), metrics=metrics, updates={})


def _target(text: Text) -> Float[Array, "B B"]:
  """Which pairs belong together, as rows of probabilities; the same both ways."""
  flat = text.reshape(len(text), -1)
  same = jnp.all(flat[:, None] == flat[None], axis=-1).astype(jnp.float32)
  return same / jnp.sum(same, axis=1, keepdims=True)


def _cross_entropy(logits: Float[Array, "B B"], target: Float[Array, "B B"]) -> Float[Array, " B"]:
  # Minus the entropy of the target, so that 0 is reached.
  entropy = jnp.sum(jax.scipy.special.entr(target), axis=1)
  return optax.softmax_cross_entropy(logits, target) - entropy
