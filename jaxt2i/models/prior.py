"""What priors share: a transformer over image tokens that reads a caption."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Bool, Float, Int

from jaxt2i.models.attention import attend
from jaxt2i.models.blocks import (
  MLP,
  GatedMLP,
  grid_angles,
  like_embeddings,
  rotated,
  split_heads,
)
from jaxt2i.models.dense import Dense
from jaxt2i.models.precision import RMSNorm
from jaxt2i.models.rows import rows_apart
from jaxt2i.models.text import Context
from jaxt2i.types import Array

POSITIONS = ("learned", "rotary")
CONDITIONINGS = ("cross", "prefix")


class Cache(struct.PyTreeNode):
  """Keys and values of the tokens so far, and of the caption, for all layers."""

  keys: Any  # [L, B, N, heads, D/heads]
  values: Any  # [L, B, N, heads, D/heads]
  text_keys: Any  # [L, B, 1+T, heads, D/heads]
  text_values: Any  # [L, B, 1+T, heads, D/heads]
  text_mask: Any  # [B, 1+T]


class DecoderBlock(nn.Module):
  """Self-attention, what the caption adds, MLP; each pre-norm and residual.

  Attributes:
    width, heads, dropout: as of `Prior`.
    cross: whether the caption is read by cross-attention; else it stands before the image tokens.
    qk_norm, gated_mlp: as of `Prior`.
  """

  width: int
  heads: int
  dropout: float
  cross: bool
  qk_norm: bool
  gated_mlp: bool

  def setup(self) -> None:
    dense = lambda features: Dense(features, use_bias=False)
    self.norm1, self.norm3 = RMSNorm(), RMSNorm()
    self.qkv, self.out = dense(3 * self.width), dense(self.width)
    if self.cross:
      self.norm2 = RMSNorm()
      self.text_q, self.text_kv = dense(self.width), dense(2 * self.width)
      self.text_out = dense(self.width)
    if self.qk_norm:
      self.q_norm, self.k_norm = RMSNorm(), RMSNorm()
    self.mlp = GatedMLP() if self.gated_mlp else MLP()
    self.drop = nn.Dropout(self.dropout)

  def __call__(
    self,
    x: Float[Array, "B N D"],
    context: Context,
    mask: Bool[Array, "#B #N N"],
    angles: Float[Array, "#B N F"] | None,
    train: bool,
  ) -> tuple[Float[Array, "B N D"], None]:
    """All positions at once. (The None is what a layer adds to `nn.scan`'s outputs.)"""
    drop = lambda y: self.drop(y, deterministic=not train)
    q, k, v = self._qkv(x, angles)
    x = x + drop(self.out(attend(q, k, v, mask)))
    if self.cross:
      text_k, text_v = self._text_kv(context)
      x = x + drop(self._read(x, text_k, text_v, context.mask))
    return x + drop(self.mlp(self.norm3(x))), None

  def step(
    self,
    carry: tuple[Float[Array, "B 1 D"], Cache],
    layer: Int[Array, ""],
    index: Int[Array, ""],
    angles: Float[Array, "1 1 F"] | None,
  ) -> tuple[tuple[Float[Array, "B 1 D"], Cache], None]:
    """One position, those before it being in the cache; returns the cache with this one added."""
    x, cache = carry
    q, k, v = self._qkv(x, angles)
    at = (layer, 0, index, 0, 0)
    cache = cache.replace(
      keys=jax.lax.dynamic_update_slice(cache.keys, k[None], at),
      values=jax.lax.dynamic_update_slice(cache.values, v[None], at),
    )
    keys, values = cache.keys[layer], cache.values[layer]
    text_k, text_v = cache.text_keys[layer], cache.text_values[layer]
    past = (jnp.arange(keys.shape[1]) <= index)[None, None, :]
    if self.cross:
      x = x + self.out(attend(q, keys, values, past))
      x = x + self._read(x, text_k, text_v, cache.text_mask)
    else:
      past = jnp.broadcast_to(past, (len(x), *past.shape[1:]))
      visible = jnp.concatenate([cache.text_mask[:, None], past], axis=2)
      keys, values = (jnp.concatenate(pair, 1) for pair in ((text_k, keys), (text_v, values)))
      x = x + self.out(attend(q, keys, values, visible))
    return (x + self.mlp(self.norm3(x)), cache), None

  def text_keys_values(
    self, x: Float[Array, "B S D"], context: Context
  ) -> tuple[Float[Array, "B S D"], tuple[Array, ...]]:
    """Keys and values of the caption: the same at every position, so computed once."""
    if self.cross:
      return x, self._text_kv(context)
    q, k, v = self._qkv(x, None)
    x = x + self.out(attend(q, k, v, context.mask[:, None]))
    return x + self.mlp(self.norm3(x)), (k, v)

  def _qkv(self, x: Float[Array, "B N D"], angles: Array | None) -> tuple[Array, ...]:
    qkv = self.qkv(self.norm1(x))
    q, k, v = (split_heads(part, self.heads) for part in jnp.split(qkv, 3, axis=-1))
    if self.qk_norm:
      q, k = self.q_norm(q), self.k_norm(k)
    return (q, k, v) if angles is None else (rotated(q, angles), rotated(k, angles), v)

  def _text_kv(self, context: Context) -> tuple[Array, ...]:
    kv = self.text_kv(context.features)
    return tuple(split_heads(part, self.heads) for part in jnp.split(kv, 2, axis=-1))

  def _read(self, x: Array, k: Array, v: Array, mask: Bool[Array, "B T"]) -> Array:
    q = split_heads(self.text_q(self.norm2(x)), self.heads)
    return self.text_out(attend(q, k, v, mask[:, None, :]))


class Prior(nn.Module, kw_only=True):
  """A prior without what makes it one: `AutoregressivePrior` and `MaskedPrior` are the kinds.

  Attributes:
    codebook_size: K, of the image tokenizer.
    grid: (h, w), of the image tokenizer.
    text_encoder: module of `jaxt2i.models.text`, of the same width.
    width, layers, heads: of the decoder.
    dropout: on each residual branch.
    positions: one of POSITIONS. Learnt ones are added, a vector a row and one a column; rotary ones
      turn queries and keys (RoFormer, arXiv 2104.09864), half by the row and half by the column.
    conditioning: one of CONDITIONINGS. By cross-attention to the caption in every block
      (arXiv 1706.03762), or as a prefix: the caption stands before the image tokens, goes through
      the same blocks, and is seen by all of them (DALL·E, arXiv 2102.12092).
    qk_norm: whether queries and keys of self-attention are normalised, head by head
      (arXiv 2302.05442, §2.1), so that no logit grows without bound.
    gated_mlp: whether the MLP of a block is a SwiGLU.
    remat: whether training keeps of a block its input alone, and computes the rest once more for
      the gradient: less memory, more time.
  """

  codebook_size: int
  grid: tuple[int, int]
  text_encoder: nn.Module
  width: int
  layers: int
  heads: int
  dropout: float
  positions: str
  conditioning: str
  qk_norm: bool
  gated_mlp: bool
  remat: bool = False  # configs of runs from before it lack it

  def setup(self) -> None:
    h, w = self.places
    normal = like_embeddings(self.width)
    self.embed = nn.Embed(self.codes_apart + 1, self.width)  # the last one is the blank's
    if self.positions == "learned":
      self.rows = self.param("rows", normal, (h, 1, self.width))
      self.columns = self.param("columns", normal, (1, w, self.width))
    # One set of parameters stacked over layers [L, ...]: sampling loops over them without leaving
    # compiled code. Training unrolls the loop: a quarter faster on CPU, it need not copy
    # activations into stacked buffers. With `remat` there is little to copy, and only a loop keeps
    # XLA from computing blocks again before it needs them.
    stacked = {
      "variable_axes": {"params": 0},
      "split_rngs": {"params": True, "dropout": True},
      "length": self.layers,
    }
    block, unroll = DecoderBlock, self.layers
    if self.remat:  # the argument `train`, number 5 from `self` on, is a Python bool
      block, unroll = nn.remat(DecoderBlock, static_argnums=(5,), prevent_cse=False), 1
    self.blocks = nn.scan(
      block,
      methods={
        "__call__": stacked | {"in_axes": (nn.broadcast,) * 4, "unroll": unroll},
        "step": stacked | {"in_axes": (0, nn.broadcast, nn.broadcast)},
        "text_keys_values": stacked | {"in_axes": (nn.broadcast,)},
      },
    )(
      self.width,
      self.heads,
      self.dropout,
      self.conditioning == "cross",
      self.qk_norm,
      self.gated_mlp,
    )
    self.norm = RMSNorm()
    self.head = Dense(self.codebook_size, use_bias=False)

  @property
  def blank(self) -> int:
    """The id that stands for no token."""
    return self.codebook_size

  @property
  def num_tokens(self) -> int:
    return self.grid[0] * self.grid[1]

  @property
  def places(self) -> tuple[int, int]:
    """(h, w) of what the transformer sees."""
    return self.grid

  @property
  def codes_apart(self) -> int:
    """Codes that are embedded each for itself."""
    return self.codebook_size

  def _located(
    self, x: Float[Array, "B N D"], order: Int[Array, "#B N"] | None = None
  ) -> tuple[Float[Array, "B N D"], Float[Array, "#B N F"] | None]:
    """Inputs that know where they are, and by what to rotate, for positions in this order."""
    in_order = lambda table: table[None] if order is None else table[order]
    if self.positions == "learned":
      return x + in_order((self.rows + self.columns).reshape(-1, self.width)), None
    return x, in_order(grid_angles(self.places, self.width // self.heads))

  def _features(
    self,
    x: Float[Array, "B N D"],
    context: Context,
    mask: Bool[Array, "1 #N N"],
    train: bool,
    order: Int[Array, "#B N"] | None = None,
  ) -> Float[Array, "B N D"]:
    x, angles = self._located(x, order)
    x, context = rows_apart(x), context.replace(features=rows_apart(context.features))
    if self.conditioning == "cross":
      x, _ = self.blocks(x, context, mask, angles, train)
      return self.norm(x)
    length = context.features.shape[1]
    mask = _with_prefix(context.mask, jnp.broadcast_to(mask, (1, x.shape[1], x.shape[1])))
    if angles is not None:  # those of the caption are not rotated
      angles = jnp.pad(angles, ((0, 0), (length, 0), (0, 0)))
    x = jnp.concatenate([context.features, x], axis=1)
    x, _ = self.blocks(x, context, mask, angles, train)
    return self.norm(x[:, length:])


def _with_prefix(
  prefix: Bool[Array, "B S"], mask: Bool[Array, "1 N N"]
) -> Bool[Array, "B S+N S+N"]:
  """Who sees whom: the prefix itself, the others the prefix and each other by the mask."""
  (batch, s), n = prefix.shape, mask.shape[1]
  to_prefix = jnp.broadcast_to(prefix[:, None], (batch, s + n, s))
  to_rest = jnp.concatenate([jnp.zeros((1, s, n), bool), mask], axis=1)
  return jnp.concatenate([to_prefix, jnp.broadcast_to(to_rest, (batch, s + n, n))], axis=2)
