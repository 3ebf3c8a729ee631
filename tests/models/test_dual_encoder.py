"""The dual encoder: points of length 1, the scale, who sees what."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import dual_encoder
from jaxt2i import modules
from jaxt2i.errors import UsageError
from jaxt2i.models.dual_encoder import MAX_SCALE, START_SCALE
from tests.arrays import integers, random_params

SECTION = dual_encoder.get_config("tiny").model.to_dict()
MODEL = modules.dual_encoder(SECTION, 64, 11)
IMAGES = integers(0, 0, 256, 3, 64, 64, 3).astype(jnp.uint8)
TEXT = jnp.array([[3, 7, 2], [5, 0, 0], [0, 0, 0]])


@functools.cache
def params():
  return random_params(MODEL, IMAGES, TEXT)


@jax.jit
def points_of(params, images, text):
  return MODEL.apply({"params": params}, images, text)


def test_points_lie_on_the_sphere():
  points = points_of(params(), IMAGES, TEXT)
  for part in (points.images, points.texts):
    assert part.shape == (3, 32)
    np.testing.assert_allclose(np.linalg.norm(part, axis=1), 1, atol=1e-5)


def test_a_point_depends_on_its_own_image_or_caption_alone():
  points = points_of(params(), IMAGES, TEXT)
  other = points_of(params(), IMAGES.at[1].set(0), TEXT.at[2].set(4))
  for name, row in (("images", 1), ("texts", 2)):
    difference = np.abs(getattr(points, name) - getattr(other, name)).max(axis=1)
    np.testing.assert_array_equal(difference > 1e-3, np.arange(3) == row)
    np.testing.assert_allclose(difference[np.arange(3) != row], 0, atol=1e-6)


def test_the_scale_starts_as_clip_s_and_is_bounded():
  init = jax.jit(lambda: MODEL.init(jax.random.key(0), IMAGES, TEXT))()["params"]
  np.testing.assert_allclose(points_of(init, IMAGES, TEXT).scale, START_SCALE, rtol=1e-5)
  large = {**init, "log_scale": jnp.asarray(9.0)}
  np.testing.assert_allclose(points_of(large, IMAGES, TEXT).scale, MAX_SCALE, rtol=1e-6)


@pytest.mark.parametrize(
  ("changes", "named"),
  [
    ({"dims": 3}, "config.model.dims is not an option; did you mean 'dim'"),
    ({"dim": 0}, "config.model.dim is 0: must be 1 or more"),
    ({"text": {"name": "transformer"}}, "config.model.text lacks layers"),
    ({"network": {"name": "unet"}}, "config.model.network.name is 'unet'"),
  ],
)
def test_options_that_cannot_work_are_named(changes, named):
  with pytest.raises(UsageError, match=named):
    modules.dual_encoder(SECTION | changes, 64, 11)
