"""Distances of sets of drawings: planted models that fail in known ways, and all formulas."""

import numpy as np
import pytest
from scipy import linalg

from jaxt2i.evaluators import intervals
from jaxt2i.evaluators.drawn import Drawing
from jaxt2i.evaluators.extractor import Features
from jaxt2i.evaluators.frechet import LEAST_IMAGES
from jaxt2i.evaluators.generation import Generation, compare, efficientnet, protocol
from tests.features import features
from tests.planted import OPTIONS, Planted, values_of
from tests.sources import Pictures, scenes

N = 24


TRAIN, TEST, OTHER = (scenes(N, seed) for seed in range(3))


def measured(draw):
  score = Generation(efficientnet(features()), Pictures(TRAIN))
  return values_of(Drawing(Pictures(TEST), N, OPTIONS), Planted(draw), score)


def test_what_draws_like_the_data_is_as_near_as_the_data():
  found = measured(lambda prompt, index: OTHER[index])
  low, high = found["drawn_kid_95"]
  assert low < found["floor_kid"] < high
  # The same drawings; those for captions are not compared with the images of these.
  assert found["drawn_precision"] == found["random_precision"]
  assert found["drawn_kid"] != found["random_kid"]
  assert found["drawn_kid"] == pytest.approx(found["random_kid"], abs=(high - low) / 2)
  assert found["drawn_coverage"] > 0.7
  assert not any("fd" in name for name in found)  # too few images


def test_a_collapsed_model_is_caught():
  found = measured(lambda prompt, index: OTHER[0])
  assert found["drawn_kid"] > found["floor_kid_95"][1]
  assert found["drawn_mmd"] > found["floor_mmd_95"][1]
  assert found["drawn_recall"] == 0
  assert found["drawn_coverage"] < 0.5 * found["floor_coverage"]


def test_noise_is_caught_and_drawings_without_captions_are_told_apart():
  noise = np.random.default_rng(0).integers(0, 256, (N, 32, 32, 3)).astype(np.uint8)
  found = measured(lambda prompt, index: (OTHER if prompt else noise)[index])
  assert found["random_kid"] > 10 * abs(found["drawn_kid"])
  assert max(found["random_precision"], found["random_density"]) < 0.2
  assert found["drawn_precision"] > 0.7


def gaussian_features(seed, n, shift=0.0):
  rng = np.random.default_rng(seed)
  draw = lambda size: rng.normal(shift, 1, (n, size)).astype(np.float32)
  return Features(draw(112), draw(1280))


def test_the_frechet_distance_is_of_the_features_of_the_middle():
  real, fake = gaussian_features(0, LEAST_IMAGES), gaussian_features(1, LEAST_IMAGES, 0.2)
  found = compare(real, fake)
  x, y = real.middle.astype(np.float64), fake.middle.astype(np.float64)
  of_x, of_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
  root = linalg.sqrtm(of_x @ of_y).real
  expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(of_x + of_y - 2 * root)
  assert found["fd"] == pytest.approx(expected, rel=1e-6)
  low, high = found["fd_95"]
  others = [
    compare(gaussian_features(2 * i, LEAST_IMAGES), gaussian_features(2 * i + 1, LEAST_IMAGES, 0.2))
    for i in range(1, 4)
  ]
  assert low < min(other["fd"] for other in others)
  assert max(other["fd"] for other in others) < high


def test_kernel_distances_are_of_the_last_features(monkeypatch):
  monkeypatch.setattr(intervals, "RESAMPLES", 3)
  real, fake = gaussian_features(0, 30), gaussian_features(1, 30, 0.2)
  found = compare(real, fake)
  x, y = real.last.astype(np.float64), fake.last.astype(np.float64)
  off = 1 - np.eye(30)

  def mmd2(k):
    return np.sum(off * (k(x, x) + k(y, y))) / 870 - 2 * np.mean(k(x, y))

  assert found["kid"] == pytest.approx(mmd2(lambda a, b: (a @ b.T / 1280 + 1) ** 3), rel=1e-9)
  unit = lambda a: a / np.linalg.norm(a, axis=1, keepdims=True)
  squares = lambda a, b: np.sum((unit(a)[:, None] - unit(b)[None]) ** 2, axis=-1)
  expected = 1000 * mmd2(lambda a, b: np.exp(-squares(a, b) / 200))
  assert found["mmd"] == pytest.approx(expected, rel=1e-5)


def test_a_model_may_be_compared_pair_by_pair(monkeypatch):
  monkeypatch.setattr(intervals, "RESAMPLES", 3)
  real, fake = gaussian_features(0, 30), gaussian_features(1, 30, 0.2)
  x, y = real.last.astype(np.float64), fake.last.astype(np.float64)
  k = lambda a, b: (a @ b.T / 1280 + 1) ** 3
  off = 1 - np.eye(30)
  expected = np.sum(off * (k(x, x) + k(y, y) - 2 * k(x, y))) / 870
  assert compare(real, fake, paired=True)["kid"] == pytest.approx(expected, rel=1e-9)


def test_of_the_training_split_there_is_no_floor():
  score = Generation(efficientnet(features()), None)
  drawing = Drawing(Pictures(TEST), N, OPTIONS)
  found = values_of(drawing, Planted(lambda prompt, index: OTHER[index]), score)
  assert not any(name.startswith("floor") for name in found)
  assert 0 <= found["drawn_coverage_95"][0] < found["drawn_coverage_95"][1] <= 1


def test_the_protocol_says_what_must_be_known():
  said = protocol(300, "val")
  for word in ("EfficientNet-Lite0", "579344248a93", "128 pixels", "bilinear", "300", "split val"):
    assert word in said
  assert "bootstrap" in said
  assert "fd: mean of 112 features" in said
  assert "fd:" not in protocol(100, "val")
