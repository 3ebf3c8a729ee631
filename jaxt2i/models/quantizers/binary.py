"""Quantisation to signs: a code is a corner of a cube, a token the number that its bits write."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxt2i.models.quantizers.base import Quantized, Quantizer, require, straight_through, unit
from jaxt2i.models.quantizers.codebooks import entropy_penalty
from jaxt2i.types import Array


class _Binary(Quantizer):
  """What the two kinds share.

  Attributes:
    codebook_size: K, a power of two.
    entropy_weight: of the penalty that keeps all codes in use.
    entropy_temperature: of its softmax over squared distances.
  """

  codebook_size: int
  entropy_weight: float
  entropy_temperature: float

  def __post_init__(self) -> None:
    size = self.codebook_size
    require(
      2 <= size <= 2**20 and size & (size - 1) == 0,
      f"quantizer.codebook_size is {size}: must be a power of two from 2 to 2**20.",
    )
    weight, temperature = self.entropy_weight, self.entropy_temperature
    require(weight >= 0, f"quantizer.entropy_weight is {weight}: must be 0 or more.")
    require(temperature > 0, f"quantizer.entropy_temperature is {temperature}: must be above 0.")
    super().__post_init__()

  @property
  def code_dim(self) -> int:
    """Bits of a token."""
    return self.codebook_size.bit_length() - 1

  @property
  def _side(self) -> float:
    """Absolute value of a code's every feature."""
    return 1.0

  def lookup(self, tokens: Int[Array, "..."]) -> Float[Array, "... D"]:
    """Codes of tokens; the first feature is the lowest bit."""
    places = jnp.arange(self.code_dim, dtype=tokens.dtype).reshape((1,) * tokens.ndim + (-1,))
    bits = (tokens[..., None] >> places) & 1
    return (2 * bits - 1).astype(jnp.float32) * self._side

  def _quantise(self, z: Float[Array, "B h w D"]) -> tuple[Array, Array]:
    """Codes, without gradient, and tokens."""
    bits = jax.lax.stop_gradient(z) > 0
    places = jnp.asarray(2 ** np.arange(self.code_dim), jnp.int32).reshape(1, 1, 1, -1)
    tokens = jnp.sum(bits.astype(jnp.int32) * places, axis=-1)
    return jnp.where(bits, self._side, -self._side).astype(z.dtype), tokens


class LFQ(_Binary):
  """Lookup-free quantisation (MAGVIT-v2, arXiv 2310.05737, §3.1): the signs of the latent.

  The codebook is the corners of the cube [-1, 1]^D, D = log2(K); nothing about it is learnt.

  Attributes:
    commitment_weight: β on ‖z − sg(z_q)‖².
  """

  commitment_weight: float

  def __post_init__(self) -> None:
    beta = self.commitment_weight
    require(beta >= 0, f"quantizer.commitment_weight is {beta}: must be 0 or more.")
    super().__post_init__()

  def __call__(self, z: Float[Array, "B h w D"], *, train: bool) -> Quantized:
    """See Quantizer. `train` changes nothing here."""
    z_q, tokens = self._quantise(z)
    losses = {"commitment": jnp.mean(jnp.square((z - z_q).astype(jnp.float32)), axis=(1, 2, 3))}
    loss = self.commitment_weight * losses["commitment"]
    if self.entropy_weight:
      corners = self.lookup(jnp.arange(self.codebook_size))
      losses["entropy"] = entropy_penalty(z, corners, self.entropy_temperature)
      loss += self.entropy_weight * losses["entropy"]
    return Quantized(straight_through(z, z_q), tokens, loss, losses, {})


class BSQ(_Binary):
  """Binary spherical quantisation (arXiv 2406.07548): the signs of the latent on the unit sphere.

  A code's features are ±1/√D, so latent and code both have length 1 and no commitment loss is
  needed. The entropy of the mean over codes is approximated as if bits were independent (paper,
  §4.2), so that nothing of the size of the codebook is ever computed.
  """

  @property
  def _side(self) -> float:
    return self.code_dim**-0.5

  def __call__(self, z: Float[Array, "B h w D"], *, train: bool) -> Quantized:
    """See Quantizer. `train` changes nothing here."""
    z = unit(z)
    z_q, tokens = self._quantise(z)
    loss, losses = jnp.zeros(z.shape[0], jnp.float32), {}
    if self.entropy_weight:
      losses["entropy"] = self._entropy_penalty(z.astype(jnp.float32))
      loss += self.entropy_weight * losses["entropy"]
    return Quantized(straight_through(z, z_q), tokens, loss, losses, {})

  def _entropy_penalty(self, z: Float[Array, "B h w D"]) -> Float[Array, " B"]:
    # −‖z − c‖² / τ = 2 z·c / τ + const: a sum over bits, so the softmax is a product over bits.
    logits = 4 * self._side * z / self.entropy_temperature
    of_latents = _bit_entropy(jax.nn.sigmoid(logits)).sum(axis=-1).mean(axis=(1, 2))  # [B]
    of_mean = _bit_entropy(jax.nn.sigmoid(logits).mean(axis=(0, 1, 2))).sum()
    return of_latents - of_mean


def _bit_entropy(p: Float[Array, "..."]) -> Float[Array, "..."]:
  """Entropy in nats of a bit that is 1 with probability p."""
  return jax.scipy.special.entr(p) + jax.scipy.special.entr(1 - p)
