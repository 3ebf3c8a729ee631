"""Saving and restoring: bit-exact round trips, retention, failed saves."""

import resource
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxt2i import manifest
from jaxt2i.checkpoints import Checkpoints, read_arrays
from jaxt2i.errors import UserError
from tests.states import (
  assert_one_line,
  assert_same_bits,
  make_state,
  restore,
  save,
)


def test_restore_returns_the_saved_bits_and_structure(tmp_path):
  state = make_state(3)
  assert isinstance(state.opt_state[0], optax.EmptyState)
  save(tmp_path, 3)
  restored = restore(tmp_path)
  assert_same_bits(restored, state)
  assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(restored))
  assert jax.random.uniform(restored.key) == jax.random.uniform(state.key)


def test_restore_without_shardings_goes_to_the_first_device(tmp_path):
  save(tmp_path, 3)
  with Checkpoints(tmp_path, keep=1) as checkpoints:
    restored = checkpoints.restore(jax.eval_shape(make_state))
  assert_same_bits(restored, make_state(3))
  assert {d for x in jax.tree.leaves(restored) for d in x.devices()} == {jax.devices()[0]}


def test_restore_follows_the_shardings_of_the_target_whatever_those_saved(tmp_path):
  mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
  cut, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (["data"], []))
  table = jax.random.normal(jax.random.key(0), (8, 3))
  target = {"table": jax.ShapeDtypeStruct(table.shape, table.dtype)}
  with Checkpoints(tmp_path, keep=1) as checkpoints:
    checkpoints.save(1, {"table": jax.device_put(table, cut)})
    for sharding in (cut, whole):
      restored = checkpoints.restore({"table": target["table"].update(sharding=sharding)})
      assert restored["table"].sharding == sharding
      assert_same_bits(restored["table"], table)
    assert_same_bits(checkpoints.restore(target)["table"], table)
  assert_same_bits(read_arrays(tmp_path, ("table",))[1]["table"], np.asarray(table))


def test_buffers_may_be_donated_as_soon_as_save_returns(tmp_path):
  size = 1 << 20
  increment = jax.jit(lambda x: x + jnp.float32(1), donate_argnums=0)
  x = jnp.zeros((size,), jnp.float32)
  with Checkpoints(tmp_path, keep=4) as checkpoints:
    for step in range(1, 5):
      x = increment(x)
      checkpoints.save(step, {"x": x})
      for _ in range(20):  # The donated buffer is overwritten while the save is in progress.
        before, x = x, increment(x)
      assert before.is_deleted()
    target = {"x": jax.ShapeDtypeStruct((size,), jnp.float32)}
    for step in range(1, 5):
      expected = np.full(size, 21 * (step - 1) + 1, np.float32)
      np.testing.assert_array_equal(checkpoints.restore(target, step)["x"], expected)


def test_keeps_the_newest_steps_and_a_manifest_of_each(tmp_path):
  save(tmp_path, 1, 2, 3, keep=2)
  folder = tmp_path / "checkpoints"
  assert sorted(p.name for p in folder.iterdir()) == ["2", "3"]
  for step in ("2", "3"):
    check = ["sha256sum", "--check", "--strict", "--quiet", manifest.NAME]
    subprocess.run(check, cwd=folder / step, check=True)
    listed = (folder / step / manifest.NAME).read_text()
    assert (
      len(listed.splitlines()) == len([p for p in (folder / step).rglob("*") if p.is_file()]) - 1
    )
  assert int(restore(tmp_path).step) == 3
  assert int(restore(tmp_path, 2).step) == 2


def test_latest_step_counts_complete_steps_only(tmp_path):
  with Checkpoints(tmp_path, keep=2) as checkpoints:
    assert checkpoints.latest_step() is None
    checkpoints.save(1, make_state(1))
  (tmp_path / "checkpoints" / "9.orbax-checkpoint-tmp").mkdir()
  with Checkpoints(tmp_path, keep=2) as checkpoints:
    assert checkpoints.latest_step() == 1
    checkpoints.save(2, make_state(2))
  # The leftover of a killed save is cleaned up.
  assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["1", "2"]


