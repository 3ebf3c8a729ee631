"""Random changes of training images that leave what a caption says as it is: NumPy, one image."""

import dataclasses
import math

import numpy as np
from jaxtyping import UInt8

from jaxt2i.errors import UserError

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """Flip, then shift, then colour jitter; picklable. All off, an image passes through untouched.

  A flip swaps left and right: where captions matter, see `data.mirror`.

  Attributes:
    flip: mirrors every other image, on average, from left to right.
    crop: pixels by which an image is shifted at most in each direction, 0 or more; what comes in
      repeats the edge.
    jitter: brightness, contrast and saturation are each multiplied by a number from
      [1 - jitter, 1 + jitter]; from 0 to 1.
  """

  flip: bool = False
  crop: int = 0
  jitter: float = 0.0

  def __post_init__(self) -> None:
    if self.crop < 0:
      raise UserError(f"augment.crop {self.crop}: expected 0 pixels or more")
    if not (math.isfinite(self.jitter) and 0 <= self.jitter <= 1):
      raise UserError(f"augment.jitter {self.jitter}: expected a number from 0 to 1")

  def __call__(
    self, image: UInt8[np.ndarray, "H W 3"], rng: np.random.Generator
  ) -> UInt8[np.ndarray, "H W 3"]:
    """The changed image; what changes it depends on the generator alone. The input is kept."""
    if self.flip and rng.random() < 0.5:
      image = flipped(image)
    if self.crop:
      image = _shifted(image, self.crop, rng)
    if self.jitter:
      image = _jittered(image, rng.uniform(1 - self.jitter, 1 + self.jitter, 3))
    return image


def flipped(images: UInt8[np.ndarray, "*B H W 3"]) -> UInt8[np.ndarray, "*B H W 3"]:
  """Images mirrored from left to right."""
  return np.ascontiguousarray(images[..., ::-1, :])


def _shifted(
  image: UInt8[np.ndarray, "H W 3"], crop: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "H W 3"]:
  top, left = rng.integers(2 * crop + 1, size=2)
  height, width, _ = image.shape
  padded = np.pad(image, ((crop, crop), (crop, crop), (0, 0)), mode="edge")
  return np.ascontiguousarray(padded[top : top + height, left : left + width])


def _jittered(image: UInt8[np.ndarray, "H W 3"], factors: np.ndarray) -> UInt8[np.ndarray, "H W 3"]:
  brightness, contrast, saturation = factors.astype(np.float32)
  x = image.astype(np.float32) * brightness
  mean = (x @ _LUMA).mean()
  x = mean + contrast * (x - mean)
  grey = (x @ _LUMA)[..., None]
  x = grey + saturation * (x - grey)
  return np.rint(x.clip(0, 255)).astype(np.uint8)
