"""MiniLM-L6, for its features: a fixed network that reads sentences and learns nothing.

A BERT (arXiv 1810.04805) of 6 layers, distilled from a larger one (MiniLM, arXiv 2002.10957) and
then trained until sentences of one meaning lie near each other (arXiv 1908.10084). Of its token
types only the first is used; that embedding is folded into the positions. The weights:
`jaxt2i.pretrained_text`.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jaxt2i.models.attention import attend
from jaxt2i.models.blocks import like_embeddings, split_heads
from jaxt2i.models.dense import Dense
from jaxt2i.models.text import PAD
from jaxt2i.types import Array

VOCABULARY, POSITIONS = 30522, 512
WIDTH, LAYERS, HEADS = 384, 6, 12


class MiniLM(nn.Module):
  """Features of every word piece."""

  @nn.compact
  def __call__(self, text: Int[Array, "B T"]) -> Float[Array, "B T 384"]:
    """Args: text, ids from [CLS] to [SEP], then PAD; 512 at most. Rows of PAD are 0."""
    mask = text != PAD
    x = nn.Embed(VOCABULARY, WIDTH, name="words")(text)
    positions = self.param("positions", like_embeddings(WIDTH), (POSITIONS, WIDTH))
    x = _norm("norm")(x + positions[None, : text.shape[1]])
    for i in range(LAYERS):
      x = Layer(name=f"layer{i}")(x, mask[:, None, :])
    return jnp.where(mask[..., None], x, 0)


class Layer(nn.Module):
  """Transformer block that looks both ways and normalises after each sum, as BERT does."""

  @nn.compact
  def __call__(
    self, x: Float[Array, "B T D"], mask: Bool[Array, "#B #T T"]
  ) -> Float[Array, "B T D"]:
    """Self-attention, then two dense layers with an exact GELU between."""
    qkv = Dense(3 * WIDTH, name="qkv")(x)
    q, k, v = (split_heads(part, HEADS) for part in jnp.split(qkv, 3, axis=-1))
    x = _norm("norm1")(x + Dense(WIDTH, name="out")(attend(q, k, v, mask)))
    y = nn.gelu(Dense(4 * WIDTH, name="up")(x), approximate=False)
    return _norm("norm2")(x + Dense(WIDTH, name="down")(y))


def sentence_vector(features: Float[Array, "B T D"]) -> Float[Array, "B D"]:
  """The mean over word pieces at length 1, so that cosine similarity is a dot product.

  A caption without any (rows of zeros only) gives zeros.
  """
  total = jnp.sum(features, axis=1)  # as long as it may be: the number of pieces cancels
  length = jnp.linalg.norm(total, axis=-1, keepdims=True)
  return total / jnp.maximum(length, 1e-12)


def _norm(name: str) -> nn.LayerNorm:
  return nn.LayerNorm(epsilon=1e-12, use_fast_variance=False, name=name)