def test_saving_the_newest_step_again_keeps_it_and_an_earlier_one_is_refused(tmp_path):
  save(tmp_path, 4)
  with Checkpoints(tmp_path, keep=2) as checkpoints:
    checkpoints.save(4, make_state(5))
    with pytest.raises(UserError) as error:
      checkpoints.save(3, make_state(3))
  assert_one_line(error, "step 3", "step 4")
  assert_same_bits(restore(tmp_path), make_state(4))


def test_restore_writes_the_manifest_that_a_killed_run_left_out(tmp_path):
  save(tmp_path, 1)
  path = tmp_path / "checkpoints" / "1" / manifest.NAME
  content = path.read_text()
  path.unlink()
  assert_same_bits(restore(tmp_path), make_state(1))
  assert path.read_text() == content


def test_restore_without_a_checkpoint_is_a_user_error(tmp_path):
  with pytest.raises(UserError) as error:
    restore(tmp_path)
  assert_one_line(error, str(tmp_path), "no checkpoint", "train first")
  with pytest.raises(UserError) as error:
    restore(tmp_path, 5)
  assert_one_line(error, "step 5")


def test_a_failed_save_is_a_user_error_and_the_step_before_stays(tmp_path):
  limit = resource.getrlimit(resource.RLIMIT_FSIZE)
  big = {"x": jnp.ones((1 << 20,), jnp.float32)}
  noise = {"x": jax.random.normal(jax.random.key(0), (1 << 20,))}  # Does not compress.
  with Checkpoints(tmp_path, keep=2) as checkpoints:
    checkpoints.save(1, big)
    checkpoints.restore(jax.eval_shape(lambda: big))  # Waits for the save.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limit[1]))
    try:
      checkpoints.save(2, noise)
      with pytest.raises(UserError) as error:
        checkpoints.restore(jax.eval_shape(lambda: big))
    finally:
      resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert_one_line(error, "step 1 is kept", "File too large")
    assert checkpoints.latest_step() == 1
    checkpoints.save(3, noise)  # With room again, saving goes on.
  with Checkpoints(tmp_path, keep=2) as checkpoints:
    restored = checkpoints.restore(jax.eval_shape(lambda: big))
  assert_same_bits(restored, noise)


def test_a_failed_last_save_is_reported_by_close(tmp_path):
  limit = resource.getrlimit(resource.RLIMIT_FSIZE)
  noise = {"x": jax.random.normal(jax.random.key(0), (1 << 20,))}
  checkpoints = Checkpoints(tmp_path, keep=2)
  resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limit[1]))
  try:
    checkpoints.save(2, noise)
    with pytest.raises(UserError) as error:
      checkpoints.close()
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
  assert_one_line(error, "no earlier one exists")
  checkpoints.close()  # Once more is harmless.
  Checkpoints(tmp_path, keep=2).close()  # The workdir was given up all the same.


def test_an_error_in_the_block_is_not_hidden_by_closing(tmp_path):
  def save_and_fail() -> None:
    with Checkpoints(tmp_path, keep=2) as checkpoints:
      checkpoints.save(1, make_state(1))
      raise ZeroDivisionError

  with pytest.raises(ZeroDivisionError):
    save_and_fail()
  assert_same_bits(restore(tmp_path), make_state(1))  # The save was finished first.


def test_an_unwritable_workdir_is_a_user_error(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError) as error:
    Checkpoints(tmp_path / "file" / "run", keep=1)
  assert_one_line(error, str(tmp_path / "file" / "run"), "cannot be written")
  (tmp_path / "run").mkdir()
  (tmp_path / "run" / "checkpoints").write_text("")
  with pytest.raises(UserError, match="cannot be written"):
    Checkpoints(tmp_path / "run", keep=1)
  assert not (tmp_path / "run" / "lock").exists()
