"""A dual encoder that sees images through a pretrained network: its points, and a run of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import dual_encoder
from jaxt2i import matcher, modules, pretrained, weights
from jaxt2i.checkpoints import read_arrays
from jaxt2i.errors import UsageError
from jaxt2i.models.dual_encoder import PretrainedImageEncoder
from jaxt2i.models.perceptual import look
from tests.features import features, waves
from tests.runs import train

CONFIG = "efficientnet,shapes,tiny"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  return train(tmp_path_factory.mktemp("dual") / "encoder", f"dual_encoder:{CONFIG}")


def test_features_are_those_of_the_network_over_the_image():
  image = jnp.concatenate([waves(40, 64), waves(40, 64)[:, :, ::-1]])
  frozen = {"frozen": {"efficientnet": features()}}
  encode = jax.jit(lambda image: PretrainedImageEncoder().apply(frozen, image))
  found = jax.jit(lambda image: look(features(), image))(image)
  groups = [np.mean(found.stages[i], axis=(1, 2)) for i in (2, 4, 6)] + [found.pooled]
  expected = [
    (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    for x in map(np.float64, groups)
  ]
  actual = encode(image)
  assert actual.shape == (2, 1, 1, 40 + 112 + 320 + 1280)
  np.testing.assert_allclose(actual[:, 0, 0], np.concatenate(expected, axis=1), atol=1e-3)


def test_the_network_is_not_trained_and_stays_with_the_run(run, tmp_path, monkeypatch):
  _, arrays = read_arrays(run, ("collections", "ema_params", "params"))
  frozen = arrays["collections"]["frozen"]["image_encoder"]["efficientnet"]
  jax.tree.map(np.testing.assert_array_equal, frozen, features())
  assert "image_encoder" not in arrays["params"]
  assert arrays["params"]["image_projection"]["kernel"].shape[0] == 1752
  monkeypatch.setattr(pretrained, "efficientnet_lite0", None)  # the package is not needed again
  weights.export(run, tmp_path / "exported")
  images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
  points = [matcher.load(folder).images(images) for folder in (run, tmp_path / "exported")]
  np.testing.assert_allclose(*points, atol=0.02)  # trained weights in bfloat16
  apart = np.linalg.norm(points[0][:, None] - points[0][None], axis=2)
  assert apart[np.triu_indices(3, 1)].min() > 1e-3


def test_images_that_are_too_small_are_refused():
  section = dual_encoder.get_config(CONFIG).model.to_dict()
  with pytest.raises(UsageError, match=r"image_size is 24: must be at least 32 for config\.model"):
    modules.dual_encoder(section, 24, 11)
  section["network"] = {"name": "efficientnet", "blocks": 1}
  with pytest.raises(UsageError, match=r"network\.blocks is not an option; there are none"):
    modules.dual_encoder(section, 64, 11)
