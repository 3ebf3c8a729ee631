"""The batch is cut over devices, the state is on all of them."""

import jax
import numpy as np
import pytest

from jaxt2i.sharding import make_mesh, replicated, shard_batch


@pytest.mark.parametrize(("batch_size", "expected"), [(1, 1), (2, 2), (3, 1), (6, 2), (7, 1)])
def test_mesh_has_as_many_devices_as_divide_the_batch(batch_size, expected):
  mesh = make_mesh(batch_size)
  assert mesh.axis_names == ("data", "fsdp", "tensor")
  assert mesh.devices.shape == (min(expected, jax.device_count()), 1, 1)


def test_a_batch_is_cut_along_its_first_axis_in_order():
  mesh = make_mesh(4)
  batch = {
    "image": np.arange(24, dtype=np.uint8).reshape(4, 3, 2),
    "weight": np.ones(4, np.float32),
  }
  placed = shard_batch(batch, mesh)
  for name, value in batch.items():
    np.testing.assert_array_equal(placed[name], value)
    assert placed[name].dtype == value.dtype
    shards = sorted(placed[name].addressable_shards, key=lambda shard: shard.device.id)
    np.testing.assert_array_equal(np.concatenate([s.data for s in shards]), value)
    assert {s.data.shape[0] for s in shards} == {4 // mesh.size}


def test_replicated_puts_the_whole_on_every_device():
  mesh = make_mesh(2)
  value = np.arange(6.0, dtype=np.float32).reshape(3, 2)
  placed = jax.device_put(value, replicated(mesh))
  assert len(placed.addressable_shards) == mesh.size
  for shard in placed.addressable_shards:
    np.testing.assert_array_equal(shard.data, value)
