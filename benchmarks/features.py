"""Features that sets of images are compared by: EfficientNet-Lite0 on 64-pixel images."""

from typing import Any

import numpy as np

from benchmarks.timing import Case, Prepared, num_cores
from jaxt2i.models.perceptual import SIDE

IMAGES, IMAGE_SIZE = 256, 64
PEER_CHUNK = 16  # images a call: faster than 8; we have a size of our own


def cases() -> list[Case]:
  """One: from bytes to features, the enlarging included."""
  return [Case("features", _ours, _peer, steps=1)]


def images() -> np.ndarray:
  """Noise, uint8."""
  shape = (IMAGES, IMAGE_SIZE, IMAGE_SIZE, 3)
  return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def _ours() -> Prepared:
  import jax

  from jaxt2i import pretrained
  from jaxt2i.evaluators.extractor import Features

  variables, pixels = jax.device_put(pretrained.efficientnet_lite0()), images()
  count = sum(x.size for x in jax.tree.leaves(variables))
  return Prepared(lambda: Features.of(variables, pixels), count)


def _peer() -> Prepared:
  import torch
  import torch.nn.functional as F

  from benchmarks.torch_efficientnet import EfficientNetLite0

  torch.set_num_threads(num_cores())
  model: Any = EfficientNetLite0().eval().to(memory_format=torch.channels_last)
  pixels = images()

  @torch.inference_mode()
  def step() -> Any:
    found = []
    for start in range(0, IMAGES, PEER_CHUNK):
      x = torch.from_numpy(pixels[start : start + PEER_CHUNK]).permute(0, 3, 1, 2)
      x = x.contiguous().float() / 127.5 - 1  # planes, which are enlarged twice as fast
      x = F.interpolate(x, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
      found.append(model(x.contiguous(memory_format=torch.channels_last)))
    return torch.cat(found)

  return Prepared(step, sum(p.numel() for p in model.parameters()))
