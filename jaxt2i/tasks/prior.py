"""Learning the prior over image tokens."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Float

from jaxt2i.metrics import Mean
from jaxt2i.models.prior import Prior
from jaxt2i.models.text import PAD
from jaxt2i.tasks.base import LossOutput
from jaxt2i.types import Array, Batch, Key, Variables


@dataclasses.dataclass(frozen=True)
class PriorTask:
  """Next-token prediction given the caption.

  Batches hold `tokens` int32 [B, h, w] and `text` int32 [B, T]; `weight` [B], where there, is 0
  for padding.

  Attributes:
    model: the prior.
    condition_dropout: P(caption dropped) in training, which teaches the unconditional
      distribution that guidance needs (arXiv 2207.12598).
    label_smoothing: share of the target spread evenly over all codes, in training.
    token_dropout: P(an image has some of the tokens that the model sees blanked) in training; how
      many is uniform between none and all, and what is predicted stays whole. A few tokens tell
      the images of a small data set apart, so that a prior learns them by heart without reading
      the caption; where the tokens are gone, the caption is all there is.
  """

  model: Prior
  condition_dropout: float
  label_smoothing: float
  token_dropout: float

  def init(self, key: Key, batch: Batch) -> Variables:
    """Fresh parameters."""
    tokens = jnp.asarray(batch["tokens"])
    text = jnp.asarray(batch["text"])
    return self.model.init(key, tokens.reshape(len(tokens), -1), text, train=False)

  def loss(self, variables: Variables, batch: Batch, key: Key, *, train: bool) -> LossOutput:
    """−log p(tokens | text), the mean over tokens, in nats."""
    tokens = batch["tokens"].reshape(batch["tokens"].shape[0], -1)
    text = batch["text"]
    weight = batch.get("weight", jnp.ones(tokens.shape[0], jnp.float32))
    seen = tokens
    drop_key, blank_key, dropout_key = jax.random.split(key, 3)
    if train:
      dropped = jax.random.bernoulli(drop_key, self.condition_dropout, (text.shape[0], 1))
      text = jnp.where(dropped, PAD, text)
      seen = jnp.where(self._blanked(blank_key, tokens.shape), self.model.blank, tokens)
    params = {"params": variables["params"]}  # not the frozen tokenizer
    logits: Any = self.model.apply(
      params, seen, text, train=train, rngs={"dropout": dropout_key} if train else {}
    )
    nll = optax.softmax_cross_entropy_with_integer_labels(logits, tokens)  # [B, N]
    loss = nll
    if train and self.label_smoothing:
      loss = (1 - self.label_smoothing) * nll + self.label_smoothing * _uniform_nll(logits)
    per_image = Mean.of(jnp.mean(loss, axis=1), weight)
    return LossOutput(
      loss=per_image.compute(),
      metrics={"loss": per_image, "nll": Mean.of(jnp.mean(nll, axis=1), weight)},
      updates={},
    )

  def _blanked(self, key: Key, shape: tuple[int, int]) -> Bool[Array, "B N"]:
    """Which tokens `token_dropout` blanks."""
    image_key, rate_key, token_key = jax.random.split(key, 3)
    chosen = jax.random.bernoulli(image_key, self.token_dropout, (shape[0], 1))
    rate = jax.random.uniform(rate_key, (shape[0], 1))
    return chosen & (jax.random.uniform(token_key, shape) < rate)


def _uniform_nll(logits: Float[Array, "B N K"]) -> Float[Array, "B N"]:
  """Cross-entropy of the uniform distribution against the logits."""
  return jax.nn.logsumexp(logits, axis=-1) - jnp.mean(logits, axis=-1)
