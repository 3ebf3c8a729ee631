"""EfficientNet-Lite0 in PyTorch for speed: batch normalisation folded in, channels last."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jaxt2i.models.efficientnet import HEAD, STAGES


class _Conv(nn.Module):
  """A convolution with bias, padded as TensorFlow does: with stride 2 the odd pixel goes last."""

  def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
    super().__init__()
    self.early = stride == 2
    half = kernel // 2
    self.pads = (half - 1, half, half - 1, half) if self.early else (0, 0, 0, 0)
    padding = 0 if self.early else half
    self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups)

  def forward(self, x: Tensor) -> Tensor:
    return self.conv(F.pad(x, self.pads) if self.early else x)


class EfficientNetLite0(nn.Module):
  """Images [B, 3, H, W] to 1,280 features; the sizes are those of ours, the weights random."""

  def __init__(self) -> None:
    super().__init__()
    self.stem = _Conv(3, 32, 3, 2)
    channels, self.blocks = 32, nn.ModuleList()
    for repeats, outputs, kernel, first_stride, expansion in STAGES:
      for repeat in range(repeats):
        inner = channels * expansion
        expand = [_Conv(channels, inner, 1), nn.ReLU6(inplace=True)] if expansion > 1 else []
        stride = first_stride if repeat == 0 else 1
        depthwise = _Conv(inner, inner, kernel, stride, groups=inner)
        layers = [*expand, depthwise, nn.ReLU6(inplace=True), _Conv(inner, outputs, 1)]
        self.blocks.append(nn.Sequential(*layers))
        channels = outputs
    self.head = _Conv(channels, HEAD, 1)

  @torch.inference_mode()
  def forward(self, x: Tensor) -> Tensor:
    x = F.relu6(self.stem(x))
    for block in self.blocks:
      y = block(x)
      x = x + y if y.shape == x.shape else y
    return F.relu6(self.head(x)).mean((2, 3))
