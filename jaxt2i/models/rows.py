"""Which part of its activations a device computes."""

import jax
from jax.sharding import PartitionSpec

from jaxt2i.types import Array

TENSOR = "tensor"  # the axis of a mesh whose devices have the same rows


def rows_apart(x: Array) -> Array:
  """Activations [B, …], of which each device is to have its rows; as they are without a mesh.

  Left alone the partitioner may cut features instead, as the parameter that they come from is cut.
  It then gathers the activations of all devices, block by block, instead of parameters.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return x
  rows = tuple(axis for axis in mesh.axis_names if axis != TENSOR)
  return jax.lax.with_sharding_constraint(x, PartitionSpec(rows))
