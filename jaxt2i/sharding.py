"""Where arrays lie: a mesh of devices, the batch cut over it, the state whole or cut by rules.

One program for one device and for many: XLA's partitioner makes of the same jitted step what each
device does and what they tell each other (GSPMD, arXiv 2105.04663).
"""

import contextlib
import dataclasses
import math
import re
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxt2i.errors import UsageError
from jaxt2i.types import Batch

DATA, FSDP, TENSOR = AXES = ("data", "fsdp", "tensor")


@dataclasses.dataclass(frozen=True)
class MeshOptions:
  """How many devices along each axis; the product is how many are used.

  Attributes:
    data: each has a part of the batch and all of the state. -1: as many as there are.
    fsdp: each has a part of the batch and a part of parameters, their average and the optimiser,
      which are gathered where they are needed (ZeRO, arXiv 1910.02054, stage 3).
    tensor: each computes a part of the features of transformer blocks (Megatron-LM,
      arXiv 1909.08053, §3) for the same examples.
  """

  data: int = -1
  fsdp: int = 1
  tensor: int = 1

  def __post_init__(self) -> None:
    for name, least in ((DATA, -1), (FSDP, 1), (TENSOR, 1)):
      value = getattr(self, name)
      if value < least or value == 0:
        expected = "1 or more, or -1 (all that are left)" if least < 0 else "1 or more"
        raise UsageError(f"config.mesh.{name} is {value}: must be {expected}.")


ALL_DATA = MeshOptions()


def make_mesh(batch_size: int, options: MeshOptions = ALL_DATA, *, local: bool = False) -> Mesh:
  """The mesh for batches of so many rows (of all processes together), each part of accumulation.

  Axes are `Auto` (XLA decides inside jit): with the default, `Explicit`, `nn.Embed` fails.

  Args:
    batch_size: rows that are computed at once.
    options: sizes of the axes. With `data=-1` as many devices as divide the batch; where there are
      several processes, all devices.
    local: of this process's devices alone.

  Raises:
    UsageError: more devices are asked for than there are, or the batch cannot be cut over them.
  """
  devices = jax.local_devices() if local else jax.devices()
  inner = options.fsdp * options.tensor
  data = options.data if options.data > 0 else len(devices) // inner
  asked = f"config.mesh asks for {dataclasses.asdict(options)}"
  if data * inner > len(devices) or data == 0:
    raise UsageError(
      f"{asked}, {max(data, 1) * inner} devices: there are {len(devices)}; make an axis smaller, "
      "or XLA_FLAGS=--xla_force_host_platform_device_count=8 simulates 8 on a CPU."
    )
  several = not local and jax.process_count() > 1
  if options.data < 0 and not several:
    fitting = (n for n in range(data, 0, -1) if batch_size % (n * options.fsdp) == 0)
    data = next(fitting, data)
  if batch_size % (data * options.fsdp):
    raise UsageError(
      f"{asked}, which cuts a batch of {batch_size} rows into {data * options.fsdp} parts: make "
      f"config.batch_size (over config.step.accumulate) a multiple of {data * options.fsdp}."
    )
  if several and (data * inner != len(devices) or jax.local_device_count() % options.tensor):
    raise UsageError(
      f"{asked}, but {jax.process_count()} processes have {len(devices)} devices: the product of "
      "the axes must be that, and tensor a divisor of the devices of each."
    )
  shape = (data, options.fsdp, options.tensor)
  return jax.make_mesh(shape, AXES, (AxisType.Auto,) * 3, devices=devices[: math.prod(shape)])


def replicated(mesh: Mesh) -> NamedSharding:
  """The whole array on each device."""
  return NamedSharding(mesh, PartitionSpec())


def batch_spec(mesh: Mesh) -> PartitionSpec:
  """Rows are cut over all axes but "tensor"."""
  return PartitionSpec(tuple(axis for axis in mesh.axis_names if axis != TENSOR))


