"""Mesh and placement: the batch is cut over devices, the state is on all of them."""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def make_mesh(batch_size: int) -> Mesh:
  """A mesh of one axis, "data", over as many devices as divide the batch.

  Axes are `Auto` (XLA decides inside jit): with the default, `Explicit`, `nn.Embed` fails.
  """
  count = max(n for n in range(1, jax.device_count() + 1) if batch_size % n == 0)
  return jax.make_mesh((count,), ("data",), (AxisType.Auto,), devices=jax.devices()[:count])


def replicated(mesh: Mesh) -> NamedSharding:
  """The whole array on each device."""
  return NamedSharding(mesh, PartitionSpec())


def shard_batch(batch: Any, mesh: Mesh) -> Any:
  """Puts a batch of NumPy arrays on the devices, cut along the first axis."""
  sharding = NamedSharding(mesh, PartitionSpec("data"))
  return jax.tree.map(lambda x: jax.device_put(np.asarray(x), sharding), batch)
