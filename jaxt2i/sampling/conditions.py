"""What is drawn for: captions, what to stay away from, and how much of each."""

from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Float, Int, Shaped

from jaxt2i.sampling.options import SamplingOptions
from jaxt2i.types import Array, Text


class Conditions(struct.PyTreeNode):
  """Captions of a batch of B images, ids or features. Zeros alone (PAD) are no caption."""

  text: Any  # [J, B, T(, F)] captions: one of each image, or several to be mixed
  mix: Any  # [J, B] how much of each; they add up to 1
  negative: Any  # [B, T(, F)] what guidance leads away from: no caption, or a caption

  @classmethod
  def of(cls, text: Text) -> "Conditions":
    """One caption an image, and guidance away from none."""
    batch = text.shape[0]
    return cls(text=text[None], mix=jnp.ones((1, batch)), negative=jnp.zeros_like(text))

  def stacked(self, options: SamplingOptions) -> Shaped[Array, "S T *F"]:
    """All captions in one batch: one pass through the network serves them all."""
    every = self.text.reshape(-1, *self.text.shape[2:])
    return jnp.concatenate([every, self.negative]) if _is_guided(options) else every

  def repeated(self, tokens: Int[Array, "B ..."], options: SamplingOptions) -> Int[Array, "S ..."]:
    """Tokens for each of `stacked`."""
    copies = self.text.shape[0] + _is_guided(options)
    return jnp.tile(tokens, (copies, *[1] * (tokens.ndim - 1)))

  def combined(
    self, logits: Float[Array, "S *N K"], options: SamplingOptions, done: Float[Array, ""]
  ) -> Float[Array, "B *N K"]:
    """Logits of `stacked` to those that are drawn from, float32.

    Several captions are mixed in their logits: Σ_j mix_j log p(token | caption_j).

    Args:
      logits: of each of `stacked`.
      options: with the guidance.
      done: share of the drawing that this step completes, for a schedule.
    """
    batch = self.mix.shape[1]
    logits = logits.astype(jnp.float32).reshape(-1, batch, *logits.shape[1:])
    count = self.text.shape[0]
    if count == 1:
      mixed = logits[0]
    else:
      mix = self.mix.reshape(count, batch, *[1] * (logits.ndim - 2))
      mixed = jnp.sum(mix * logits[:count], axis=0)
    if not _is_guided(options):
      return mixed
    rising = options.guidance_schedule == "rising"
    scale = 1 + (options.guidance_scale - 1) * done if rising else options.guidance_scale
    return guide(mixed, logits[count], scale)


def guide(
  conditional: Float[Array, "*B K"],
  unconditional: Float[Array, "*B K"],
  scale: float | Float[Array, ""],
) -> Float[Array, "*B K"]:
  """Classifier-free guidance (arXiv 2207.12598) on logits: u + s(c − u)."""
  return unconditional + scale * (conditional - unconditional)


def _is_guided(options: SamplingOptions) -> bool:
  return options.guidance_scale != 1
