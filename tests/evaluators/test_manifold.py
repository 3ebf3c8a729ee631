"""Precision, recall, density, coverage: by the papers' definitions, and for known failures."""

import numpy as np
import pytest

from jaxt2i.evaluators import intervals, manifold
from jaxt2i.evaluators.manifold import overlap


def features(seed, n, size=4, shift=0.0):
  return np.random.default_rng(seed).normal(shift, 1, (n, size)).astype(np.float32)


def measured(real, fake, k=5):
  values = overlap(real, fake, (np.ones((len(real), 1)), np.ones((len(fake), 1))), k)
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


def test_images_of_weight_0_are_not_there():
  real, fake = features(0, 30), features(1, 20, shift=0.7)
  # Balls are those of all images, so they are made to be of all: k + 1 copies, all of them there.
  of_real = (np.arange(30) % 3 > 0).astype(float)[:, None] * 1.5
  of_fake = (np.arange(20) % 2 > 0).astype(float)[:, None] * 2
  found = overlap(real, fake, (of_real, of_fake), 2)
  x, y = real.astype(np.float64), fake.astype(np.float64)
  reach = lambda all_: np.sort(np.linalg.norm(all_[:, None] - all_[None], axis=2))[:, 2]
  distances = np.linalg.norm(x[:, None] - y[None], axis=2)
  kept = np.ix_(of_real[:, 0] > 0, of_fake[:, 0] > 0)
  in_real = (distances < reach(x)[:, None])[kept]
  in_fake = (distances < reach(y))[kept]
  expected = {
    "precision": in_real.any(axis=0).mean(),
    "recall": in_fake.any(axis=1).mean(),
    "density": 1.5 * in_real.sum(axis=0).mean() / 2,
    "coverage": in_real.any(axis=1).mean(),
  }
  assert {name: value[0] for name, value in found.items()} == pytest.approx(expected)


def test_resamples_scatter_as_other_samples_do():
  draw = lambda seed, shift: features(seed, 100, 8, shift)
  samples = [measured(draw(2 * i, 0.0), draw(2 * i + 1, 0.5)) for i in range(150)]
  weights = [
    (intervals.resamples(100, 2 * i), intervals.resamples(100, 2 * i + 1)) for i in range(10)
  ]
  resampled = [overlap(draw(2 * i, 0.0), draw(2 * i + 1, 0.5), w) for i, w in enumerate(weights)]
  for name in samples[0]:
    true = np.std([sample[name] for sample in samples])
    said = np.mean([np.std(values[name][1:]) for values in resampled])
    assert 0.9 < said / true < 1.5, name
