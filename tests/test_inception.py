"""InceptionV3 against torch-fidelity: numbers that it gave once, and live where it is installed."""

import json

import numpy as np
import pytest
import safetensors.numpy

from jaxt2i.inception import convert, inception
from jaxt2i.supplied import WeightFile
from tests.supplied import INCEPTION, inception_weights, pictures
from tests.test_supplied import refused


@pytest.fixture(scope="module")
def path(tmp_path_factory):
  path = tmp_path_factory.mktemp("inception") / "inception.safetensors"
  safetensors.numpy.save_file(inception_weights(), path)
  return path


def test_equals_the_numbers_of_torch_fidelity(path):
  look = inception(path, "")
  for reference in json.loads(INCEPTION.read_text())["features"]:
    found = look(pictures(*reference["pictures"]))
    assert found.shape == (reference["pictures"][0], 2048)
    assert found.dtype == np.float32
    assert np.mean(found, dtype=np.float64) == pytest.approx(reference["mean"], rel=1e-5)
    assert np.std(found, dtype=np.float64) == pytest.approx(reference["std"], rel=1e-5)
    expected = np.array(reference["values"])
    atol = 2e-6 * expected.max()
    np.testing.assert_allclose(found.ravel()[::61], expected, rtol=1e-5, atol=atol)


def test_equals_torch_fidelity_live(tmp_path):
  pytest.importorskip("torch_fidelity")
  import torch

  from tests.models import torch_fidelity_inception

  path = tmp_path / "inception.pth"
  saved = torch_fidelity_inception.state_dict()
  torch.save(saved, path, _use_new_zipfile_serialization=False)
  look = inception(path, "")
  for shape in ((3, 64, 64), (1, 299, 299), (2, 33, 500)):
    images = pictures(*shape)
    expected = torch_fidelity_inception.features(images)
    atol = 2e-6 * expected.max()
    np.testing.assert_allclose(look(images), expected, rtol=1e-5, atol=atol)


def test_says_which_network_it_is_and_how_it_looks(path):
  look = inception(path, "")
  assert look.name.startswith("InceptionV3")
  assert "sha256" in look.name
  assert len(look.name.split()[-1]) == 12
  assert "299" in look.how
  assert look(np.zeros((0, 8, 8, 3), np.uint8)).shape == (0, 2048)


def test_other_weights_than_the_published_ones_are_refused_unless_asked_for(path):
  refused(lambda: inception(path), str(path), "expected one that begins with 6726825d")
  inception(path, inception(path, "").name.split()[-1])


def test_a_tensor_that_is_missing_or_of_another_shape_is_named(path):
  whole = inception_weights()
  for name in ("Mixed_7c.branch_pool.conv.weight", "Conv2d_1a_3x3.bn.running_var"):
    others = {key: array for key, array in whole.items() if key != name}
    file = WeightFile(path, "", others)
    refused(lambda file=file: convert(file), str(path), f"no tensor {name!r}")
    file = WeightFile(path, "", {**others, name: np.zeros((2, 3), np.float32)})
    refused(lambda file=file: convert(file), f"tensor {name!r} as float32 [2, 3]")
