"""The masked prior: p(token | any other tokens, caption), as in MaskGIT (arXiv 2202.04200)."""

import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxt2i.models.prior import Prior
from jaxt2i.models.text import Context
from jaxt2i.types import Array, Text


class MaskedPrior(Prior):
  """Logits of each image token given those that are not blank, wherever they are, and the caption.

  Attributes as of `Prior`.
  """

  def __call__(
    self, tokens: Int[Array, "B N"], text: Text, *, train: bool
  ) -> Float[Array, "B N K"]:
    """Float32 logits everywhere; `blank` stands for a token to be guessed (needs rng "dropout")."""
    return self.guess(tokens, self.read(text), train=train)

  def read(self, text: Text) -> Context:
    """The captions, encoded once for all steps of decoding."""
    return self.text_encoder(text)

  def guess(
    self, tokens: Int[Array, "B N"], context: Context, *, train: bool = False
  ) -> Float[Array, "B N K"]:
    """The same for captions that have been read."""
    everywhere = jnp.ones((1, 1, self.num_tokens), bool)
    features = self._features(self.embed(tokens), context, everywhere, train)
    return self.head(features).astype(jnp.float32)
