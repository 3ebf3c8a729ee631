"""Reads weights that PyTorch saved, without PyTorch and without running what a pickle asks for.

The layout is that of `torch.save` before PyTorch 1.6: five pickles (a magic number, a version, the
machine's sizes, the tensors without their numbers, the names of the storages) and then, for each
storage, how many numbers it has (int64) and the numbers, little-endian.
"""

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001


class _Tensor(NamedTuple):
  """Where a tensor's numbers lie; strides count numbers, not bytes."""

  storage: str
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


def _rebuild(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> _Tensor:
  return _Tensor(storage, offset, tuple(shape), tuple(strides))


# All that a pickle may name, and what it gets for it: nothing of this acts on anything.
_GLOBALS: Mapping[tuple[str, str], Any] = {
  ("collections", "OrderedDict"): OrderedDict,
  ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
  ("torch", "FloatStorage"): "<f4",
  ("torch", "LongStorage"): "<i8",
}


class _Unpickler(pickle.Unpickler):
  """Knows `_GLOBALS` and nothing else; notes the storages that are named."""

  def __init__(self, file: io.BytesIO, dtypes: dict[str, str]):
    super().__init__(file)
    self._dtypes = dtypes

  def find_class(self, module: str, name: str) -> Any:
    """The stand-in for a global."""
    if (module, name) not in _GLOBALS:
      raise ValueError(f"the file asks for {module}.{name}, expected tensors only")
    return _GLOBALS[module, name]

  def persistent_load(self, pid: Any) -> str:
    """The key of a storage."""
    kind, dtype, key = pid[:3]
    if kind != "storage" or dtype not in ("<f4", "<i8"):
      raise ValueError(f"the file names {kind!r} of {dtype!r}, expected a storage of numbers")
    self._dtypes[key] = dtype
    return key


def read(data: bytes) -> dict[str, np.ndarray]:
  """The tensors of a state dict by name: float32 or int64.

  Args:
    data: the content of the file.

  Raises:
    ValueError: it is no such file, it is damaged, or it asks for anything but tensors.
  """
  file = io.BytesIO(data)
  dtypes: dict[str, str] = {}
  load = lambda: _Unpickler(file, dtypes).load()
  try:
    if (load(), load()) != (_MAGIC, _VERSION):
      raise ValueError("not what torch.save wrote before PyTorch 1.6")
    load()  # sizes of C types on the machine that wrote it
    tensors, keys = load(), load()
    storages = {key: _storage(file, dtypes[key]) for key in keys}
    return {name: _array(storages[tensor.storage], tensor) for name, tensor in tensors.items()}
  except ValueError:
    raise
  # A pickle that is no pickle can end in most of what Python raises.
  except Exception as error:
    raise ValueError(f"damaged ({type(error).__name__}: {error})") from error


def _storage(file: io.BytesIO, dtype: str) -> np.ndarray:
  count = int.from_bytes(file.read(8), "little")
  numbers = file.read(count * np.dtype(dtype).itemsize)
  if len(numbers) != count * np.dtype(dtype).itemsize:
    raise ValueError(f"cut off: a storage of {count} numbers has {len(numbers)} bytes")
  return np.frombuffer(numbers, dtype)


def _array(storage: np.ndarray, tensor: _Tensor) -> np.ndarray:
  """A copy of a tensor's numbers, in the usual order."""
  shape, strides, offset = tensor.shape, tensor.strides, tensor.offset
  if min((offset, *shape, *strides)) < 0 or len(shape) != len(strides):
    raise ValueError(f"a tensor of shape {shape}, strides {strides}, offset {offset}")
  last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
  if math.prod(shape) and last >= len(storage):
    raise ValueError(f"a tensor reaches to number {last} of a storage of {len(storage)}")
  steps = tuple(stride * storage.itemsize for stride in strides)
  return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False).copy()
