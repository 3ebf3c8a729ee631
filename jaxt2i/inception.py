"""InceptionV3 as FID uses it, with weights that the user supplies: features of images."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float32, UInt8

from jaxt2i import supplied
from jaxt2i.chunks import in_chunks
from jaxt2i.models.inception import SIDE, InceptionV3, prepared
from jaxt2i.supplied import WeightFile
from jaxt2i.types import Array, Variables

SHA256_PREFIX = "6726825d"  # the published file is named by it: torch hub's custom
CHUNK = 16  # images that are looked at at once
_EPSILON = 1e-3  # of the batch normalisations


class Inception:
  """Images to the features that FID and KID compare; use `inception` to make one.

  Attributes:
    name: architecture and hash of the weights.
    how: what is done to images before the network sees them.
  """

  how = (
    f"images resized to {SIDE}×{SIDE} as TensorFlow 1 did (bilinear, align_corners=False, no "
    "antialiasing), then (x − 128) / 128"
  )

  def __init__(self, params: Variables, sha256: str):
    """Args: parameters of `InceptionV3`, hash of their file."""
    self._params = jax.device_put(params)
    self.name = f"InceptionV3 of FID, pool3, sha256 {sha256[:12]}"

  def __call__(self, images: UInt8[np.ndarray, "n H W 3"]) -> Float32[np.ndarray, "n 2048"]:
    """Features of images of any size; 0 or more."""
    return in_chunks(lambda chunk: _look(self._params, _prepared(chunk)), CHUNK, images)


def inception(path: str | Path, sha256_prefix: str = SHA256_PREFIX) -> Inception:
  """Reads `pt_inception-2015-12-05-6726825d.pth`, which pytorch-fid and torch-fidelity publish.

  Args:
    path: of that file, or of a `.safetensors` with the same names.
    sha256_prefix: what the hash of the file must begin with; "" takes any file.

  Raises:
    UserError: the file is missing, damaged, another one, or without one of the network's tensors.
  """
  file = supplied.read(Path(path), sha256_prefix)
  return Inception(convert(file), file.sha256)


def convert(file: WeightFile) -> Variables:
  """Parameters of `InceptionV3`, batch normalisation folded in; UserError as `WeightFile.take`.

  γ (Wx − μ) / √(σ² + ε) + β = (W γ') x + (β − μ γ') with γ' = γ / √(σ² + ε).
  """
  image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), np.float32)
  shapes = jax.eval_shape(InceptionV3().init, jax.random.key(0), image)["params"]
  params = {}
  for path, shape in flatten_dict(shapes).items():
    if path[-1] != "kernel":
      continue
    layer = path[:-1]
    kernel, bias = _folded(file, ".".join(layer), shape.shape)
    params[*layer, "kernel"], params[*layer, "bias"] = kernel, bias
  return unflatten_dict(params)


def _folded(
  file: WeightFile, name: str, shape: tuple[int, ...]
) -> tuple[Float32[np.ndarray, "h w I O"], Float32[np.ndarray, " O"]]:
  height, width, inputs, outputs = shape
  kernel = file.take(f"{name}.conv.weight", outputs, inputs, height, width)
  part = lambda of: file.take(f"{name}.bn.{of}", outputs).astype(np.float64)
  scale = part("weight") / np.sqrt(part("running_var") + _EPSILON)
  kernel = (kernel * scale[:, None, None, None]).transpose(2, 3, 1, 0)
  bias = part("bias") - part("running_mean") * scale
  return kernel.astype(np.float32), bias.astype(np.float32)


# Apart from the network, which is then compiled once for images of all sizes.
_prepared = jax.jit(prepared)


@jax.jit
def _look(params: Any, images: Array) -> Any:
  # Alike on all devices, or a distance would depend on where it was computed.
  with jax.default_matmul_precision("highest"):
    return InceptionV3().apply({"params": params}, images)
