"""Text encoders: captions to what a prior reads.

All give a `Context`. Captions come as token ids `[B, T]`, 0 being padding, or as the features of a
frozen network `[B, T, F]`, rows of zeros being padding.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax import struct
from jaxtyping import Bool, Float, Int

from jaxt2i.models.blocks import EncoderBlock, like_embeddings
from jaxt2i.types import Array

PAD = 0  # token id of padding in captions


class Context(struct.PyTreeNode):
  """An encoded caption."""

  features: Any  # [B, 1+T, D]; slot 0 is a learnt vector that is always visible
  mask: Any  # [B, 1+T] bool, True where there is a word


class TextEncoder(nn.Module):
  """Transformer over caption token ids, learnt from scratch.

  Slot 0 holds a learnt vector. An empty caption (all PAD) is that vector alone: the null
  condition of classifier-free guidance needs no special case.
  """

  vocab_size: int
  width: int
  layers: int
  heads: int

  @nn.compact
  def __call__(self, text: Int[Array, "B T"]) -> Context:
    """Encodes captions padded with PAD."""
    length = text.shape[1]
    x = nn.Embed(self.vocab_size, self.width, name="embed")(text)
    x = x + self.param("positions", like_embeddings(self.width), (1, length, self.width))
    slot = self.param("slot", like_embeddings(self.width), (1, 1, self.width))
    x, mask = _behind(slot, x, text != PAD)
    for i in range(self.layers):
      x = EncoderBlock(self.heads, name=f"block{i}")(x, mask[:, None, :])
    return Context(features=nn.RMSNorm(name="norm")(x), mask=mask)


class FeatureEncoder(nn.Module):
  """Features that a frozen network made of captions, brought to a prior's width.

  Slot 0 is as in `TextEncoder`. The projection has no bias, so that padding stays 0.
  """

  width: int

  @nn.compact
  def __call__(self, features: Float[Array, "B T F"]) -> Context:
    """Takes rows of zeros for padding: an empty caption has no others."""
    x = nn.Dense(self.width, use_bias=False, name="project")(features)
    slot = self.param("slot", like_embeddings(self.width), (1, 1, self.width))
    x, mask = _behind(slot, x, jnp.any(features != 0, axis=-1))
    return Context(features=nn.RMSNorm(name="norm")(x), mask=mask)


def _behind(
  slot: Float[Array, "1 1 D"], x: Float[Array, "B T D"], mask: Bool[Array, "B T"]
) -> tuple[Float[Array, "B 1+T D"], Bool[Array, "B 1+T"]]:
  """Puts the slot, which is always visible, before every caption."""
  batch = len(x)
  x = jnp.concatenate([jnp.broadcast_to(slot, (batch, *slot.shape[1:])), x], axis=1)
  return x, jnp.concatenate([jnp.ones((batch, 1), bool), mask], axis=1)
