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


def recognised(rebuild, *, train=TRAIN, val=VAL, variables=None):
  """The positive control of a tokenizer that gives images back as `rebuild` does."""
  planted = Planted(lambda prompt, index: val.images[index], rebuild)
  return values_of(Drawing(val, 20, OPTIONS), planted, Copies(train, val, variables))


def test_reconstructions_of_training_images_are_recognised_where_the_tokenizer_is_good():
  found = recognised(lambda images: images)
  assert found["copy_recognised"] == 1.0
  low, high = found["copy_recognised_95"]
  assert low == pytest.approx(256 / (256 + 1.96**2))  # Wilson's, of 256 hits of 256
  assert high == 1.0
  assert set(found["copy_recognised_curve"].values()) == {1.0}


def test_a_tokenizers_grain_hides_copies_and_the_control_says_so():
  rows = np.arange(8)[:, None, None] % 2
  striped = lambda images: np.where(rows, images, 255 * (images < 128)).astype(np.uint8)
  found = recognised(striped)
  assert found["copy_recognised"] == 0.0
  assert found["copy_recognised_95"][0] == 0.0


def test_the_control_is_of_training_images_spread_over_the_split(monkeypatch):
  monkeypatch.setattr(copies, "_MOST_KNOWN", 4)
  asked = []
  half = np.isin(np.arange(4), [0, 3])[:, None, None, None]

  def rebuild(images):
    asked.append(images)
    return np.where(half, images, pictures(4, 9))

  found = recognised(rebuild)
  np.testing.assert_array_equal(asked[0], TRAIN.images[[0, 99, 199, 299]])
  assert found["copy_recognised"] == 0.5
  assert "of 4 reconstructions of training images" in copies.protocol(300, 200, seen=False)


def test_the_control_by_features_knows_shifted_images_and_no_noise():
  train, val = (Pictures(scenes(40, seed)) for seed in range(2))
  shifted = lambda images: (np.roll(images, 3, axis=2) * 0.9).astype(np.uint8)
  noise = lambda images: pictures(len(images), 3, side=32)
  found, lost = (
    recognised(rebuild, train=train, val=val, variables=features()) for rebuild in (shifted, noise)
  )
  assert found["copy_recognised_features"] > 0.5
  assert lost["copy_recognised_features"] == 0.0


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
