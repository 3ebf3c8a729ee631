"""EfficientNet-Lite0, for its features: a fixed network that looks at images and learns nothing.

EfficientNet-B0 (arXiv 1905.11946, table 1) without squeeze-and-excite and with ReLU6 for swish, as
its authors publish it for small devices. Batch normalisation is folded into the kernels and biases
that it follows, so a convolution is all there is. The weights: `jaxt2i.pretrained`.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Float

from jaxt2i.models.dense import Dense, rows_dot
from jaxt2i.types import Array

# Of each stage: blocks, channels, kernel, stride of the first block, expansion.
STAGES = (
  (1, 16, 3, 1, 1),
  (2, 24, 3, 2, 6),
  (2, 40, 5, 2, 6),
  (3, 80, 3, 2, 6),
  (3, 112, 5, 1, 6),
  (4, 192, 5, 2, 6),
  (1, 320, 3, 1, 6),
)
STEM, HEAD = 32, 1280


class ImageFeatures(struct.PyTreeNode):
  """What the network makes of images."""

  stages: Any  # 7 arrays [B, h, w, C]: strides 2, 4, 8, 16, 16, 32, 32; C as in STAGES
  pooled: Any  # [B, 1280] in [0, 6], the mean over positions of the last features


class EfficientNetLite0(nn.Module):
  """Features of images in [-1, 1]; 224 pixels a side are what it was trained on."""

  @nn.compact
  def __call__(self, x: Float[Array, "B H W 3"]) -> ImageFeatures:
    """Features after each stage, and pooled ones. What a caller leaves unused costs nothing."""
    x = (127.5 * x + 0.5) / 128  # (pixel − 127) / 128, as in training
    x = relu6(Stem(name="stem")(x))
    stages = []
    for i, (blocks, channels, kernel, stride, expansion) in enumerate(STAGES):
      for j in range(blocks):
        block = InvertedResidual(
          channels, kernel, stride if j == 0 else 1, expansion, name=f"stage{i}_block{j}"
        )
        x = block(x)
      stages.append(x)
    x = relu6(Dense(HEAD, name="head")(x))
    return ImageFeatures(stages=tuple(stages), pooled=jnp.mean(x, axis=(1, 2)))


class Stem(nn.Module):
  """Convolution of 3×3 pixels with stride 2, padded as SAME, with the parameters of nn.Conv."""

  @nn.compact
  def __call__(self, x: Float[Array, "B H W 3"]) -> Float[Array, "B h w D"]:
    """As one product of matrices; XLA's convolution takes a CPU four times as long."""
    kernel = self.param("kernel", nn.initializers.lecun_normal(), (3, 3, 3, STEM))
    bias = self.param("bias", nn.initializers.zeros, (STEM,))
    rows = kernel.reshape(-1, STEM)
    return rows_dot(windows(x), rows, (((x.ndim - 1,), (0,)), ((), ()))) + bias[None, None, None]


class InvertedResidual(nn.Module):
  """Widens, looks at a neighbourhood channel by channel, narrows (arXiv 1801.04381, table 1).

  Attributes:
    channels: of the output; where the shape is that of the input, the input is added.
    kernel: side of the neighbourhood.
    stride: of the output.
    expansion: how many times as wide it is inside.
  """

  channels: int
  kernel: int
  stride: int
  expansion: int

  @nn.compact
  def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B h w D"]:
    """The output has no activation: it is linear in the last convolution."""
    y = x
    if self.expansion > 1:
      y = relu6(Dense(self.expansion * x.shape[-1], name="expand")(y))
    shape = (self.kernel, self.kernel, y.shape[-1])
    kernel = self.param("depthwise_kernel", nn.initializers.lecun_normal(), shape)
    bias = self.param("depthwise_bias", nn.initializers.zeros, shape[-1:])
    y = relu6(depthwise(y, kernel, self.stride) + bias[None, None, None])
    y = Dense(self.channels, name="project")(y)
    return x + y if x.shape == y.shape else y


def relu6(x: Float[Array, "..."]) -> Float[Array, "..."]:
  """min(max(x, 0), 6)."""
  return jnp.clip(x, 0, 6)


def windows(x: Float[Array, "B H W C"]) -> Float[Array, "B h w 9*C"]:
  """Squares of 3×3 pixels, row by row, around every second position, padded as SAME."""
  # Columns in pairs: slices of every second column would copy 3 numbers at a time.
  b, *sides, c = x.shape
  rows, columns = (-(-side // 2) for side in sides)
  top, left = (_same(side, 3, 2)[0] for side in sides)
  below, right = 2 * rows + 1 - sides[0] - top, 2 * columns + 2 - sides[1] - left
  padded = jnp.pad(x, ((0, 0), (top, below), (left, right), (0, 0)))
  pairs = padded.reshape(b, 2 * rows + 1, columns + 1, 2 * c)
  triples = jnp.concatenate([pairs[:, :, :-1], pairs[:, :, 1:, :c]], axis=-1)
  return jnp.concatenate([triples[:, i : i + 2 * rows - 1 : 2] for i in range(3)], axis=-1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise(
  x: Float[Array, "B H W C"], kernel: Float[Array, "k k C"], stride: int
) -> Float[Array, "B h w C"]:
  """Convolution of each channel by itself, padded as SAME: the odd pixel of padding goes last.

  A sum of shifted images. XLA has an operation for this, which on a CPU takes 15 to 100 times as
  long; and what it makes of this sum's gradient takes several times as long as the rule below.
  """
  return _padded_sum(x, kernel, stride)


def _depthwise_forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
  return depthwise(x, kernel, stride), (x, kernel)


def _depthwise_backward(
  stride: int, inputs: tuple[Array, Array], g: Float[Array, "B h w C"]
) -> tuple[Array, Array]:
  """The gradient of a correlation is one with the kernel turned round, zeros between strides."""
  x, kernel = inputs
  k = kernel.shape[0]
  pads = []
  for side, out in zip(x.shape[1:3], g.shape[1:3], strict=True):
    before = _same(side, k, stride)[0]
    spread = stride * (out - 1) + 1
    pads.append((k - 1 - before, side + before - spread, stride - 1))
  spread_out = jax.lax.pad(g, jnp.zeros((), g.dtype), ((0, 0, 0), *pads, (0, 0, 0)))
  _, of_kernel = jax.vjp(lambda kernel: _padded_sum(x, kernel, stride), kernel)
  return _correlate(spread_out, kernel[::-1, ::-1], 1), *of_kernel(g)


depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def _padded_sum(x: Array, kernel: Array, stride: int) -> Array:
  pads = [_same(side, kernel.shape[0], stride) for side in x.shape[1:3]]
  return _correlate(jnp.pad(x, ((0, 0), *pads, (0, 0))), kernel, stride)


def _correlate(
  x: Float[Array, "B H W C"], kernel: Float[Array, "k k C"], stride: int
) -> Float[Array, "B h w C"]:
  """Without padding."""
  k = kernel.shape[0]
  rows, columns = (side - k + 1 for side in x.shape[1:3])
  terms = [
    x[:, i : i + rows : stride, j : j + columns : stride] * kernel[None, None, None, i, j]
    for i in range(k)
    for j in range(k)
  ]
  return functools.reduce(jnp.add, terms)


def _same(side: int, kernel: int, stride: int) -> tuple[int, int]:
  """Zeros before and after a side, so that ceil(side / stride) positions come out."""
  pad = max(0, (-(-side // stride) - 1) * stride + kernel - side)
  return pad // 2, pad - pad // 2
