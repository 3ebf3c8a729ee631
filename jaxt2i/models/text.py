"""Text encoders: captions to what a prior reads.

All give a `Context`. Captions come as token ids `[B, T]`, 0 being padding, which follows the words,
or as the features of a frozen network `[B, T, F]`, rows of zeros being padding.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax import struct
from jaxtyping import Bool, Float, Int

from jaxt2i.errors import UsageError
from jaxt2i.models.blocks import EncoderBlock, like_embeddings
from jaxt2i.models.dense import Dense
from jaxt2i.models.precision import RMSNorm
from jaxt2i.types import Array

PAD = 0  # token id of padding in captions
CELLS = {"gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell}


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
    x = nn.Embed(self.vocab_size, self.width, name="embed")(text)
    x = x + self.param("positions", like_embeddings(self.width), (1, text.shape[1], self.width))
    x, mask = _after_slot(self, x, text != PAD)
    for i in range(self.layers):
      x = EncoderBlock(self.heads, name=f"block{i}")(x, mask[:, None, :])
    return Context(features=RMSNorm(name="norm")(x), mask=mask)


class RecurrentTextEncoder(nn.Module):
  """Bidirectional recurrent network over caption token ids.

  GRU (arXiv 1406.1078, with the reset gate after the product, as in cuDNN) or LSTM (Hochreiter &
  Schmidhuber 1997, with forget gates); both directions stacked as in arXiv 1303.5778. Slot 0 is
  the first in line, as if it were a word: what the backward direction leaves there has read the
  whole caption.

  Attributes:
    vocab_size: of the text tokenizer.
    width: D; each direction gives half of it.
    layers: of both directions, one upon the other.
    cell: "gru" or "lstm".
    embed_dim: of the table's vectors, which may be word vectors learnt elsewhere; where it is not
      `width`, they are projected.
  """

  vocab_size: int
  width: int
  layers: int
  cell: str
  embed_dim: int

  def __post_init__(self) -> None:
    if self.cell not in CELLS:
      raise UsageError(f"cell is {self.cell!r}: must be {' or '.join(map(repr, CELLS))}.")
    if self.width % 2:
      raise UsageError(f"width is {self.width}: must be even, for two directions of one width.")
    super().__post_init__()

  @nn.compact
  def __call__(self, text: Int[Array, "B T"]) -> Context:
    """Encodes captions padded with PAD."""
    x: Any = nn.Embed(self.vocab_size, self.embed_dim, name="embed")(text)
    if self.embed_dim != self.width:
      x = Dense(self.width, use_bias=False, name="project")(x)
    x, mask = _after_slot(self, x, text != PAD)
    lengths = jnp.sum(mask, axis=1, dtype=jnp.int32)
    for i in range(self.layers):
      forward, backward = (
        # `param_dtype` is that of the state a cell starts from: it must be that of the next ones.
        nn.RNN(CELLS[self.cell](self.width // 2, param_dtype=x.dtype, name=f"block{i}_{direction}"))
        for direction in ("forward", "backward")
      )
      x = nn.Bidirectional(forward, backward)(x, seq_lengths=lengths)
    return Context(features=RMSNorm(name="norm")(x), mask=mask)


class FeatureEncoder(nn.Module):
  """Features that a frozen network made of captions, brought to a prior's width.

  Slot 0 is as in `TextEncoder`. The projection has no bias, so that padding stays 0.

  Attributes:
    width: D.
    layers: of a transformer over them, learnt from scratch; 0: what the prior reads is each
      feature by itself, and slot 0 knows nothing of the caption.
    heads: of that transformer.
  """

  width: int
  layers: int
  heads: int

  @nn.compact
  def __call__(self, features: Float[Array, "B T F"]) -> Context:
    """Takes rows of zeros for padding: an empty caption has no others."""
    x = Dense(self.width, use_bias=False, name="project")(features)
    x, mask = _after_slot(self, x, jnp.any(features != 0, axis=-1))
    for i in range(self.layers):
      x = EncoderBlock(self.heads, name=f"block{i}")(x, mask[:, None, :])
    return Context(features=RMSNorm(name="norm")(x), mask=mask)


def _after_slot(
  encoder: nn.Module, x: Float[Array, "B T D"], mask: Bool[Array, "B T"]
) -> tuple[Float[Array, "B S D"], Bool[Array, "B S"]]:
  """The words behind the encoder's learnt slot 0, S = 1 + T, and where there is something."""
  batch, _, width = x.shape
  slot = encoder.param("slot", like_embeddings(width), (1, 1, width))
  x = jnp.concatenate([jnp.broadcast_to(slot, (batch, 1, width)), x], axis=1)
  return x, jnp.concatenate([jnp.ones((batch, 1), bool), mask], axis=1)
