"""Encoders and decoders of the image tokenizer: two convolutional kinds and ViT.

All map images `[B, H, W, 3]` around [-1, 1] to features `[B, h, w, D]` or back.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from jaxt2i.models.blocks import (
  EncoderBlock,
  ResBlock,
  ThriftyResBlock,
  depth_to_space,
  enlarge,
  space_to_depth,
)
from jaxt2i.models.dense import Dense
from jaxt2i.models.precision import Conv, LayerNorm, RMSNorm
from jaxt2i.types import Array


class ConvEncoder(nn.Module):
  """A space-to-depth stem, then few wide levels of residual blocks: fast on CPU and TPU.

  The stem replaces the full-resolution convolutions, which cost most and learn least: at a
  quarter of the resolution one 3×3 convolution already sees 12×12 pixels.

  Attributes:
    channels: one entry a level; each further level halves the resolution.
    blocks: residual blocks a level.
    stem: side of the square of pixels that the stem folds into channels.
  """

  channels: tuple[int, ...]
  blocks: int
  stem: int

  @property
  def downsample(self) -> int:
    return self.stem * 2 ** (len(self.channels) - 1)

  @nn.compact
  def __call__(self, x: Float[Array, "B H W 3"]) -> Float[Array, "B h w D"]:
    """Image to features of the last level."""
    x = Conv(self.channels[0], (3, 3), name="stem")(space_to_depth(x, self.stem))
    for level, channels in enumerate(self.channels):
      if level:
        x = Dense(channels, name=f"down{level}")(space_to_depth(x, 2))
      for i in range(self.blocks):
        x = ResBlock(name=f"level{level}_block{i}")(x)
    return LayerNorm(name="norm")(x)


class ConvDecoder(nn.Module):
  """`ConvEncoder` in reverse; same attributes."""

  channels: tuple[int, ...]
  blocks: int
  stem: int

  @nn.compact
  def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B H W 3"]:
    """Codes to an image."""
    x = Conv(self.channels[-1], (3, 3), name="in")(x)
    for level in reversed(range(len(self.channels))):
      for i in range(self.blocks):
        x = ResBlock(name=f"level{level}_block{i}")(x)
      if level:
        x = depth_to_space(Dense(4 * self.channels[level - 1], name=f"up{level}")(x), 2)
    # 3×3, not 1×1: squares of `stem` pixels that know nothing of each other show as a grid.
    x = nn.silu(LayerNorm(name="norm")(x))
    return depth_to_space(Conv(3 * self.stem**2, (3, 3), name="stem")(x), self.stem)


class VQGANEncoder(nn.Module):
  """Residual blocks at every resolution from full on (VQGAN, arXiv 2012.09841, table 7).

  Three departures from the paper. A convolution between levels changes the channels, so that no
  residual block has to project its input. LayerNorm over the channels of a pixel stands for
  GroupNorm over the whole image, and there is no attention at the lowest resolution: features
  depend on a neighbourhood alone, and the same weights take images of any size.

  Attributes:
    channels: one entry a level, the paper's base width times its multipliers; each further level
      halves the resolution.
    blocks: residual blocks a level.
  """

  channels: tuple[int, ...]
  blocks: int

  @property
  def downsample(self) -> int:
    return 2 ** (len(self.channels) - 1)

  @nn.compact
  def __call__(self, x: Float[Array, "B H W 3"]) -> Float[Array, "B h w D"]:
    """Image to features of the last level."""
    x = Conv(self.channels[0], (3, 3), name="stem")(x)
    for level, channels in enumerate(self.channels):
      if level:
        x = Conv(channels, (3, 3), strides=2, name=f"down{level}")(x)
      for i in range(self.blocks):
        x = ThriftyResBlock(name=f"level{level}_block{i}")(x)
    return LayerNorm(name="norm")(x)


class VQGANDecoder(nn.Module):
  """`VQGANEncoder` in reverse; same attributes. Pixels are doubled, then smoothed."""

  channels: tuple[int, ...]
  blocks: int

  @nn.compact
  def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B H W 3"]:
    """Codes to an image."""
    x = Conv(self.channels[-1], (3, 3), name="in")(x)
    for level in reversed(range(len(self.channels))):
      for i in range(self.blocks):
        x = ThriftyResBlock(name=f"level{level}_block{i}")(x)
      if level:
        x = Conv(self.channels[level - 1], (3, 3), name=f"up{level}")(enlarge(x, 2))
    return Conv(3, (3, 3), name="stem")(nn.silu(LayerNorm(name="norm")(x)))


class ViTEncoder(nn.Module):
  """Patches through a transformer (arXiv 2010.11929, used as in ViT-VQGAN, arXiv 2110.04627).

  Attributes:
    patch: side of a patch in pixels; each patch becomes one token.
    width: features a patch.
    layers: transformer blocks.
    heads: attention heads.
  """

  patch: int
  width: int
  layers: int
  heads: int

  @property
  def downsample(self) -> int:
    return self.patch

  @nn.compact
  def __call__(self, x: Float[Array, "B H W 3"]) -> Float[Array, "B h w D"]:
    """Image to features."""
    x = Dense(self.width, name="stem")(space_to_depth(x, self.patch))
    return _transform(self, x)


class ViTDecoder(nn.Module):
  """`ViTEncoder` in reverse; same attributes."""

  patch: int
  width: int
  layers: int
  heads: int

  @nn.compact
  def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B H W 3"]:
    """Codes to an image."""
    x = _transform(self, Dense(self.width, name="in")(x))
    return depth_to_space(Dense(3 * self.patch**2, name="stem")(x), self.patch)


def _transform(module: ViTEncoder | ViTDecoder, x: Float[Array, "B h w D"]) -> Array:
  """Adds learned positions, then runs the blocks over the flattened grid."""
  _, h, w, d = x.shape
  x = x + module.param("positions", nn.initializers.normal(0.02), (1, h, w, d))
  x = x.reshape(-1, h * w, d)
  everywhere = jnp.ones((1, 1, h * w), bool)
  for i in range(module.layers):
    x = EncoderBlock(module.heads, parent=module, name=f"block{i}")(x, everywhere)
  return RMSNorm(parent=module, name="norm")(x).reshape(-1, h, w, d)
