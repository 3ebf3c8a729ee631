"""How images are brought to the size that Inception takes: TensorFlow 1's way, written out."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i.models.inception import prepared, resized
from tests.arrays import normal
from tests.supplied import pictures


def slowly(x, side):
  """A pixel at a time: each lies at its place times the ratio of sides, among four neighbours."""
  out = np.zeros((len(x), side, side, x.shape[3]))
  height, width = x.shape[1:3]
  for i in range(side):
    for j in range(side):
      at_y, at_x = i * height / side, j * width / side
      top, left = int(at_y), int(at_x)
      bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
      dy, dx = at_y - top, at_x - left
      upper = x[:, top, left] * (1 - dx) + x[:, top, right] * dx
      lower = x[:, bottom, left] * (1 - dx) + x[:, bottom, right] * dx
      out[:, i, j] = upper * (1 - dy) + lower * dy
  return out


@pytest.mark.parametrize("shape", [(5, 9), (30, 20), (12, 12), (1, 40)])
def test_resizes_as_tensorflow_1(shape):
  x = normal(0, 2, *shape, 3)
  expected = slowly(np.asarray(x, np.float64), 12)
  np.testing.assert_allclose(resized(x, 12), expected, atol=1e-5)


def test_it_is_not_the_resize_of_today():
  ramp = jnp.arange(4.0)[None, None, :, None] * jnp.ones((1, 4, 1, 1))
  found = np.asarray(resized(ramp, 8))[0, 0, :, 0]
  np.testing.assert_allclose(found, [0, 0.5, 1, 1.5, 2, 2.5, 3, 3])  # today: 0, 0.25, 0.75, …


def test_bytes_become_numbers_around_0():
  images = pictures(1, 299, 299)
  images[0, 0, :2, 0] = (0, 255)
  found = np.asarray(prepared(jnp.asarray(images)))
  np.testing.assert_array_equal(found, (images.astype(np.float32) - 128) / 128)
  assert found.min() == -1
