"""ImageNet's features and a picture to look at, for tests."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxt2i import pretrained
from jaxt2i.types import Variables


@functools.cache
def features() -> Variables:
  """Parameters of EfficientNet-Lite0, as installed."""
  with jax.ensure_compile_time_eval():  # the first call may be in a function that is traced
    return jax.tree.map(jnp.asarray, pretrained.efficientnet_lite0())


def waves(height: int, width: int) -> np.ndarray:
  """[1, H, W, 3] float32 in [-1, 1]: a picture that every machine computes alike."""
  y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
  image = 0.6 * np.sin(0.11 * (c + 1) * y + 0.3 * c) * np.cos(0.07 * x - 0.02 * y) + 0.4 * np.sin(
    0.9 * x + c
  )
  return image[None].astype(np.float32)
