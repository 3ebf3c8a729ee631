"""What devices tell each other and what each holds, of programs that are plain to see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxt2i.cost import held, moved
from jaxt2i.sharding import make_mesh

ROWS, EVERYWHERE = PartitionSpec("data"), PartitionSpec()


@pytest.fixture(scope="module")
def mesh():
  return make_mesh(2)


def text(mesh, function, *shape, out=EVERYWHERE):
  cut = jax.shard_map(function, mesh=mesh, in_specs=ROWS, out_specs=out, check_vma=False)
  given = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, ROWS))
  return jax.jit(cut).lower(given).compile().as_text()


def test_bytes_are_those_of_the_results(mesh):
  total = lambda x: jax.lax.psum(x, "data")
  assert moved(text(mesh, total, 6, 5)) == {"all-reduce": 4 * 3 * 5}
  whole = lambda x: jax.lax.all_gather(x, "data", tiled=True)
  assert moved(text(mesh, whole, 6, 5)) == {"all-gather": 4 * 6 * 5}
  assert moved(text(mesh, jnp.sin, 6, 5, out=ROWS)) == {}


def test_what_a_loop_repeats_is_counted_as_often(mesh):
  def inner(x, _):
    return jnp.sin(jax.lax.psum(x, "data")), None

  def outer(x, _):
    x = jax.lax.scan(inner, x, length=5)[0]
    return x + jax.lax.pmax(x[:1], "data"), None

  program = text(mesh, lambda x: jax.lax.scan(outer, x, length=3)[0], 4, 7)
  assert moved(program) == {"all-reduce": 3 * (5 * 4 * 2 * 7 + 4 * 7)}


def test_both_branches_of_a_choice_count(mesh):
  def chosen(x):
    total = lambda y: jax.lax.psum(y, "data")
    top = lambda y: jax.lax.pmax(2 * y, "data")
    return jax.lax.cond(jnp.sum(jax.lax.psum(x, "data")) > 0, total, top, x)

  assert moved(text(mesh, chosen, 4, 3)) == {"all-reduce": 3 * 4 * 2 * 3}


def test_a_device_holds_its_part(mesh):
  cut = jax.device_put(np.zeros((4, 3), np.float32), NamedSharding(mesh, ROWS))
  copied = jax.device_put(np.zeros((5,), jnp.bfloat16), NamedSharding(mesh, EVERYWHERE))
  assert held({"a": cut, "b": [copied]}) == 4 * 2 * 3 + 2 * 5
  shape = jax.ShapeDtypeStruct((8, 3), np.int8, sharding=cut.sharding)
  assert held(shape) == 4 * 3
