"""What priors share: a transformer over image tokens that reads a caption by cross-attention."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Bool, Float, Int

from jaxt2i.models.blocks import MLP, attend, like_embeddings, split_heads
from jaxt2i.models.text import Context, TextEncoder
from jaxt2i.types import Array


class Cache(struct.PyTreeNode):
  """Keys and values of the tokens so far, and of the caption, for all layers."""

  keys: Any  # [L, B, N, heads, D/heads]
  values: Any  # [L, B, N, heads, D/heads]
  text_keys: Any  # [L, B, 1+T, heads, D/heads]
  text_values: Any  # [L, B, 1+T, heads, D/heads]
  text_mask: Any  # [B, 1+T]


class DecoderBlock(nn.Module):
  """Self-attention, cross-attention to the caption, MLP; each pre-norm and residual."""

  width: int
  heads: int
  dropout: float

  def setup(self) -> None:
    dense = lambda features: nn.Dense(features, use_bias=False)
    self.norm1, self.norm2, self.norm3 = nn.RMSNorm(), nn.RMSNorm(), nn.RMSNorm()
    self.qkv, self.out = dense(3 * self.width), dense(self.width)
    self.text_q, self.text_kv = dense(self.width), dense(2 * self.width)
    self.text_out = dense(self.width)
    self.mlp = MLP()
    self.drop = nn.Dropout(self.dropout)

  def __call__(
    self, x: Float[Array, "B N D"], context: Context, mask: Bool[Array, "1 #N N"], train: bool
  ) -> tuple[Float[Array, "B N D"], None]:
    """All positions at once. (The None is what a layer adds to `nn.scan`'s outputs.)"""
    drop = lambda y: self.drop(y, deterministic=not train)
    q, k, v = self._qkv(x)
    x = x + drop(self.out(attend(q, k, v, mask)))
    text_k, text_v = self._text_kv(context)
    x = x + drop(self._read(x, text_k, text_v, context.mask))
    return x + drop(self.mlp(self.norm3(x))), None

  def step(
    self,
    carry: tuple[Float[Array, "B 1 D"], Cache],
    layer: Int[Array, ""],
    index: Int[Array, ""],
  ) -> tuple[tuple[Float[Array, "B 1 D"], Cache], None]:
    """One position, those before it being in the cache; returns the cache with this one added."""
    x, cache = carry
    q, k, v = self._qkv(x)
    at = (layer, 0, index, 0, 0)
    cache = cache.replace(
      keys=jax.lax.dynamic_update_slice(cache.keys, k[None], at),
      values=jax.lax.dynamic_update_slice(cache.values, v[None], at),
    )
    past = (jnp.arange(cache.keys.shape[2]) <= index)[None, None, :]
    x = x + self.out(attend(q, cache.keys[layer], cache.values[layer], past))
    x = x + self._read(x, cache.text_keys[layer], cache.text_values[layer], cache.text_mask)
    return (x + self.mlp(self.norm3(x)), cache), None

  def text_keys_values(self, carry: None, context: Context) -> tuple[None, tuple[Array, ...]]:
    """Keys and values of the caption: the same at every position, so computed once."""
    return carry, self._text_kv(context)

  def _qkv(self, x: Float[Array, "B N D"]) -> tuple[Array, ...]:
    qkv = self.qkv(self.norm1(x))
    return tuple(split_heads(part, self.heads) for part in jnp.split(qkv, 3, axis=-1))

  def _text_kv(self, context: Context) -> tuple[Array, ...]:
    kv = self.text_kv(context.features)
    return tuple(split_heads(part, self.heads) for part in jnp.split(kv, 2, axis=-1))

  def _read(self, x: Array, k: Array, v: Array, mask: Bool[Array, "B T"]) -> Array:
    q = split_heads(self.text_q(self.norm2(x)), self.heads)
    return self.text_out(attend(q, k, v, mask[:, None, :]))


class Prior(nn.Module):
  """A prior without what makes it one: `AutoregressivePrior` and `MaskedPrior` are the kinds.

  Attributes:
    codebook_size: K, of the image tokenizer.
    grid: (h, w), of the image tokenizer.
    vocab_size: of the text tokenizer.
    width, layers, heads: of the decoder; the text encoder shares width and heads.
    text_layers: of the text encoder.
    dropout: on each residual branch.
  """

  codebook_size: int
  grid: tuple[int, int]
  vocab_size: int
  width: int
  layers: int
  heads: int
  text_layers: int
  dropout: float

  def setup(self) -> None:
    h, w = self.places
    normal = like_embeddings(self.width)
    self.text_encoder = TextEncoder(self.vocab_size, self.width, self.text_layers, self.heads)
    self.embed = nn.Embed(self.codes_apart + 1, self.width)  # the last one is the blank's
    self.rows = self.param("rows", normal, (h, 1, self.width))
    self.columns = self.param("columns", normal, (1, w, self.width))
    # One set of parameters stacked over layers [L, ...]: sampling loops over them without leaving
    # compiled code. Training unrolls the loop: a quarter faster on CPU, it need not copy
    # activations into stacked buffers.
    stacked = {
      "variable_axes": {"params": 0},
      "split_rngs": {"params": True, "dropout": True},
      "length": self.layers,
    }
    self.blocks = nn.scan(
      DecoderBlock,
      methods={
        "__call__": stacked | {"in_axes": (nn.broadcast,) * 3, "unroll": self.layers},
        "step": stacked | {"in_axes": (0, nn.broadcast)},
        "text_keys_values": stacked | {"in_axes": (nn.broadcast,)},
      },
    )(self.width, self.heads, self.dropout)
    self.norm = nn.RMSNorm()
    self.head = nn.Dense(self.codebook_size, use_bias=False)

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

  def _positions(self) -> Float[Array, "N D"]:
    return (self.rows + self.columns).reshape(-1, self.width)

  def _features(
    self, x: Float[Array, "B N D"], context: Context, mask: Bool[Array, "1 #N N"], train: bool
  ) -> Float[Array, "B N D"]:
    x, _ = self.blocks(x, context, mask, train)
    return self.norm(x)
