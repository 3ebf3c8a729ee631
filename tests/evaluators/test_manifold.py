"""Precision, recall, density, coverage: by the papers' definitions, and for known failures."""

import numpy as np
import pytest

from jaxt2i.evaluators import bootstrap, manifold
from jaxt2i.evaluators.manifold import Overlap


def features(seed, n, size=4, shift=0.0):
  return np.random.default_rng(seed).normal(shift, 1, (n, size)).astype(np.float32)


def measured(real, fake, k=5):
  values = Overlap.of(real, fake, k).values(np.ones((len(real), 1)), np.ones((len(fake), 1)))
  return {name: float(value[0]) for name, value in values.items()}


def reference(real, fake, k):
  """The definitions image by image."""
  x, y = real.astype(np.float64), fake.astype(np.float64)
  reach = lambda p, all_: np.sort(np.linalg.norm(all_ - p, axis=1))[k]
  of_x, of_y = [reach(p, x) for p in x], [reach(p, y) for p in y]
  near = lambda a, b, radius: np.linalg.norm(a - b) < radius
  balls = [sum(near(b, a, r) for a, r in zip(x, of_x, strict=True)) for b in y]
  return {
    "precision": np.mean([count > 0 for count in balls]),
    "recall": np.mean([any(near(a, b, r) for b, r in zip(y, of_y, strict=True)) for a in x]),
    "density": np.mean(balls) / k,
    "coverage": np.mean([any(near(a, b, r) for b in y) for a, r in zip(x, of_x, strict=True)]),
  }


@pytest.mark.parametrize("k", [1, 3, 5])
def test_equals_the_definitions(k, monkeypatch):
  monkeypatch.setattr(manifold, "_AT_ONCE", 11)
  real, fake = features(0, 60), features(1, 45, shift=0.7)
  found, expected = measured(real, fake, k), reference(real, fake, k)
  assert found == pytest.approx(expected)
  assert all(value not in (0, 1) for value in found.values())


def test_two_samples_of_one_distribution():
  # Naeem et al., §3.3: E[density] = 1 and E[coverage] = 1 − 2^(−k), nearly.
  found = [measured(features(2 * i, 300), features(2 * i + 1, 300)) for i in range(10)]
  mean = {name: np.mean([each[name] for each in found]) for name in found[0]}
  assert mean["density"] == pytest.approx(1, abs=0.05)
  assert mean["coverage"] == pytest.approx(1 - 2**-5, abs=0.02)


def test_a_collapsed_model_has_neither_recall_nor_coverage():
  real = features(0, 200)
  fake = (real[:1] + 0.01 * features(1, 200)).astype(np.float32)
  found = measured(real, fake)
  assert found["precision"] > 0.9
  assert found["recall"] < 0.05
  assert found["coverage"] < 0.2


def test_what_resembles_nothing_has_no_precision():
  found = measured(features(0, 200), features(1, 200, shift=20.0))
  assert found == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


def test_resampled_figures_scatter_about_the_value():
  real, fake = features(0, 80), features(1, 50, shift=0.7)
  overlap = Overlap.of(real, fake)
  found = overlap.values(bootstrap.weights(80, 0), bootstrap.weights(50, 1))
  for name, values in found.items():
    assert values.shape == (1 + bootstrap.RESAMPLES,)
    assert values[0] == pytest.approx(measured(real, fake)[name])
    assert np.mean(values[1:]) == pytest.approx(values[0], abs=4 * np.std(values) / 14)
