"""Differentiable changes of images before a discriminator sees them (DiffAugment, 2006.10738)."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxt2i.errors import UsageError
from jaxt2i.types import Array, Key


@dataclasses.dataclass(frozen=True)
class DiffAugment:
  """Colour, then translation, then cutout; each image of its own draw (arXiv 2006.10738, §4).

  Real and fake images go through the same changes, and gradients pass back to the image: so a
  discriminator cannot learn few images by heart, and the generator does not learn the changes.
  At 0 each of them is off; the paper's are 1, 1/8 and 1/2.

  Attributes:
    color: brightness is moved by up to half of this, saturation is multiplied by a number within
      this of 1, contrast within half of this; from 0 to 1.
    translation: share of a side by which an image is moved at most, each way; from 0 to 1.
    cutout: side of the square that is blanked, as a share of the image's; from 0 to 1.

  Raises:
    UsageError: for a number outside of its range.
  """

  color: float
  translation: float
  cutout: float

  def __post_init__(self) -> None:
    for name, value in dataclasses.asdict(self).items():
      if not 0 <= value <= 1:
        raise UsageError(f"augment.{name} is {value}: must be from 0 to 1.")

  def __call__(self, key: Key, images: Float[Array, "B H W 3"]) -> Float[Array, "B H W 3"]:
    """Changed images around [-1, 1]; what is moved in or blanked is 0, grey."""
    return jax.vmap(self._one)(jax.random.split(key, images.shape[0]), images)

  def _one(self, key: Key, image: Float[Array, "H W 3"]) -> Float[Array, "H W 3"]:
    color_key, translation_key, cutout_key = jax.random.split(key, 3)
    if self.color:
      image = _recolored(color_key, image, self.color)
    if self.translation:
      image = _translated(translation_key, image, self.translation)
    if self.cutout:
      image = _cut(cutout_key, image, self.cutout)
    return image


def _recolored(key: Key, image: Float[Array, "H W 3"], strength: float) -> Float[Array, "H W 3"]:
  """Brightness, then saturation, then contrast, as in the authors' code."""
  draws = strength * jax.random.uniform(key, (3,), image.dtype, -1, 1)
  image = image + draws[0] / 2
  grey = jnp.mean(image, axis=2, keepdims=True)
  image = grey + (1 + draws[1]) * (image - grey)
  mean = jnp.mean(image)
  return mean + (1 + draws[2] / 2) * (image - mean)


def _translated(key: Key, image: Float[Array, "H W 3"], share: float) -> Float[Array, "H W 3"]:
  """Moves by whole pixels, each axis of its own draw."""
  rows, columns = (round(share * side) for side in image.shape[:2])
  padded = jnp.pad(image, ((rows, rows), (columns, columns), (0, 0)))
  row_key, column_key = jax.random.split(key)
  row = jax.random.randint(row_key, (), 0, 2 * rows + 1)
  column = jax.random.randint(column_key, (), 0, 2 * columns + 1)
  return jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)


def _cut(key: Key, image: Float[Array, "H W 3"], share: float) -> Float[Array, "H W 3"]:
  """Blanks a square, whose middle lies anywhere in the image: at the edge less of it is blank."""
  inside = []
  for axis_key, side in zip(jax.random.split(key), image.shape[:2], strict=True):
    size = round(share * side)
    # An even square has its middle between two pixels, one place more.
    first = jax.random.randint(axis_key, (), 0, side + 1 - size % 2) - size // 2
    at = jnp.arange(side)
    inside.append((first <= at) & (at < first + size))
  square = inside[0][:, None] & inside[1][None, :]
  return jnp.where(square[..., None], jnp.zeros((), image.dtype), image)
