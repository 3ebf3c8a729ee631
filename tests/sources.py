"""A source of made-up pictures, each unlike every other."""

import numpy as np

from jaxt2i.data.records import Record


def pictures(count: int, seed: int = 0, side: int = 8) -> np.ndarray:
  """Noise, uint8 [count, side, side, 3]."""
  return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3)).astype(np.uint8)


class Pictures:
  """Images with captions: "picture 3" for that of index 3, and one that all share."""

  fingerprint, attribution, protocol, note = "0" * 64, "", "image", ""

  def __init__(self, images: np.ndarray):
    self.images = images

  def __len__(self) -> int:
    return len(self.images)

  def __getitem__(self, index: int) -> Record:
    return Record(str(index), self.images[index], (f"picture {index}", "any picture"), {})
