"""Copies of training images, on planted models of which it is known how many they draw."""

import numpy as np
import pytest

from jaxt2i.evaluators import copies
from jaxt2i.evaluators.copies import Copies, pixels, small
from jaxt2i.evaluators.drawn import Drawing
from jaxt2i.pictures import MARGIN
from tests.features import features
from tests.planted import OPTIONS, Planted, values_of
from tests.sources import Pictures, pictures, scenes


def nearest(images, source):
  return copies.nearest(small(images), source, pixels)[0]


TRAIN, VAL, TEST = (Pictures(pictures(n, seed)) for n, seed in ((300, 0), (200, 1), (40, 2)))


def measured(images):
  drawing = Drawing(TEST, 20, OPTIONS)
  return values_of(drawing, Planted(lambda prompt, index: images[index]), Copies(TRAIN, VAL))


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
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  assert nearest(TRAIN.images[:3], TRAIN).max() < 1e-12


def test_large_images_are_compared_at_64_pixels():
  small = pictures(9, 6, side=64)
  large = small.repeat(2, axis=1).repeat(2, axis=2)
  np.testing.assert_allclose(
    nearest(large[:2], Pictures(large[2:])), nearest(small[:2], Pictures(small[2:]))
  )


def test_which_image_is_nearest(monkeypatch):
  monkeypatch.setattr(copies, "_AT_ONCE", 64)
  found = copies.nearest(TRAIN.images[[5, 299, 64]], TRAIN, pixels)
  np.testing.assert_array_equal(found[1], [5, 299, 64])


def test_the_curve_has_the_rate_and_ends_where_half_of_validation_is():
  images = pictures(20, 3)
  images[:7] = TRAIN.images[50:57]
  found = measured(images)
  curve = found["copy_curve"]
  assert list(curve) == ["0.1", "1", "5", "10", "25", "50"]
  assert curve["1"] == found["copy_rate"]
  assert list(curve.values()) == sorted(curve.values())
  assert curve["0.1"] >= 7 / 20


def test_a_memoriser_that_hides_behind_a_shift_is_caught_by_features():
  train, val, test = (Pictures(scenes(40, seed)) for seed in range(3))
  # Moved by three pixels and a little darker: far away by pixels.
  hidden = (np.roll(train.images, 3, axis=2) * 0.9).astype(np.uint8)
  score = Copies(train, val, features())
  draw = lambda prompt, index: hidden[index]
  drawing = Drawing(test, 40, OPTIONS)
  found = values_of(drawing, Planted(draw), score)
  drawn = Planted(lambda prompt, index: test.images[index])
  honest = values_of(drawing, drawn, Copies(train, val, features()))
  assert found["copy_rate_features"] > 0.5
  assert honest["copy_rate_features"] < 0.2


def test_the_sheet_shows_the_worst_beside_what_they_are_near_to():
  images = pictures(20, 3)
  images[4] = TRAIN.images[250]
  score = Copies(TRAIN, VAL)
  values_of(Drawing(TEST, 20, OPTIONS), Planted(lambda prompt, index: images[index]), score)
  sheet = np.asarray(score.sheet())
  # The first cell: the copy, enlarged twelve times, and its original.
  first = sheet[MARGIN : MARGIN + 96, MARGIN : MARGIN + 96]
  second = sheet[MARGIN : MARGIN + 96, 2 * MARGIN + 96 : 2 * MARGIN + 192]
  np.testing.assert_array_equal(first[::12, ::12], images[4])
  np.testing.assert_array_equal(second, first)
