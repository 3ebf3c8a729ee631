"""Images and captions as points on one sphere: what belongs together lies near (CLIP).

Radford et al., arXiv 2103.00020, in small: learnt on the data set itself, from nothing or from the
features of networks that others have trained.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Float, UInt8

from jaxt2i.models.dense import Dense
from jaxt2i.models.efficientnet import EfficientNetLite0
from jaxt2i.models.perceptual import look
from jaxt2i.models.vqvae import to_float
from jaxt2i.types import FROZEN, Array, Text

START_SCALE = 1 / 0.07  # as CLIP starts
MAX_SCALE = 100.0  # beyond, CLIP's training became unstable (§2.5)
_STAGES = (2, 4, 6)  # of EfficientNet, the last of strides 8, 16 and 32


class Points(struct.PyTreeNode):
  """A batch on the sphere."""

  images: Any  # [B, D] float32, length 1
  texts: Any  # [B, D] float32, length 1
  scale: Any  # [] float32 of their products, to logits


class DualEncoder(nn.Module):
  """An encoder of images and one of captions, each with a projection to the sphere.

  Attributes:
    image_encoder: module `[B, H, W, 3] -> [B, h, w, features]`; what counts is their mean over
      positions.
    text_encoder: module of `jaxt2i.models.text`.
    dim: of the sphere's points.
  """

  image_encoder: nn.Module
  text_encoder: nn.Module
  dim: int

  def setup(self) -> None:
    self.image_projection = Dense(self.dim, use_bias=False)
    self.text_projection = Dense(self.dim, use_bias=False)
    start = nn.initializers.constant(jnp.log(START_SCALE))
    self.log_scale = self.param("log_scale", start, ())

  def __call__(self, image: UInt8[Array, "B H W 3"], text: Text) -> Points:
    """Both of a batch."""
    scale = jnp.minimum(jnp.exp(self.log_scale.astype(jnp.float32)), MAX_SCALE)
    return Points(images=self.images(image), texts=self.texts(text), scale=scale)

  def images(self, image: UInt8[Array, "B H W 3"]) -> Float[Array, "B D"]:
    """8-bit images as points."""
    features = self.image_encoder(to_float(image))
    return _unit(self.image_projection(jnp.mean(features, axis=(1, 2))))

  def texts(self, text: Text) -> Float[Array, "B D"]:
    """Captions as points, by the slot of the context that no word has."""
    return _unit(self.text_projection(self.text_encoder(text).features[:, 0]))


class PretrainedImageEncoder(nn.Module):
  """What EfficientNet-Lite0 sees in images as a whole, coarse and fine; nothing is learnt in it.

  Features of three strides and the last ones of all, means over positions, each group brought to
  mean 0 and variance 1. The network's parameters are the collection "frozen": zeros after `init`,
  to be replaced by those of `jaxt2i.pretrained`.
  """

  @nn.compact
  def __call__(self, image: Float[Array, "B H W 3"]) -> Float[Array, "B 1 1 F"]:
    """Of images in [-1, 1]."""
    found = look(self.variable(FROZEN, "efficientnet", _zeros, image).value, image)
    groups = [jnp.mean(found.stages[i], axis=(1, 2)) for i in _STAGES] + [found.pooled]
    features = jnp.concatenate([jax.nn.standardize(x, axis=-1) for x in groups], axis=-1)
    return features[:, None, None]


def _zeros(image: Float[Array, "B H W 3"]) -> Mapping[str, Any]:
  """Parameters of the size of EfficientNet-Lite0's."""
  init = lambda: EfficientNetLite0().init(jax.random.key(0), image)["params"]
  return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(init))


def _unit(x: Float[Array, "B D"]) -> Float[Array, "B D"]:
  x = x.astype(jnp.float32)  # products of points become logits, times 100 at most
  return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-12)
