"""How different two images look: the distance of their features, as in LPIPS without its weights.

Zhang et al., arXiv 1801.03924, equation 1 with w = 1, on EfficientNet-Lite0 instead of VGG.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxt2i.models.efficientnet import EfficientNetLite0, ImageFeatures
from jaxt2i.types import Array

# The last stages of strides 4, 8 and 16. Of pairs of changes with the same mean squared error, one
# that people hardly mind (light, contrast, tint, a shift by one pixel) and one that they do (blur,
# large pixels, noise), these rank 98 % rightly on photos of 64 pixels enlarged to `SIDE`; all five
# strides 98 %, strides 2 or 32 alone 82 and 90 %. Without the enlarging these rank 94 % rightly:
# the network was trained on photos of 224 pixels, and sees less in small ones.
STAGES = (1, 2, 4)
SIDE = 128
LEAST_SIDE = 32
POOLED = 112  # features that are pooled: those of the last of STAGES


def image_features(features: Any, image: Float[Array, "B H W 3"]) -> list[Array]:
  """Features `[B, h, w, C]` of images in [-1, 1] after each of `STAGES`; otherwise as `look`."""
  found = look(features, image)
  return [found.stages[i] for i in STAGES]


def look(features: Any, image: Float[Array, "B H W 3"]) -> ImageFeatures:
  """All features of images in [-1, 1].

  Images whose shorter side is under `SIDE` are first enlarged to it (bilinear); larger ones are
  looked at as they are.

  Args:
    features: parameters of `EfficientNetLite0`.
    image: to look at.

  Raises:
    ValueError: images under 32 pixels a side.
  """
  size = image.shape[1:3]
  if min(size) < LEAST_SIDE:
    raise ValueError(f"images of {size[0]}x{size[1]}, expected at least {LEAST_SIDE} pixels a side")
  if min(size) < SIDE:
    image = resize(image, SIDE)
  return EfficientNetLite0().apply({"params": features}, image)  # type: ignore[return-value]


def distance(a: list[Array], b: list[Array]) -> Float[Array, "B"]:
  """Mean squared difference of unit-length features over positions, summed over stages.

  Args:
    a: of `image_features`.
    b: of other images, as large.

  Returns:
    0 (the same) to 12 (4 a stage: opposite features everywhere).
  """
  distances = [
    jnp.mean(jnp.sum(jnp.square(_unit(x) - _unit(y)), axis=-1), axis=(1, 2))
    for x, y in zip(a, b, strict=True)
  ]
  return jnp.sum(jnp.stack(distances), axis=0)


def perceptual_distance(
  features: Any, a: Float[Array, "B H W 3"], b: Float[Array, "B H W 3"]
) -> Float[Array, "B"]:
  """`distance` of the `image_features` of two batches of images in [-1, 1]; errors as there."""
  return distance(image_features(features, a), image_features(features, b))


def pooled(features: list[Array]) -> Float[Array, "B 112"]:
  """One vector an image, to compare sets by: the mean over positions of the last stage.

  Not the 1,280 features before the classifier: a covariance of so many wants ten thousands of
  images (see `jaxt2i.evaluators.frechet`).
  """
  return jnp.mean(features[-1], axis=(1, 2))


def resize(image: Float[Array, "B H W 3"], side: int) -> Float[Array, "B h w 3"]:
  """Gives the shorter side so many pixels; bilinear, with antialiasing where it gets smaller."""
  b, height, width, c = image.shape
  scale = side / min(height, width)
  shape = (b, round(scale * height), round(scale * width), c)
  return jax.image.resize(image, shape, "bilinear")


def _unit(x: Float[Array, "B h w C"]) -> Float[Array, "B h w C"]:
  """Length 1 at each position; the small number keeps the gradient finite where all is 0."""
  return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-10)
