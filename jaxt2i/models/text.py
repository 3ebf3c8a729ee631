"""Text encoders: captions to what a prior reads.

All give a `Context`. Captions come as token ids `[B, T]`, 0 being padding.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax import struct
from jaxtyping import Int

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
    batch, length = text.shape
    x = nn.Embed(self.vocab_size, self.width, name="embed")(text)
    x = x + self.param("positions", like_embeddings(self.width), (1, length, self.width))
    slot = self.param("slot", like_embeddings(self.width), (1, 1, self.width))
    x = jnp.concatenate([jnp.broadcast_to(slot, (batch, 1, self.width)), x], axis=1)
    mask = jnp.concatenate([jnp.ones((batch, 1), bool), text != PAD], axis=1)
    for i in range(self.layers):
      x = EncoderBlock(self.heads, name=f"block{i}")(x, mask[:, None, :])
    return Context(features=nn.RMSNorm(name="norm")(x), mask=mask)
