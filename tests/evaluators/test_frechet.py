"""The Fréchet distance against closed forms and scipy; its sums against all images at once."""

import numpy as np
import pytest
from scipy import linalg

from jaxt2i.evaluators.frechet import Moments, frechet_distance, protocol


def gaussian(seed, n, size):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(n, size)) @ rng.normal(size=(size, size)) + rng.normal(size=size)


def test_moments_of_parts_add_up_to_those_of_all():
  x = gaussian(0, 50, 6).astype(np.float32)
  parts = sum((Moments.of(x[i : i + 7]) for i in range(0, 50, 7)), Moments.empty(6))
  np.testing.assert_allclose(parts.mean, x.astype(np.float64).mean(0), rtol=1e-12)
  np.testing.assert_allclose(parts.covariance, np.cov(x.astype(np.float64), rowvar=False))
  assert parts.count == 50


def test_between_independent_features_it_is_the_squared_gap_of_means_and_deviations():
  # ±s at one feature each: means and deviations are exact, covariances 0.
  def points(means, deviations):
    signs = np.array(np.meshgrid(*[[-1, 1]] * len(means))).reshape(len(means), -1).T
    scale = np.sqrt((len(signs) - 1) / len(signs))
    return Moments.of(np.array(means) + scale * np.array(deviations) * signs)

  a, b = points([1.0, 2.0, -1.0], [1.0, 0.5, 0.0]), points([1.0, 0.0, 1.0], [3.0, 0.5, 2.0])
  assert frechet_distance(a, b) == pytest.approx((0 + 4 + 4) + (4 + 0 + 4), rel=1e-9)


def test_equals_scipy():
  a, b = gaussian(0, 100, 8), gaussian(1, 90, 8)
  of_a, of_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
  root = linalg.sqrtm(of_a @ of_b)
  expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(of_a + of_b - 2 * root.real)
  assert frechet_distance(Moments.of(a), Moments.of(b)) == pytest.approx(expected, rel=1e-8)
  assert frechet_distance(Moments.of(b), Moments.of(a)) == pytest.approx(expected, rel=1e-8)


def test_fewer_images_than_features_are_no_matter_to_the_root():
  a, b = gaussian(0, 5, 12), gaussian(1, 6, 12)
  # tr (Σa Σb)^½ is the sum of singular values of the product of the centred features.
  centred = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (a, b)]
  shared = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
  expected = np.sum((a.mean(0) - b.mean(0)) ** 2) - 2 * shared
  expected += sum(np.trace(x.T @ x) for x in centred)
  assert frechet_distance(Moments.of(a), Moments.of(b)) == pytest.approx(expected, rel=1e-5)


def test_the_same_images_are_at_0():
  a = Moments.of(gaussian(0, 20, 6))
  assert 0 <= frechet_distance(a, a) < 1e-6 * np.trace(a.covariance)


def test_the_protocol_names_extractor_filter_size_and_number():
  said = protocol(364)
  for word in (
    "EfficientNet-Lite0",
    "579344248a93",
    "112 features",
    "128 pixels",
    "bilinear",
    "364",
    "same images",
  ):
    assert word in said
  assert "FID" not in said
