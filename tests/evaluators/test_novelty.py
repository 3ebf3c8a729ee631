"""Copies and captions, on planted models of which both are known."""

import dataclasses

import numpy as np
import pytest

from jaxt2i.evaluators.novelty import Novelty, nearest
from jaxt2i.matcher import Matcher
from jaxt2i.pipeline import Pipeline
from jaxt2i.sampling import SamplingOptions
from tests.sources import Pictures, pictures

OPTIONS = SamplingOptions()


TRAIN, VAL, TEST = (Pictures(pictures(n, seed)) for n, seed in ((300, 0), (200, 1), (40, 2)))


class Planted(Pipeline):
  """Draws `images` in the order of the prompts; reconstructs nothing but black."""

  def __init__(self, images: np.ndarray):
    object.__setattr__(self, "images", images)

  def __call__(self, prompts, *, seed, **options):
    assert options == dataclasses.asdict(OPTIONS)
    assert list(prompts) == [f"picture {i}" for i in np.linspace(0, 39, 20).astype(int)]
    return dataclasses.make_dataclass("Drawn", ["images"])(self.images[:, None])

  def encode(self, images):
    return images

  def decode(self, tokens):
    return np.zeros_like(tokens)


class Judge(Matcher):
  """Sees the first two rows of a picture; knows those of each picture of TEST."""

  def __init__(self):
    pass

  def images(self, images):
    points = images[:, :2].reshape(len(images), -1).astype(np.float32)
    points = points - 127.5
    return points / np.linalg.norm(points, axis=1, keepdims=True)

  def texts(self, captions):
    return self.images(np.stack([TEST.images[int(c.split()[1])] for c in captions]))


def measured(images, **options):
  return Novelty(TEST, TRAIN, VAL, 20, OPTIONS, **options)(Planted(images))


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
  assert "r_precision" not in found


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


def test_a_judge_tells_how_many_drawings_fit_their_captions():
  chosen = TEST.images[np.linspace(0, 39, 20).astype(int)]
  assert measured(chosen, judge=Judge())["r_precision"] == 1
  half = chosen.copy()
  half[:10] = np.roll(half[:10], 1, axis=0)
  found = measured(half, judge=Judge())
  assert found["r_precision"] == 0.5
  assert found["r_precision_real"] == 1
  assert found["r_precision_reconstructed"] <= 0.1  # black
  assert found["r_precision_chance"] == 1 / 20
