"""A source of made-up pictures, each unlike every other."""

import dataclasses
from typing import Any

import numpy as np

from jaxt2i.data.records import Record


def pictures(count: int, seed: int = 0, side: int = 8) -> np.ndarray:
  """Noise, uint8 [count, side, side, 3]."""
  return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3)).astype(np.uint8)


def scenes(count: int, seed: int) -> np.ndarray:
  """Soft blobs of two colours at random places, uint8 [count, 32, 32, 3]."""
  rng = np.random.default_rng(seed)
  y, x = np.mgrid[:32, :32]
  images = np.empty((count, 32, 32, 3))
  for image in images:
    cy, cx = rng.uniform(6, 26, 2)
    blob = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / rng.uniform(20, 120))[..., None]
    image[:] = blob * rng.uniform(0, 255, 3) + (1 - blob) * rng.uniform(0, 255, 3)
  return images.astype(np.uint8)


class Pictures:
  """Images with captions: "picture 3" for that of index 3, and one that all share."""

  fingerprint, attribution, protocol, note = "0" * 64, "", "image", ""

  def __init__(self, images: np.ndarray):
    self.images = images

  def __len__(self) -> int:
    return len(self.images)

  def __getitem__(self, index: int) -> Record:
    return Record(str(index), self.images[index], (f"picture {index}", "any picture"), {})


class Recaptioned:
  """The images of a source, all of them with these captions; () are none. Attributes likewise."""

  def __init__(self, source, captions: tuple[str, ...], attributes: dict[str, Any] | None = None):
    self._source, self._known = source, {"captions": captions}
    if attributes is not None:
      self._known["attributes"] = attributes
    self.fingerprint, self.attribution = source.fingerprint, source.attribution
    self.protocol, self.note = source.protocol, source.note

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> Record:
    return dataclasses.replace(self._source[index], **self._known)
