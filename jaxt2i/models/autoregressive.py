"""The autoregressive prior: p(tokens | caption) = Π_i p(token_i | token_<i, caption).

As in DALL·E (arXiv 2102.12092), with the caption through an encoder of its own.
"""

import math
from functools import reduce

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxt2i.models.blocks import MLP, like_embeddings
from jaxt2i.models.dense import Dense
from jaxt2i.models.precision import RMSNorm
from jaxt2i.models.prior import Cache, Prior
from jaxt2i.types import Array, Text


class AutoregressivePrior(Prior):
  """Logits of each image token given those before it and the caption.

  Of a residual tokenizer the tokens of a position are predicted from the same features, one after
  the other, by small heads that are given those before: the depth transformer of RQ-Transformer
  (arXiv 2203.01941) with one layer and no attention.

  Attributes (beside those of `Prior`):
    depth: tokens of a position, which lie beside each other in the grid.
    any_order: whether positions may come in another than raster order in training (RAR,
      arXiv 2411.00776); the token before a position then says where it is from.
  """

  depth: int
  any_order: bool

  def setup(self) -> None:
    super().setup()
    if self.any_order:
      normal = like_embeddings(self.width)
      h, w = self.places
      self.from_rows = self.param("from_rows", normal, (h, 1, self.width))
      self.from_columns = self.param("from_columns", normal, (1, w, self.width))
    further = range(self.depth - 1)
    self.depth_norms = [RMSNorm() for _ in further]
    self.depth_mlps = [MLP() for _ in further]
    self.depth_heads = [Dense(self.codebook_size, use_bias=False) for _ in further]

  @property
  def places(self) -> tuple[int, int]:
    h, w = self.grid
    return h, w // self.depth

  @property
  def codes_apart(self) -> int:
    return self.depth * self.codebook_size

  def __call__(
    self,
    tokens: Int[Array, "B N"],
    text: Text,
    *,
    train: bool,
    order: Int[Array, "B P"] | None = None,
  ) -> Float[Array, "B N K"]:
    """Float32 logits of every token, each seeing only the tokens before it (needs rng "dropout").

    Args:
      tokens: in raster order; some of them may be `blank`.
      text: captions.
      train: whether dropout is on.
      order: positions in the order in which they are predicted; None: raster order. Of no matter
        to the order of the logits.
    """
    batch, count = tokens.shape[0], math.prod(self.places)
    tokens = tokens.reshape(batch, count, self.depth)
    before = self._embedded(tokens)
    if self.any_order:
      before = before + self._origins()[None]
    if order is not None:  # raster order goes without: gathering costs time, its gradient more
      before = jnp.take_along_axis(before, order[..., None], axis=1)
    x = jnp.concatenate([self._blanks(batch)[:, None], before[:, :-1]], axis=1)
    causal = jnp.tril(jnp.ones((count, count), bool))[None]
    x = self._features(x, self.text_encoder(text), causal, train, order)
    if order is not None:
      x = jnp.take_along_axis(x, jnp.argsort(order, axis=1)[..., None], axis=1)
    logits = jnp.stack([self.code(x, tokens, level) for level in range(self.depth)], axis=2)
    return logits.reshape(batch, self.num_tokens, self.codebook_size)

  def start(self, text: Text) -> Cache:
    """An empty cache for these captions."""
    context = self.text_encoder(text)
    _, (text_keys, text_values) = self.blocks.text_keys_values(context.features, context)
    count = math.prod(self.places)
    shape = (self.layers, text.shape[0], count, self.heads, self.width // self.heads)
    return Cache(
      keys=jnp.zeros(shape, text_keys.dtype),
      values=jnp.zeros(shape, text_keys.dtype),
      text_keys=text_keys,
      text_values=text_values,
      text_mask=context.mask,
    )

  def step(
    self, tokens: Int[Array, "B depth"], index: Int[Array, ""], cache: Cache
  ) -> tuple[Float[Array, "B D"], Cache]:
    """Features of position `index`, given the tokens of the one before (at 0: of no matter)."""
    before = self._embedded(tokens[:, None])[:, 0]
    if self.any_order:
      before = before + self._origins()[index - 1][None]
    x = jnp.where(index == 0, self._blanks(len(tokens)), before)
    x, angles = self._located(x[:, None], index[None, None])
    (x, cache), _ = self.blocks.step((x, cache), jnp.arange(self.layers), index, angles)
    return self.norm(x)[:, 0], cache

  def code(
    self, features: Float[Array, "*B D"], tokens: Int[Array, "*B depth"], level: int
  ) -> Float[Array, "*B K"]:
    """Float32 logits of token number `level` of a position, given those before it there."""
    if level == 0:
      return self.head(features).astype(jnp.float32)
    x = features
    for i in range(level):
      x = x + self._embedded_level(tokens[..., i], i)
      x = x + self.depth_mlps[i](self.depth_norms[i](x))
    return self.depth_heads[level - 1](x).astype(jnp.float32)

  def _embedded(self, tokens: Int[Array, "B P depth"]) -> Float[Array, "B P D"]:
    return reduce(jnp.add, (self._embedded_level(tokens[..., i], i) for i in range(self.depth)))

  def _embedded_level(self, tokens: Int[Array, "*B"], level: int) -> Float[Array, "*B D"]:
    row = jnp.where(tokens == self.blank, self.codes_apart, tokens + level * self.codebook_size)
    return self.embed(row)

  def _blanks(self, batch: int) -> Float[Array, "B D"]:
    # A row, not looked up: a second gradient of the whole table would go over all devices.
    blank = jax.lax.index_in_dim(self.embed.embedding, self.codes_apart, keepdims=False)
    return jnp.broadcast_to(blank, (batch, self.width))

  def _origins(self) -> Float[Array, "P D"]:
    return (self.from_rows + self.from_columns).reshape(-1, self.width)
