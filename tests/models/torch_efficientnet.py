"""EfficientNet-Lite0 in PyTorch, straight from the weights' own names: the reference for ours.

Nothing is shared with `jaxt2i.models.efficientnet`: batch normalisation is not folded, and the
padding of TensorFlow is written out.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

# EfficientNet-B0 (arXiv 1905.11946, table 1): blocks, kernel, stride of the first block.
STAGES = ((1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1))


def load(path: Path) -> Mapping[str, Tensor]:
  """The weights as PyTorch reads them."""
  return torch.load(path, weights_only=True)


def _conv(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
  """Convolution of [B, C, H, W] padded as TensorFlow's SAME does: the odd pixel goes last."""
  kernel = weight.shape[2]
  pads = [
    max(0, (math.ceil(side / stride) - 1) * stride + kernel - side) for side in x.shape[:1:-1]
  ]
  x = F.pad(x, [half for pad in pads for half in (pad // 2, pad - pad // 2)])
  return F.conv2d(x, weight, stride=stride, groups=x.shape[1] if weight.shape[1] == 1 else 1)


def features(weights: Mapping[str, Tensor], x: Tensor) -> list[Tensor]:
  """Outputs of the stem, the seven stages and the head, and their mean: 10 tensors.

  Args:
    weights: from `load`.
    x: [B, 3, H, W] in [-1, 1].
  """

  def norm(x: Tensor, name: str) -> Tensor:
    mean, var = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    return F.batch_norm(x, mean, var, weights[f"{name}.weight"], weights[f"{name}.bias"], eps=1e-3)

  x = (127.5 * (x + 1) - 127) / 128
  x = F.relu6(norm(_conv(x, weights["_conv_stem.weight"], 2), "_bn0"))
  found, block = [x], 0
  for repeats, _, first_stride in STAGES:
    for repeat in range(repeats):
      name, y = f"_blocks.{block}", x
      if f"{name}._expand_conv.weight" in weights:
        y = F.relu6(norm(_conv(y, weights[f"{name}._expand_conv.weight"]), f"{name}._bn0"))
      stride = first_stride if repeat == 0 else 1
      y = _conv(y, weights[f"{name}._depthwise_conv.weight"], stride)
      y = F.relu6(norm(y, f"{name}._bn1"))
      y = norm(_conv(y, weights[f"{name}._project_conv.weight"]), f"{name}._bn2")
      x = x + y if y.shape == x.shape else y
      block += 1
    found.append(x)
  head = F.relu6(norm(_conv(x, weights["_conv_head.weight"]), "_bn1"))
  return [*found, head, head.mean((2, 3))]
