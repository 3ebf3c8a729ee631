"""How images are brought to the size that CLIP takes, against Pillow."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxt2i.models.clip import MEAN, STD, prepared
from tests.supplied import pictures


def bytes_of(x):
  """Before the normalisation."""
  return (np.asarray(x, np.float64) * STD + MEAN) * 255


@pytest.mark.parametrize(
  ("height", "width", "side"),
  [(64, 64, 224), (40, 57, 30), (301, 200, 32), (24, 61, 24), (9, 9, 9)],
)
def test_equals_pillow_but_for_rounding(height, width, side):
  images = pictures(2, height, width)
  ratio = side / min(height, width)
  size = int(width * ratio + 1e-9), int(height * ratio + 1e-9)
  left, top = (size[0] - side) // 2, (size[1] - side) // 2
  box = left, top, left + side, top + side
  resized = [Image.fromarray(x).resize(size, Image.Resampling.BICUBIC).crop(box) for x in images]
  difference = bytes_of(prepared(jnp.asarray(images), side)) - np.stack(resized)
  assert np.abs(difference).max() < 2.001
  assert np.mean(np.abs(difference) > 0.001) < 1e-2
  assert np.mean(np.abs(difference) > 1.001) < 1e-4


def test_the_middle_is_cut_out():
  images = np.zeros((1, 4, 9, 3), np.uint8)
  images[0, :, 2:6] = 255  # of 5 columns too many 2 go before, 3 after
  for wide_or_high in (images, np.swapaxes(images, 1, 2)):
    found = prepared(jnp.asarray(wide_or_high), 4)
    np.testing.assert_allclose(bytes_of(found), 255, atol=1e-3)
