"""Copies of training images, on planted models of which it is known how many they draw."""

import numpy as np
import pytest

from jaxt2i.evaluators.copies import Copies, nearest
from jaxt2i.evaluators.drawn import Drawing
from tests.planted import OPTIONS, Planted
from tests.sources import Pictures, pictures

TRAIN, VAL, TEST = (Pictures(pictures(n, seed)) for n, seed in ((300, 0), (200, 1), (40, 2)))


def measured(images):
  drawing = Drawing(TEST, 20, OPTIONS)
  return drawing(Planted(lambda prompt, index: images[index]), [Copies(TRAIN, VAL)])


def test_copies_are_counted():
  images = pictures(20, 3)
  assert measured(images)["copy_rate"] <= 0.1  # as far away as validation is
  images[:7] = TRAIN.images[50:57]
  found = measured(images)
  assert found["copy_rate"] == pytest.approx(7 / 20, abs=0.06)
  distances = nearest(VAL.images, TRAIN)
  assert np.mean(distances < found["copy_distance"]) == pytest.approx(0.01, abs=0.006)
  noisy = images.astype(int) + np.random.default_rng(4).integers(-9, 10, images.shape)
  assert measured(np.clip(noisy, 0, 255).astype(np.uint8))["copy_rate"] >= 7 / 20


def test_distances_are_those_of_a_loop():
  images = pictures(6, 5)
  found = nearest(images, TRAIN)
  x, y = images / 255, TRAIN.images / 255
  expected = [min(np.mean((a - b) ** 2) for b in y) for a in x]
  np.testing.assert_allclose(found, expected, rtol=1e-9)
  assert nearest(TRAIN.images[:3], TRAIN).max() < 1e-12


def test_large_images_are_compared_at_64_pixels():
  small = pictures(9, 6, side=64)
  large = small.repeat(2, axis=1).repeat(2, axis=2)
  np.testing.assert_allclose(
    nearest(large[:2], Pictures(large[2:])), nearest(small[:2], Pictures(small[2:]))
  )
