"""Learning a prior over image tokens.

Batches hold `tokens` int32 [B, h, w] and `text`, see `Text`; `weight` [B], where there, is 0 for
padding.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Float, Int

from jaxt2i.errors import UsageError
from jaxt2i.metrics import Mean
from jaxt2i.models.autoregressive import AutoregressivePrior
from jaxt2i.models.masked import MaskedPrior
from jaxt2i.models.prior import Prior
from jaxt2i.tasks.base import LossOutput
from jaxt2i.types import Array, Batch, Key, Variables

ORDER = "order"  # collection


@dataclasses.dataclass(frozen=True)
class PriorTask:
  """What both kinds share.

  Attributes:
    model: the prior.
    condition_dropout: P(caption dropped) in training, which teaches the unconditional
      distribution that guidance needs (arXiv 2207.12598).
    label_smoothing: share of the target spread evenly over all codes, in training.
  """

  model: Prior
  condition_dropout: float
  label_smoothing: float

  def init(self, key: Key, batch: Batch) -> Variables:
    """Fresh parameters."""
    tokens = jnp.asarray(batch["tokens"])
    text = jnp.asarray(batch["text"])
    return self.model.init(key, tokens.reshape(len(tokens), -1), text, train=False)

  def _nll(
    self,
    variables: Variables,
    seen: Int[Array, "B N"],
    batch: Batch,
    key: Key,
    train: bool,
    **inputs: Any,
  ) -> tuple[Float[Array, "B N"], Float[Array, "B N"]]:
    """−log p of each token in nats, given those that are seen and the caption; and smoothed."""
    text = batch["text"]
    drop_key, dropout_key = jax.random.split(key)
    if train:
      each = (text.shape[0], *[1] * (text.ndim - 1))
      dropped = jax.random.bernoulli(drop_key, self.condition_dropout, each)
      text = jnp.where(dropped, jnp.zeros_like(text), text)
    params = {"params": variables["params"]}  # not the frozen tokenizer
    rngs = {"dropout": dropout_key} if train else {}
    logits: Any = self.model.apply(params, seen, text, train=train, rngs=rngs, **inputs)
    nll = optax.softmax_cross_entropy_with_integer_labels(logits, _flat(batch["tokens"]))
    if not (train and self.label_smoothing):
      return nll, nll
    smoothed = (1 - self.label_smoothing) * nll + self.label_smoothing * _uniform_nll(logits)
    return nll, smoothed


@dataclasses.dataclass(frozen=True)
class AutoregressiveTask(PriorTask):
  """Next-token prediction given the caption.

  Attributes (further):
    token_dropout: P(an image has some of the tokens that the model sees blanked) in training; how
      many is uniform between none and all, and what is predicted stays whole. A few tokens tell
      the images of a small data set apart, so that a prior learns them by heart without reading
      the caption; where the tokens are gone, the caption is all there is.
    token_replacement: P(a token that the model sees is another one, any of the codebook) in
      training. While drawing, a wrong token comes before right ones now and then.
    random_order_steps: P(an image's positions come in a random order) falls from 1 at the first
      step to 0 at this one (RAR, arXiv 2411.00776, §3.2); 0 is off. Collection "order" counts.

  Raises:
    UsageError: random orders with a model that has raster order alone, or the other way round.
  """

  model: AutoregressivePrior
  token_dropout: float
  token_replacement: float
  random_order_steps: int

  def __post_init__(self) -> None:
    if (self.random_order_steps > 0) != self.model.any_order:
      raise UsageError(
        f"config.loss.random_order_steps is {self.random_order_steps}: must be above 0 with "
        "config.model.any_order=True, and 0 without."
      )

  def init(self, key: Key, batch: Batch) -> Variables:
    """Fresh parameters, and the count of steps where random orders want one."""
    variables = super().init(key, batch)
    return (
      {**variables, ORDER: {"steps": jnp.zeros((), jnp.int32)}}
      if self.model.any_order
      else variables
    )

  def loss(self, variables: Variables, batch: Batch, key: Key, *, train: bool) -> LossOutput:
    """−log p(tokens | text), the mean over tokens, in nats."""
    seen = _flat(batch["tokens"])
    blank_key, order_key, nll_key = jax.random.split(key, 3)
    inputs, updates = {}, {}
    if train:
      seen = self._spoilt(blank_key, seen)
      if self.model.any_order:
        steps = variables[ORDER]["steps"]
        inputs["order"] = self._orders(order_key, len(seen), steps)
        updates[ORDER] = {"steps": steps + 1}
    nll, smoothed = self._nll(variables, seen, batch, nll_key, train, **inputs)
    weight = _weight(batch)
    loss = Mean.of(jnp.mean(smoothed, axis=1), weight)
    metrics = {"loss": loss, "nll": Mean.of(jnp.mean(nll, axis=1), weight)}
    return LossOutput(loss=loss.compute(), metrics=metrics, updates=updates)

  def _orders(self, key: Key, batch: int, steps: Int[Array, ""]) -> Int[Array, "B P"]:
    """Raster order, or a random one, for each image."""
    h, w = self.model.places
    chosen_key, order_key = jax.random.split(key)
    share = jnp.maximum(1 - steps.astype(jnp.float32) / self.random_order_steps, 0)
    chosen = jax.random.bernoulli(chosen_key, share, (batch, 1))
    order = jnp.argsort(jax.random.uniform(order_key, (batch, h * w)), axis=1)
    return jnp.where(chosen, order, jnp.arange(h * w)[None])

  def _spoilt(self, key: Key, tokens: Int[Array, "B N"]) -> Int[Array, "B N"]:
    """What the model sees of them: some replaced, then some blanked."""
    image_key, rate_key, token_key, which_key, other_key = jax.random.split(key, 5)
    if self.token_replacement:
      replaced = jax.random.bernoulli(which_key, self.token_replacement, tokens.shape)
      others = jax.random.randint(other_key, tokens.shape, 0, self.model.codebook_size)
      tokens = jnp.where(replaced, others, tokens)
    chosen = jax.random.bernoulli(image_key, self.token_dropout, (len(tokens), 1))
    rate = jax.random.uniform(rate_key, (len(tokens), 1))
    blanked = chosen & (jax.random.uniform(token_key, tokens.shape) < rate)
    return jnp.where(blanked, self.model.blank, tokens)


@dataclasses.dataclass(frozen=True)
class MaskedTask(PriorTask):
  """Guessing the blanked tokens of an image from the others and the caption (MaskGIT).

  In training a share cos(π u / 2), u uniform, of the tokens is blanked (arXiv 2202.04200, §3.1):
  decoding sees mostly blanks. In evaluation every number from 1 to N is equally probable; the mean
  is then that of drawing one token after the other in a random order, an upper bound on
  −log p(tokens | text) (arXiv 2110.02037, eq. 5), so that it can be compared with the NLL of an
  autoregressive prior.
  """

  model: MaskedPrior

  def loss(self, variables: Variables, batch: Batch, key: Key, *, train: bool) -> LossOutput:
    """−log p of a blanked token, the mean over those of an image, then over images, in nats."""
    tokens = _flat(batch["tokens"])
    blank_key, nll_key = jax.random.split(key)
    blank = self._blanked(blank_key, tokens.shape) if train else blanked_evenly(blank_key, batch)
    seen = jnp.where(blank, self.model.blank, tokens)
    nll, smoothed = self._nll(variables, seen, batch, nll_key, train)
    weight = _weight(batch)
    mean = lambda values: Mean.of(jnp.mean(values, axis=1, where=blank), weight)
    loss = mean(smoothed)
    metrics = {"loss": loss, "nll": mean(nll)}
    return LossOutput(loss=loss.compute(), metrics=metrics, updates={})

  def _blanked(self, key: Key, shape: tuple[int, ...]) -> Bool[Array, "B N"]:
    """Which tokens are to be guessed: at least one of each image."""
    count_key, token_key = jax.random.split(key)
    share = jnp.cos(0.5 * jnp.pi * jax.random.uniform(count_key, (shape[0], 1)))
    return _lowest(jax.random.uniform(token_key, shape), share)


def blanked_evenly(key: Key, batch: Batch) -> Bool[Array, "B N"]:
  """The same for evaluation: a function of an image's place in the split, whatever its batch."""
  tokens = _flat(batch["tokens"])
  index = batch.get("index", jnp.arange(len(tokens), dtype=jnp.int32))
  # Spread evenly, which is less noise than chance: multiples of the golden ratio.
  share = ((index.astype(jnp.float32)[:, None] + 0.5) * 0.618034) % 1.0
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index)
  return _lowest(jax.vmap(lambda key: jax.random.uniform(key, tokens.shape[1:]))(keys), share)


def _lowest(values: Float[Array, "B N"], share: Float[Array, "B 1"]) -> Bool[Array, "B N"]:
  """Where the lowest so many of each row are: a share of them, one at least."""
  n = values.shape[1]
  count = jnp.clip(jnp.ceil(share * n), 1, n).astype(jnp.int32)
  return jnp.argsort(jnp.argsort(values, axis=1), axis=1) < count


def _flat(tokens: Int[Array, "B h w"]) -> Int[Array, "B N"]:
  return tokens.reshape(tokens.shape[0], -1)


def _weight(batch: Batch) -> Float[Array, " B"]:
  return batch.get("weight", jnp.ones(batch["tokens"].shape[0], jnp.float32))


def _uniform_nll(logits: Float[Array, "B N K"]) -> Float[Array, "B N"]:
  """Cross-entropy of the uniform distribution against the logits."""
  return jax.nn.logsumexp(logits, axis=-1) - jnp.mean(logits, axis=-1)
