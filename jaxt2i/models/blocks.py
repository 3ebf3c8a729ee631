"""Parts that the networks share: rearrangements, positions, residual and transformer blocks."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Bool, Float

from jaxt2i.models.attention import attend
from jaxt2i.models.dense import Dense
from jaxt2i.models.precision import Conv, LayerNorm, RMSNorm
from jaxt2i.types import Array


def space_to_depth(x: Float[Array, "B H W C"], factor: int) -> Float[Array, "B h w D"]:
  """Moves each `factor × factor` square of pixels into channels."""
  b, h, w, c = x.shape
  x = x.reshape(b, h // factor, factor, w // factor, factor, c)
  return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // factor, w // factor, factor * factor * c)


def depth_to_space(x: Float[Array, "B h w D"], factor: int) -> Float[Array, "B H W C"]:
  """The inverse of `space_to_depth`."""
  b, h, w, d = x.shape
  c = d // (factor * factor)
  x = x.reshape(b, h, w, factor, factor, c)
  return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h * factor, w * factor, c)


def enlarge(x: Float[Array, "B h w C"], factor: int) -> Float[Array, "B H W C"]:
  """Repeats each pixel `factor × factor` times: nearest-neighbour upsampling."""
  b, h, w, c = x.shape
  x = jnp.broadcast_to(x[:, :, None, :, None], (b, h, factor, w, factor, c))
  return x.reshape(b, h * factor, w * factor, c)


class ResBlock(nn.Module):
  """Pre-norm residual block of two 3×3 convolutions; keeps shape and channels.

  The last convolution starts at zero, so that every block begins as the identity.
  """

  @nn.compact
  def __call__(self, x: Float[Array, "B h w C"]) -> Float[Array, "B h w C"]:
    """Adds a correction to x."""
    channels = x.shape[-1]
    y = nn.silu(LayerNorm(use_bias=False, name="norm1")(x))
    y = checkpoint_name(Conv(channels, (3, 3), name="conv1")(y), "convolution")
    y = nn.silu(LayerNorm(use_bias=False, name="norm2")(y))
    y = Conv(channels, (3, 3), kernel_init=nn.initializers.zeros, name="conv2")(y)
    return x + y


# Keeps its input and the first convolution for the backward pass, and computes the rest once more:
# normalisation and SiLU cost little time, but at the full resolution of an image much memory.
ThriftyResBlock = nn.remat(
  ResBlock, policy=jax.checkpoint_policies.save_only_these_names("convolution")
)


def grid_angles(grid: tuple[int, int], size: int) -> Float[Array, "N F"]:
  """Angles of each position of a grid, in raster order, for `rotated` heads of `size` features.

  The first half of the F = size / 2 angles grows with the row, the second with the column; by 1 a
  step, and ever slower from angle to angle (RoFormer, arXiv 2104.09864, eq. 15, for two axes).
  """
  h, w = grid
  frequencies = 100.0 ** -(jnp.arange(size // 4) / (size // 4))
  rows = jnp.arange(h, dtype=jnp.float32)[:, None, None] * frequencies[None, None]
  columns = jnp.arange(w, dtype=jnp.float32)[None, :, None] * frequencies[None, None]
  both = [jnp.broadcast_to(x, (h, w, size // 4)) for x in (rows, columns)]
  return jnp.concatenate(both, axis=-1).reshape(h * w, -1)


def rotated(
  x: Float[Array, "B N heads D"], angles: Float[Array, "#B N F"]
) -> Float[Array, "B N heads D"]:
  """Turns each pair of features (i, i + D/2) of every head by an angle."""
  cos, sin = (f(angles)[:, :, None].astype(x.dtype) for f in (jnp.cos, jnp.sin))
  a, b = jnp.split(x, 2, axis=-1)
  return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def split_heads(x: Float[Array, "... width"], heads: int) -> Float[Array, "... heads D"]:
  """Cuts the features into heads."""
  return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)


def like_embeddings(width: int) -> nn.initializers.Initializer:
  """For positions: as large as `nn.Embed` starts.

  Smaller ones drown in the words, and which adjective belongs to which noun is learnt late.
  """
  return nn.initializers.normal(width**-0.5)


class MLP(nn.Module):
  """Two dense layers with a GELU between, four times as wide inside."""

  @nn.compact
  def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
    """Position-wise."""
    width = x.shape[-1]
    y = nn.gelu(Dense(4 * width, use_bias=False, name="up")(x))
    return Dense(width, use_bias=False, name="down")(y)


class GatedMLP(nn.Module):
  """SwiGLU (arXiv 2002.05202): the product of two dense layers, one of them through SiLU.

  As many parameters as `MLP` has, to the next multiple of 8 features inside.
  """

  @nn.compact
  def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
    """Position-wise."""
    width = x.shape[-1]
    inside = -(-8 * width // 24) * 8
    gate, y = jnp.split(Dense(2 * inside, use_bias=False, name="up")(x), 2, axis=-1)
    return Dense(width, use_bias=False, name="down")(nn.silu(gate) * y)


class EncoderBlock(nn.Module):
  """Pre-norm transformer block that looks both ways."""

  heads: int

  @nn.compact
  def __call__(
    self, x: Float[Array, "B N D"], mask: Bool[Array, "#B #N N"]
  ) -> Float[Array, "B N D"]:
    """Self-attention, then the MLP."""
    width = x.shape[-1]
    y = RMSNorm(name="norm1")(x)
    qkv = Dense(3 * width, use_bias=False, name="qkv")(y)
    q, k, v = (split_heads(part, self.heads) for part in jnp.split(qkv, 3, axis=-1))
    x = x + Dense(width, use_bias=False, name="out")(attend(q, k, v, mask))
    return x + MLP(name="mlp")(RMSNorm(name="norm2")(x))