def known_inside(mesh: Mesh) -> contextlib.AbstractContextManager[Any]:
  """While a step is traced under it, `models.rows` knows the mesh, where that cuts the state."""
  if not cuts_state(mesh):
    return contextlib.nullcontext()
  return jax.sharding.use_abstract_mesh(mesh.abstract_mesh)


def shard_batch(batch: Any, mesh: Mesh) -> Any:
  """Puts a batch of NumPy arrays on the devices, cut along the first axis."""
  sharding = NamedSharding(mesh, batch_spec(mesh))
  return jax.tree.map(lambda x: jax.device_put(np.asarray(x), sharding), batch)


def joined(batches: Iterator[Batch], mesh: Mesh) -> Iterator[Batch]:
  """Batches of all processes, of each of which this one has its rows, in the order of processes.

  With one process they stay as they are: jit puts them where they belong.
  """
  if jax.process_count() == 1:
    yield from batches
  sharding = NamedSharding(mesh, batch_spec(mesh))
  for batch in batches:
    yield {
      name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()
    }


# --- the state ---

# Which axis of a kernel is cut over "tensor". A device computes some of the heads or of the hidden
# features, so the kernels before those are cut by columns; those after them by rows.
_COLUMNS = re.compile(r"(^|/)(qkv|text_q|text_kv|up|head)/kernel$")
_ROWS = re.compile(r"(^|/)(out|text_out|down)/kernel$")
_CUT = ("params", "ema_params", "opt_state")  # other collections are small: on every device


def cuts_state(mesh: Mesh) -> bool:
  """Whether a device of the mesh holds a part of the state only."""
  return mesh.shape[FSDP] * mesh.shape[TENSOR] > 1


def state_sharding(state: Any, mesh: Mesh) -> Any:
  """Where each array of a `TrainState` lies, by the path of its parameter; same structure.

  Args:
    state: arrays or their shapes.
    mesh: of `make_mesh`.
  """

  def sharding(path: Any, leaf: Any) -> NamedSharding:
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    cut = name.partition("/")[0] in _CUT
    return NamedSharding(mesh, partition_spec(name, leaf.shape, mesh) if cut else PartitionSpec())

  return jax.tree_util.tree_map_with_path(sharding, state)


def partition_spec(name: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
  """Of a parameter, or of what an optimiser keeps of it.

  The "tensor" axis goes by name; "fsdp" takes the longest of the other axes that it divides. Of
  vectors every device has a copy, and of what does not divide.
  """
  axes: list[str | None] = [None] * len(shape)
  if len(shape) < 2:
    return PartitionSpec()
  by_tensor = -1 if _COLUMNS.search(name) else -2 if _ROWS.search(name) else None
  if (
    by_tensor is not None and mesh.shape[TENSOR] > 1 and shape[by_tensor] % mesh.shape[TENSOR] == 0
  ):
    axes[by_tensor] = TENSOR
  fsdp = mesh.shape[FSDP]
  free = [i for i, axis in enumerate(axes) if axis is None and shape[i] % fsdp == 0]
  if fsdp > 1 and free:
    axes[max(free, key=lambda i: (shape[i], i))] = FSDP
  return PartitionSpec(*axes)


def whole(tree: Any) -> Any:
  """The same arrays, each whole on every device of this process: for what is not part of a step.

  Every process has to call it. What lies on one device stays as it is.
  """
  leaves = jax.tree.leaves(tree)
  mesh: Any = next((x.sharding.mesh for x in leaves if isinstance(x.sharding, NamedSharding)), None)
  if mesh is None or mesh.size == 1:
    return tree
  if jax.process_count() > 1:
    gathered = jax.jit(lambda x: x, out_shardings=replicated(mesh))(tree)
    tree = jax.tree.map(np.asarray, gathered)
  return jax.device_put(tree, replicated(make_mesh(jax.local_device_count(), local=True)))
