"""InceptionV3 as the Fréchet inception distance uses it: a fixed network, for its pooled features.

Inception-v3 (arXiv 1512.00567) as TensorFlow published it on 2015-12-05 and FID (arXiv 1706.08500)
looks through it. What sets it apart from later editions: averages of 3×3 positions leave padding
out, the last block takes maxima instead, and images are resized the way TensorFlow 1 did. Batch
normalisation is folded into the kernels and biases that it follows. Names of layers are those of
PyTorch's port of it. The weights: `jaxt2i.inception`.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from jaxt2i.types import Array

SIDE, POOLED = 299, 2048


class InceptionV3(nn.Module):
  """Pooled features of images that `prepared` has made."""

  @nn.compact
  def __call__(self, x: Float[Array, "B 299 299 3"]) -> Float[Array, "B 2048"]:
    """Means over positions of the last block (`pool3`), 0 or more. Args: x in [-1, 1]."""
    x = _conv(x, "Conv2d_1a_3x3", 32, (3, 3), strides=2)
    x = _conv(x, "Conv2d_2a_3x3", 32, (3, 3), padding="VALID")
    x = _conv(x, "Conv2d_2b_3x3", 64, (3, 3))
    x = _halved(x)  # [B, 73, 73, 64]
    x = _conv(x, "Conv2d_3b_1x1", 80)
    x = _conv(x, "Conv2d_4a_3x3", 192, (3, 3), padding="VALID")
    x = _halved(x)  # [B, 35, 35, 192]
    for letter, pooled in zip("bcd", (32, 64, 64), strict=True):
      x = BlockA(pooled, name=f"Mixed_5{letter}")(x)
    x = BlockB(name="Mixed_6a")(x)  # [B, 17, 17, 768]
    for letter, inner in zip("bcde", (128, 160, 160, 192), strict=True):
      x = BlockC(inner, name=f"Mixed_6{letter}")(x)
    x = BlockD(name="Mixed_7a")(x)  # [B, 8, 8, 1280]
    x = BlockE(pool=_average, name="Mixed_7b")(x)
    x = BlockE(pool=_largest, name="Mixed_7c")(x)
    return jnp.mean(x, axis=(1, 2))


class BlockA(nn.Module):
  """One 5×5 and two 3×3 convolutions side by side. Attribute: channels after the pooling."""

  pooled: int

  @nn.compact
  def __call__(self, x: Float[Array, "B h w C"]) -> Float[Array, "B h w D"]:
    """Four branches, one after another in the channels."""
    narrow = _conv(x, "branch1x1", 64)
    five = _conv(_conv(x, "branch5x5_1", 48), "branch5x5_2", 64, (5, 5))
    twice = _conv(_conv(x, "branch3x3dbl_1", 64), "branch3x3dbl_2", 96, (3, 3))
    twice = _conv(twice, "branch3x3dbl_3", 96, (3, 3))
    pool = _conv(_average(x), "branch_pool", self.pooled)
    return _side_by_side(narrow, five, twice, pool)


class BlockB(nn.Module):
  """Halves the sides: stride 2 in each branch."""

  @nn.compact
  def __call__(self, x: Float[Array, "B h w C"]) -> Float[Array, "B H W D"]:
    """Three branches, one after another in the channels."""
    three = _conv(x, "branch3x3", 384, (3, 3), strides=2)
    twice = _conv(_conv(x, "branch3x3dbl_1", 64), "branch3x3dbl_2", 96, (3, 3))
    twice = _conv(twice, "branch3x3dbl_3", 96, (3, 3), strides=2)
    return _side_by_side(three, twice, _halved(x))


class BlockC(nn.Module):
  """7×7 convolutions as 1×7 and 7×1. Attribute: channels between those."""

  inner: int

  @nn.compact
  def __call__(self, x: Float[Array, "B h w C"]) -> Float[Array, "B h w D"]:
    """Four branches, one after another in the channels."""
    row, column = (1, 7), (7, 1)
    seven = _conv(_conv(x, "branch7x7_1", self.inner), "branch7x7_2", self.inner, row)
    seven = _conv(seven, "branch7x7_3", 192, column)
    twice = _conv(x, "branch7x7dbl_1", self.inner)
    for number, kernel in zip("234", (column, row, column), strict=True):
      twice = _conv(twice, f"branch7x7dbl_{number}", self.inner, kernel)
    twice = _conv(twice, "branch7x7dbl_5", 192, row)
    pool = _conv(_average(x), "branch_pool", 192)
    return _side_by_side(_conv(x, "branch1x1", 192), seven, twice, pool)


class BlockD(nn.Module):
  """Halves the sides, as `BlockB`, with a 7×7 convolution in one branch."""

  @nn.compact
  def __call__(self, x: Float[Array, "B h w C"]) -> Float[Array, "B H W D"]:
    """Three branches, one after another in the channels."""
    three = _conv(_conv(x, "branch3x3_1", 192), "branch3x3_2", 320, (3, 3), strides=2)
    seven = _conv(_conv(x, "branch7x7x3_1", 192), "branch7x7x3_2", 192, (1, 7))
    seven = _conv(seven, "branch7x7x3_3", 192, (7, 1))
    seven = _conv(seven, "branch7x7x3_4", 192, (3, 3), strides=2)
    return _side_by_side(three, seven, _halved(x))


class BlockE(nn.Module):
  """Branches that end in a 1×3 and a 3×1 convolution of the same features. Attribute: the pooling.

  The published network averages in the first of its two such blocks and takes maxima in the second.
  """

  pool: Callable[[Array], Array]

  @nn.compact
  def __call__(self, x: Float[Array, "B h w C"]) -> Float[Array, "B h w 2048"]:
    """Six branches, one after another in the channels."""
    row, column = (1, 3), (3, 1)
    once = _conv(x, "branch3x3_1", 384)
    twice = _conv(_conv(x, "branch3x3dbl_1", 448), "branch3x3dbl_2", 384, (3, 3))
    return _side_by_side(
      _conv(x, "branch1x1", 320),
      _conv(once, "branch3x3_2a", 384, row),
      _conv(once, "branch3x3_2b", 384, column),
      _conv(twice, "branch3x3dbl_3a", 384, row),
      _conv(twice, "branch3x3dbl_3b", 384, column),
      _conv(self.pool(x), "branch_pool", 192),
    )


def prepared(images: UInt8[Array, "B H W 3"]) -> Float[Array, "B 299 299 3"]:
  """Images as the network takes them: `resized` to 299×299, then (x − 128) / 128."""
  return (resized(images.astype(jnp.float32), SIDE) - 128) / 128


def resized(x: Float[Array, "B H W C"], side: int) -> Float[Array, "B side side C"]:
  """Bilinear interpolation as TensorFlow 1's `resize_bilinear` with `align_corners=False`.

  Output i lies at input i · H / side, not at pixels' centres as later versions have it, and there
  is no antialiasing: where an image gets smaller, pixels between are skipped. Features that are to
  be those of published FIDs need exactly this. The aspect ratio is not kept.
  """
  for axis in (2, 1):  # columns first, as in the original: rounding is the same
    last = x.shape[axis] - 1
    at = np.arange(side, dtype=np.float32) * np.float32((last + 1) / side)
    low = np.minimum(at.astype(np.int32), last)
    high = np.minimum(low + 1, last)
    share = (at - low.astype(np.float32)).reshape([-1 if i == axis else 1 for i in range(4)])
    below, above = jnp.take(x, low, axis), jnp.take(x, high, axis)
    x = below + (above - below) * share
  return x


def _conv(
  x: Array,
  name: str,
  channels: int,
  kernel: Sequence[int] = (1, 1),
  *,
  strides: int = 1,
  padding: str | None = None,
) -> Array:
  """Convolution and ReLU; with a stride there is no padding."""
  padding = padding or ("SAME" if strides == 1 else "VALID")
  return nn.relu(nn.Conv(channels, kernel, strides=strides, padding=padding, name=name)(x))


def _halved(x: Array) -> Array:
  return nn.max_pool(x, (3, 3), (2, 2))


def _average(x: Array) -> Array:
  """Of 3×3 positions; at the border of those that there are."""
  return nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)


def _largest(x: Array) -> Array:
  return nn.max_pool(x, (3, 3), padding="SAME")


def _side_by_side(*branches: Array) -> Array:
  return jnp.concatenate(branches, axis=-1)
