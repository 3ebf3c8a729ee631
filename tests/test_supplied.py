"""Files of weights that users supply: what is taken, and what is said of others."""

import hashlib

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from jaxt2i import supplied
from jaxt2i.errors import UserError
from jaxt2i.supplied import WeightFile


def refused(action, *fragments):
  with pytest.raises(UserError) as error:
    action()
  message = str(error.value)
  assert "\n" not in message
  for fragment in fragments:
    assert fragment in message


@pytest.fixture
def path(tmp_path):
  path = tmp_path / "some.safetensors"
  tensors = {"a": np.arange(6, dtype=np.float16).reshape(2, 3), "n": np.arange(2)}
  safetensors.numpy.save_file(tensors, path)
  return path


def test_floats_of_any_width_come_as_float32(path):
  found = supplied.read(path, "").take("a", 2, 3)
  assert found.dtype == np.float32
  np.testing.assert_array_equal(found, np.arange(6).reshape(2, 3))
  brain = WeightFile(path, "", {"a": np.array([1.5], ml_dtypes.bfloat16)})
  np.testing.assert_array_equal(brain.take("a", 1), np.array([1.5], np.float32))


def test_the_hash_must_begin_as_said(path):
  sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
  for prefix in ("", sha256[:8], sha256[:8].upper(), sha256):
    assert supplied.read(path, prefix).sha256 == sha256
  other = "0" * 8 if sha256[0] != "0" else "1" * 8
  refused(lambda: supplied.read(path, other), str(path), sha256[:12], other, "download")
  path.write_bytes(path.read_bytes() + b"x")
  refused(lambda: supplied.read(path, sha256[:8]), f"begins with {sha256[:8]}")


@pytest.mark.parametrize("name", ["cut.safetensors", "cut.pth"])
def test_a_damaged_file_is_refused(path, name):
  cut = path.with_name(name)
  cut.write_bytes(path.read_bytes()[:-5])
  refused(lambda: supplied.read(cut, ""), str(cut), "damaged", "download it anew")


def test_a_missing_file_is_named(path):
  for missing in (path.with_name("missing.pth"), path.parent):
    refused(lambda missing=missing: supplied.read(missing, ""), "cannot read weights", str(missing))


def test_missing_tensors_and_those_of_other_shapes_are_named(path):
  file = supplied.read(path, "")
  refused(lambda: file.take("b", 4), str(path), "no tensor 'b'", "expected floats [4]")
  refused(
    lambda: file.take("a", 3, 2),
    str(path),
    "tensor 'a' as float16 [2, 3]",
    "expected floats [3, 2]",
  )
  refused(lambda: file.take("n", 2), "no tensor 'n'")  # integers are no parameters


def test_numbers_that_are_no_floats_are_refused(path):
  file = WeightFile(path, "", {"n": np.arange(2)})  # PyTorch's files may hold them
  refused(lambda: file.take("n", 2), "tensor 'n' as int64")


def test_numbers_that_are_not_finite_are_refused(path):
  file = WeightFile(path, "", {"n": np.array([1, np.nan], np.float32)})
  refused(lambda: file.take("n", 2), "tensor 'n'", "not finite")


def test_kernels_are_turned_round(path):
  tensors = {"a.weight": np.zeros((5, 3, 2, 4)), "b.weight": np.arange(6.0).reshape(2, 3)}
  shape = lambda *sides: np.empty(sides)
  shapes = {"a": {"kernel": shape(2, 4, 3, 5)}, "b": {"kernel": shape(3, 2)}}
  found = WeightFile(path, "", tensors).params(shapes)
  assert found["a"]["kernel"].shape == (2, 4, 3, 5)
  np.testing.assert_array_equal(found["b"]["kernel"], tensors["b.weight"].T)
