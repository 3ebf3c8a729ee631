"""Weights that a user supplies: read from a file that is known by its hash, of expected shapes.

Nothing is downloaded, and nothing that a file holds is executed.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxt2i import torch_files
from jaxt2i.errors import UserError
from jaxt2i.types import Variables

_FLOATS = {
  "F16": np.dtype(np.float16),
  "BF16": np.dtype(ml_dtypes.bfloat16),
  "F32": np.dtype(np.float32),
  "F64": np.dtype(np.float64),
}


@dataclasses.dataclass(frozen=True)
class WeightFile:
  """Tensors of a file by name.

  Attributes:
    path: of the file.
    sha256: hex, of its content.
    tensors: all that it holds.
  """

  path: Path
  sha256: str
  tensors: Mapping[str, np.ndarray]

  def take(self, name: str, *shape: int) -> np.ndarray:
    """A tensor as float32; UserError if the file lacks it, or has it in another shape or broken."""
    tensor = self.tensors.get(name)
    if tensor is None:
      found = f"no tensor {name!r} among its {len(self.tensors)}"
    elif tensor.shape != shape or tensor.dtype not in _FLOATS.values():
      found = f"tensor {name!r} as {tensor.dtype} {list(tensor.shape)}"
    else:
      array = tensor.astype(np.float32)
      if np.isfinite(array).all():
        return array
      raise UserError(
        f"{self.path} has tensor {name!r} with numbers that are not finite: restore it"
      )
    raise UserError(
      f"{self.path} has {found}, expected floats {list(shape)}: it is of another network, take the "
      "file of this one"
    )

  def params(self, shapes: Mapping[str, Any]) -> Variables:
    """Flax parameters of PyTorch's: kernels are turned round. UserError as in `take`.

    Args:
      shapes: the parameters' tree, names joined by dots being those of the file.
    """
    params = {}
    for (*path, leaf), value in flatten_dict(shapes).items():
      name, shape = ".".join(path), value.shape
      if leaf == "kernel":
        *window, inputs, outputs = shape  # [O, I, …] in the file
        array = np.moveaxis(self.take(f"{name}.weight", outputs, inputs, *window), (1, 0), (-2, -1))
      elif leaf in ("scale", "embedding"):
        array = self.take(f"{name}.weight", *shape)
      else:
        array = self.take(f"{name}.{leaf}", *shape)
      params[*path, leaf] = array
    return unflatten_dict(params)


def read(path: Path, sha256_prefix: str) -> WeightFile:
  """The tensors of a `.safetensors`, or of what `torch.save` wrote before PyTorch 1.6.

  Raises:
    UserError: the file is missing, no such file, or its hash does not begin with the prefix.
  """
  try:
    data = path.read_bytes()
  except OSError as error:
    raise UserError(f"cannot read weights {path}: {error.strerror}; name their file") from error
  sha256 = hashlib.sha256(data).hexdigest()
  if not sha256.startswith(sha256_prefix.lower()):
    raise UserError(
      f"{path} has sha256 {sha256[:12]}…, expected one that begins with {sha256_prefix}: download "
      "it anew, or give the prefix of the file that you mean"
    )
  parse = _safetensors if path.suffix == ".safetensors" else torch_files.read
  try:
    tensors = parse(data)
  except (ValueError, safetensors.SafetensorError) as error:
    reason = " ".join(str(error).split())
    raise UserError(
      f"{path} is damaged or no file of weights ({reason}): expected a .safetensors, or what "
      "torch.save wrote before PyTorch 1.6; download it anew, or save it as .safetensors"
    ) from error
  return WeightFile(path, sha256, tensors)


def _safetensors(data: bytes) -> dict[str, np.ndarray]:
  """Floats alone: parameters are nothing else."""
  return {
    name: np.frombuffer(tensor["data"], _FLOATS[tensor["dtype"]]).reshape(tensor["shape"])
    for name, tensor in safetensors.deserialize(data)
    if tensor["dtype"] in _FLOATS
  }
