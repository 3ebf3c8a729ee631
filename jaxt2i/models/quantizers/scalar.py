"""Finite scalar quantisation: each feature of a latent is rounded by itself."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Num

from jaxt2i.models.quantizers.base import Quantized, Quantizer, require, straight_through
from jaxt2i.types import Array


class FSQ(Quantizer):
  """Finite scalar quantisation (Mentzer et al., arXiv 2309.15505): each dimension is rounded.

  The codebook is the grid of all combinations of levels; nothing about it is learnt, so there
  is no codebook loss, no commitment loss and no dead-code revival.

  Attributes:
    levels: values a dimension can take; len(levels) is code_dim, their product codebook_size.
  """

  levels: tuple[int, ...]

  def __post_init__(self) -> None:
    levels = tuple(self.levels)
    require(
      len(levels) > 0 and all(level >= 2 for level in levels) and math.prod(levels) < 2**31,
      f"quantizer.levels is {levels}: must be one number or more, each 2 or more, whose product "
      "fits into 31 bits.",
    )
    super().__post_init__()

  @property
  def codebook_size(self) -> int:
    """Product of the levels."""
    return math.prod(self.levels)

  @property
  def code_dim(self) -> int:
    """One feature a number of levels."""
    return len(self.levels)

  def _bound(self, z: Float[Array, "... D"]) -> Float[Array, "... D"]:
    """Squashes z so that rounding gives exactly `levels` integers (paper, appendix A)."""
    levels = along_last(np.asarray(self.levels), z)
    half_range = (levels - 1) * (1 + 1e-3) / 2
    # An even number of levels has no integer in its middle: shift by a half, and keep 0 at 0.
    offset = jnp.where(levels % 2 == 0, 0.5, 0.0).astype(z.dtype)
    shift = jnp.arctanh(offset / half_range)
    return jnp.tanh(z + shift) * half_range - offset

  def __call__(self, z: Float[Array, "B h w D"], *, train: bool) -> Quantized:
    """See Quantizer. `train` changes nothing here."""
    bounded = self._bound(z.astype(jnp.float32))  # few digits would move latents near an edge
    integers = straight_through(bounded, jnp.round(bounded))
    half_width = along_last(np.asarray(self.levels) // 2, bounded)
    digits = jax.lax.stop_gradient(integers + half_width).astype(jnp.int32)
    tokens = jnp.sum(digits * along_last(self._basis(), digits), axis=-1)
    nothing = jnp.zeros(z.shape[0], jnp.float32)
    return Quantized((integers / half_width).astype(z.dtype), tokens, nothing, {}, {})

  def _basis(self) -> Int[np.ndarray, " D"]:
    """Place values of the digits of a token, first dimension fastest."""
    return np.cumprod((1, *self.levels[:-1]))

  def lookup(self, tokens: Int[Array, "..."]) -> Float[Array, "... D"]:
    """Codes of tokens, each dimension in [-1, 1]."""
    tokens = tokens[..., None]
    levels = along_last(np.asarray(self.levels), tokens)
    digits = (tokens // along_last(self._basis(), tokens)) % levels
    half_width = levels // 2
    return (digits - half_width).astype(jnp.float32) / half_width.astype(jnp.float32)


def along_last(values: Num[np.ndarray, " D"], like: Num[Array, "..."]) -> Num[Array, "..."]:
  """One value a feature, with the dtype of `like` and as many axes."""
  return jnp.asarray(values, like.dtype).reshape((1,) * (like.ndim - 1) + (-1,))
