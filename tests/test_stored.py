"""Reading checkpoints: what does not fit, what is damaged, and parts of a state."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxt2i import manifest, stored
from jaxt2i.checkpoints import Checkpoints, read_arrays
from jaxt2i.errors import UserError
from tests.states import (
  abstract,
  assert_one_line,
  assert_same_bits,
  largest_file,
  make_state,
  restore,
  save,
)


@pytest.mark.parametrize(
  ("change", "words"),
  [
    (
      lambda s: abstract(make_state(codes=32)),
      ("params/codebook", "saved as float32[16,4]", "float32[32,4] is asked for", "more)"),
    ),
    (
      lambda s: s.replace(params=jax.tree.map(lambda x: x.update(dtype=jnp.bfloat16), s.params)),
      ("params/codebook", "saved as float32[16,4]", "bfloat16[16,4]"),
    ),
    (
      lambda s: s.replace(ema_params={**s.ema_params, "extra": s.step}),
      ("ema_params/extra", "nothing", "int32[]"),
    ),
    (
      lambda s: s.replace(collections={}),
      ("collections/codebook/counts", "int32[16]", "nothing is asked for"),
    ),
  ],
  ids=["shape", "dtype", "missing", "superfluous"],
)
def test_a_state_that_does_not_fit_is_a_user_error(tmp_path, change, words):
  save(tmp_path, 1, 2)
  with Checkpoints(tmp_path, keep=2) as checkpoints:
    with pytest.raises(UserError) as error:
      checkpoints.restore(change(abstract(make_state())))
    # Not taken for damage: nothing was set aside.
    assert checkpoints.latest_step() == 2
  assert_one_line(error, *words, "another workdir")


def truncate(path: Path) -> None:
  os.truncate(path, path.stat().st_size // 2)


def flip_a_bit(path: Path) -> None:
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, Path.unlink])
def test_a_damaged_newest_step_is_set_aside_and_the_one_before_read(tmp_path, damage, caplog):
  save(tmp_path, 1, 2)
  damage(largest_file(tmp_path, 2))
  with Checkpoints(tmp_path, keep=5) as checkpoints:
    assert_same_bits(checkpoints.restore(abstract(make_state())), make_state(1))
    assert "step 2" in caplog.text
    assert "damaged" in caplog.text
    assert checkpoints.latest_step() == 1
    # Training goes on from step 1 and saves step 2 anew.
    checkpoints.save(2, make_state(2))
    assert_same_bits(checkpoints.restore(abstract(make_state())), make_state(2))
  assert (tmp_path / "checkpoints" / "damaged-2").is_dir()


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, Path.unlink])
def test_only_damaged_steps_are_a_user_error_and_left_in_place(tmp_path, damage):
  save(tmp_path, 1)
  damage(largest_file(tmp_path, 1))
  with pytest.raises(UserError) as error:
    restore(tmp_path)
  assert_one_line(error, "step 1", largest_file(tmp_path, 1).name if damage != Path.unlink else "")
  with pytest.raises(UserError) as error:
    read_arrays(tmp_path, ("params",))
  assert_one_line(error, "step 1")
  assert (tmp_path / "checkpoints" / "1").is_dir()


def test_a_step_named_explicitly_does_not_fall_back(tmp_path):
  save(tmp_path, 1, 2)
  flip_a_bit(largest_file(tmp_path, 2))
  with pytest.raises(UserError) as error:
    restore(tmp_path, 2)
  assert_one_line(error, "step 2")
  assert (tmp_path / "checkpoints" / "2").is_dir()


def test_truncation_is_found_without_a_manifest_too(tmp_path):
  save(tmp_path, 1, 2)
  for path in (tmp_path / "checkpoints" / "2" / "state").rglob("*"):
    if path.is_file():
      truncate(path)
  (tmp_path / "checkpoints" / "2" / manifest.NAME).unlink()
  assert read_arrays(tmp_path, ("step",))[0] == 1
  assert int(restore(tmp_path).step) == 1


@pytest.mark.parametrize("content", ["", "0123  state/d", "no manifest\n"])
def test_a_damaged_manifest_counts_as_damage(tmp_path, content):
  save(tmp_path, 1)
  (tmp_path / "checkpoints" / "1" / manifest.NAME).write_text(content)
  with pytest.raises(UserError) as error:
    restore(tmp_path)
  assert_one_line(error, manifest.NAME)


def test_read_arrays_gives_numpy_arrays_of_the_newest_step(tmp_path):
  save(tmp_path, 1, 2)
  state = make_state(2)
  step, arrays = read_arrays(tmp_path, ("ema_params", "collections"))
  assert step == 2
  assert arrays.keys() == {"ema_params", "collections"}
  assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(arrays))
  assert arrays["ema_params"]["encoder"]["bias"].dtype == ml_dtypes.bfloat16
  assert_same_bits(arrays["ema_params"], state.ema_params)
  assert_same_bits(arrays["collections"], state.collections)


def test_read_arrays_of_an_empty_collection_and_of_an_unknown_entry(tmp_path):
  with Checkpoints(tmp_path, keep=1) as checkpoints:
    checkpoints.save(1, make_state(1).replace(collections={}))
  assert read_arrays(tmp_path, ("collections",)) == (1, {"collections": {}})
  with pytest.raises(UserError) as error:
    read_arrays(tmp_path, ("weights",))
  assert_one_line(error, "'weights'", "ema_params")
  with pytest.raises(UserError) as error:
    read_arrays(tmp_path / "elsewhere", ("params",))
  assert_one_line(error, "elsewhere", "no checkpoint")
  assert not (tmp_path / "elsewhere").exists()


def test_read_arrays_writes_nothing_and_needs_no_lock(tmp_path):
  with Checkpoints(tmp_path, keep=3) as checkpoints:
    checkpoints.save(1, make_state(1))
    checkpoints.save(2, make_state(2))  # Step 1 is complete from here on, while the lock is held.
    assert read_arrays(tmp_path, ("params",))[0] in (1, 2)
  flip_a_bit(largest_file(tmp_path, 2))

  def snapshot() -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in [tmp_path, *tmp_path.rglob("*")]}

  before = snapshot()
  assert read_arrays(tmp_path, ("params",))[0] == 1
  assert snapshot() == before


def test_a_step_that_a_training_removes_while_it_is_read_is_no_failure(tmp_path, monkeypatch):
  with Checkpoints(tmp_path, keep=1) as checkpoints:
    checkpoints.save(1, make_state(1))
  original, asked = stored.read_entries, []

  def read(path, keys):
    asked.append(path.parent.name)
    if len(asked) == 1:
      with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(2, make_state(2))  # and step 1 is gone
    return original(path, keys)

  monkeypatch.setattr(stored, "read_entries", read)
  assert read_arrays(tmp_path, ("params",))[0] == 2
  assert asked == ["1", "2"]
