"""What every quantizer gives, and how gradients get past one."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Float, Int

from jaxt2i.errors import UsageError
from jaxt2i.types import Array

_TINY = 1e-12  # a vector shorter than its square root has no direction


class Quantized(struct.PyTreeNode):
  """What a quantizer returns."""

  z_q: Any  # [B, h, w, D] the codes; gradients pass to z as the quantizer's docstring says
  tokens: Any  # [B, h, w * tokens_per_position] int32 in [0, codebook_size)
  loss: Any  # [B] to be added to the reconstruction loss
  losses: Any  # {name: [B]} its unweighted terms, for the log
  stats: Any  # {name: []} what else is worth a curve, of this batch


class Quantizer(nn.Module):
  """The interface: latents to codes and tokens, tokens to codes.

  A subclass has `codebook_size`, K, the number of values of a token, and `code_dim`, the features
  of a code, as fields or properties.
  """

  @property
  def latent_dim(self) -> int:
    """Features that it wants of the encoder."""
    return self.code_dim

  @property
  def tokens_per_position(self) -> int:
    """Tokens that stand for one position of the grid."""
    return 1

  def __call__(self, z: Float[Array, "B h w D"], *, train: bool) -> Quantized:
    """Quantises latents; in training it may move collection "codebook" and draw rng "codebook"."""
    raise NotImplementedError

  def lookup(self, tokens: Int[Array, "... w"]) -> Float[Array, "... w D"]:
    """Codes of tokens."""
    raise NotImplementedError


def straight_through(z: Float[Array, "..."], z_q: Float[Array, "..."]) -> Float[Array, "..."]:
  """`z_q` in value, `z` in gradient: z + sg(z_q − z) (VQ-VAE, arXiv 1711.00937, §3.2)."""
  return z + jax.lax.stop_gradient(z_q - z)


def rotation(z: Float[Array, "... D"], z_q: Float[Array, "... D"]) -> Float[Array, "... D"]:
  """`z_q` in value; in gradient, z rotated and scaled onto it (arXiv 2410.06424, eq. 4).

  R = I − 2rrᵀ + 2q̂ẑᵀ with r the unit vector between ẑ and q̂; λ = ‖z_q‖ / ‖z‖. Both are constants,
  so the gradient is λRᵀ times that at z_q: the angle between gradient and code is kept, which
  straight_through forgets.
  """
  from_z, to_q = jax.lax.stop_gradient((unit(z), unit(z_q)))
  middle = unit(from_z + to_q)
  scale = jax.lax.stop_gradient(_length(z_q) / _length(z))
  along = lambda axis: jnp.sum(axis * z, axis=-1, keepdims=True)
  rotated = scale * (z - 2 * along(middle) * middle + 2 * along(from_z) * to_q)
  return rotated + jax.lax.stop_gradient(z_q - rotated)  # no rounding: what decoding tokens gives


def unit(x: Float[Array, "... D"]) -> Float[Array, "... D"]:
  """Vectors of length 1; zero stays zero, and its gradient is finite."""
  return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + _TINY)


def _length(x: Float[Array, "... D"]) -> Float[Array, "... 1"]:
  return jnp.sqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + _TINY)


def require(condition: bool, message: str) -> None:
  """UsageError with the message unless the condition holds."""
  if not condition:
    raise UsageError(message)
