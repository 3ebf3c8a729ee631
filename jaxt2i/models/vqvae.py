"""The image tokenizer: image → grid of tokens → image (VQ-VAE, arXiv 1711.00937)."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax import struct
from jaxtyping import Float, Int, UInt8

from jaxt2i.models.dense import Dense
from jaxt2i.models.quantizers import Quantized, Quantizer
from jaxt2i.types import Array


class VQVAEOutput(struct.PyTreeNode):
  """A reconstruction and how it came about."""

  image: Any  # [B, H, W, 3] float32 reconstruction, around [-1, 1]
  quantized: Quantized


class VQVAE(nn.Module):
  """Encoder, quantizer, decoder.

  Attributes:
    encoder: module `[B, H, W, 3] -> [B, h, w, features]`.
    quantizer: between them.
    decoder: module `[B, h, w, code_dim] -> [B, H, W, 3]`.
  """

  encoder: nn.Module
  quantizer: Quantizer
  decoder: nn.Module

  @property
  def last_layer(self) -> tuple[str, ...]:
    """Path of the kernel that makes the pixels: every decoder calls its last layer "stem"."""
    return "decoder", "stem", "kernel"

  def setup(self) -> None:
    # Latents begin near zero. At unit variance FSQ's tanh begins half saturated and most of its
    # levels are never used again, and a codebook runs after latents that move in large steps.
    small = nn.initializers.variance_scaling(0.1, "fan_in", "truncated_normal")
    self.to_code = Dense(self.quantizer.latent_dim, kernel_init=small)

  def __call__(self, x: Float[Array, "B H W 3"], *, train: bool) -> VQVAEOutput:
    """Reconstructs images in [-1, 1]."""
    quantized = self.quantizer(self._latents(x), train=train)
    # Float32, whatever the networks compute in: what follows are losses.
    image = self.decoder(quantized.z_q).astype(jnp.float32)
    return VQVAEOutput(image=image, quantized=quantized)

  def encode(self, image: UInt8[Array, "B H W 3"]) -> Int[Array, "B h w"]:
    """Tokens of 8-bit images."""
    return self.quantizer(self._latents(to_float(image)), train=False).tokens

  def decode(self, tokens: Int[Array, "B h w"]) -> UInt8[Array, "B H W 3"]:
    """8-bit images of tokens."""
    return to_uint8(self.decoder(self.quantizer.lookup(tokens)).astype(jnp.float32))

  def _latents(self, x: Float[Array, "B H W 3"]) -> Float[Array, "B h w D"]:
    """Float32: borders between codes, distances and averages are fine."""
    return self.to_code(self.encoder(x)).astype(jnp.float32)


def to_float(image: UInt8[Array, "..."]) -> Float[Array, "..."]:
  """0..255 to [-1, 1]."""
  return image.astype(jnp.float32) / 127.5 - 1.0


def to_uint8(image: Float[Array, "..."]) -> UInt8[Array, "..."]:
  """[-1, 1] to 0..255, clipped and rounded."""
  return jnp.clip(jnp.round((image + 1.0) * 127.5), 0, 255).astype(jnp.uint8)
