"""Quantizers: latents `z [B, h, w, D]` to tokens `[B, h, w]` and back.

Who receives which gradient (checked in tests/models/test_quantizers.py):

| quantizer | reconstruction loss reaches | commitment loss reaches | codebook moves by |
|---|---|---|---|
| FSQ | the encoder, straight through the rounding | (none) | it is fixed |
| EMA | the encoder, straight through the lookup | the encoder only | EMA of assigned latents |
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Float, Int, Num

from jaxt2i.types import Array


class Quantized(struct.PyTreeNode):
  """What a quantizer returns."""

  z_q: Any  # [B, h, w, D] the codes; gradients pass straight through to z
  tokens: Any  # [B, h, w] int32 in [0, codebook_size)
  loss: Any  # [B] to be added to the reconstruction loss
  losses: Any  # {name: [B]} its unweighted terms, for the log


def straight_through(z: Float[Array, "..."], z_q: Float[Array, "..."]) -> Float[Array, "..."]:
  """`z_q` in value, `z` in gradient: z + sg(z_q − z) (VQ-VAE, arXiv 1711.00937, §3.2)."""
  return z + jax.lax.stop_gradient(z_q - z)


def along_last(values: Num[np.ndarray, " D"], like: Num[Array, "..."]) -> Num[Array, "..."]:
  """One value a feature, with the dtype of `like` and as many axes."""
  return jnp.asarray(values, like.dtype).reshape((1,) * (like.ndim - 1) + (-1,))


class FSQ(nn.Module):
  """Finite scalar quantisation (Mentzer et al., arXiv 2309.15505): each dimension is rounded.

  The codebook is the grid of all combinations of levels; nothing about it is learnt, so there
  is no codebook loss, no commitment loss and no dead-code revival.

  Attributes:
    levels: values a dimension can take; len(levels) is code_dim, their product codebook_size.
  """

  levels: tuple[int, ...]

  @property
  def codebook_size(self) -> int:
    return math.prod(self.levels)

  @property
  def code_dim(self) -> int:
    return len(self.levels)

  def _bound(self, z: Float[Array, "... D"]) -> Float[Array, "... D"]:
    """Squashes z so that rounding gives exactly `levels` integers (paper, appendix A)."""
    levels = along_last(np.asarray(self.levels), z)
    half_range = (levels - 1) * (1 + 1e-3) / 2
    # An even number of levels has no integer in its middle: shift by a half, and keep 0 at 0.
    offset = jnp.where(levels % 2 == 0, 0.5, 0.0).astype(z.dtype)
    shift = jnp.arctanh(offset / half_range)
    return jnp.tanh(z + shift) * half_range - offset

  @nn.compact
  def __call__(self, z: Float[Array, "B h w D"], *, train: bool) -> Quantized:
    """Quantises latents. `train` changes nothing here."""
    bounded = self._bound(z)
    integers = straight_through(bounded, jnp.round(bounded))
    half_width = along_last(np.asarray(self.levels) // 2, z)
    digits = jax.lax.stop_gradient(integers + half_width).astype(jnp.int32)
    tokens = jnp.sum(digits * along_last(self._basis(), digits), axis=-1)
    return Quantized(
      z_q=integers / half_width, tokens=tokens, loss=jnp.zeros(z.shape[0], z.dtype), losses={}
    )

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


class EMAQuantizer(nn.Module):
  """Vector quantisation with an EMA codebook (VQ-VAE, arXiv 1711.00937, appendix A.1).

  Collection "codebook": `codes [K, D]`, `count [K]` and `total [K, D]`, the exponential moving
  averages of how many latents each code got and of their sum; `codes = total / count`.

  Dead-code revival: a code whose moving count falls under `revival_threshold` is set to a latent
  drawn from the batch. All counts start at 0, so the first batch also initialises the codebook
  from data.

  Attributes:
    codebook_size: K.
    code_dim: D.
    commitment_weight: β on ‖z − sg(z_q)‖².
    codebook_decay: γ of the moving averages.
    revival_threshold: latents a step, under which a code counts as dead.
  """

  codebook_size: int
  code_dim: int
  commitment_weight: float
  codebook_decay: float
  revival_threshold: float

  def setup(self) -> None:
    k, d = self.codebook_size, self.code_dim
    self.codes = self.variable("codebook", "codes", jnp.zeros, (k, d), jnp.float32)
    self.count = self.variable("codebook", "count", jnp.zeros, (k,), jnp.float32)
    self.total = self.variable("codebook", "total", jnp.zeros, (k, d), jnp.float32)

  def __call__(self, z: Float[Array, "B h w D"], *, train: bool) -> Quantized:
    """Quantises latents; in training also moves the codebook (needs an rng "codebook")."""
    flat = jax.lax.stop_gradient(z).reshape(-1, self.code_dim).astype(jnp.float32)  # [B*h*w, D]
    if train and not self.is_initializing():
      # Revived before the lookup: a code is of use in the very step that re-seeds it.
      self._revive(flat)
    tokens = nearest(flat, self.codes.value)
    z_q = self.codes.value[tokens].reshape(z.shape).astype(z.dtype)
    if train and not self.is_initializing():
      self._update(flat, tokens)
    # β scales the term that pulls the encoder to the code. The other term of eq. 3, which would
    # pull the code to the encoder, is what the moving average does instead.
    commitment = jnp.mean(jnp.square(z - jax.lax.stop_gradient(z_q)), axis=(1, 2, 3))  # [B]
    return Quantized(
      z_q=straight_through(z, z_q),
      tokens=tokens.reshape(z.shape[:-1]),
      loss=self.commitment_weight * commitment,
      losses={"commitment": commitment},
    )

  def _revive(self, flat: Float[Array, "M D"]) -> None:
    key = self.make_rng("codebook")
    candidates = flat[jax.random.randint(key, (self.codebook_size,), 0, flat.shape[0])]
    dead = self.count.value < self.revival_threshold
    self.codes.value = jnp.where(dead[:, None], candidates, self.codes.value)
    # As if the code had held this one latent at the threshold rate: it lives long enough to win
    # latents of its own, or dies again.
    self.count.value = jnp.where(dead, self.revival_threshold, self.count.value)
    self.total.value = self.codes.value * self.count.value[:, None]

  def _update(self, flat: Float[Array, "M D"], tokens: Int[Array, " M"]) -> None:
    one_hot = jax.nn.one_hot(tokens, self.codebook_size, dtype=jnp.float32)  # [M, K]
    gamma = self.codebook_decay
    self.count.value = gamma * self.count.value + (1 - gamma) * one_hot.sum(axis=0)
    self.total.value = gamma * self.total.value + (1 - gamma) * (one_hot.T @ flat)
    self.codes.value = self.total.value / jnp.maximum(self.count.value, 1e-8)[:, None]

  def lookup(self, tokens: Int[Array, "..."]) -> Float[Array, "... D"]:
    """Codes of tokens."""
    return self.codes.value[tokens]


def nearest(z: Float[Array, "M D"], codes: Float[Array, "K D"]) -> Int[Array, " M"]:
  """Index of the nearest code by squared distance; ‖z‖² is the same for all codes, so left out."""
  scores = 2 * z @ codes.T - jnp.sum(jnp.square(codes), axis=-1)[None, :]
  return jnp.argmax(scores, axis=-1).astype(jnp.int32)
