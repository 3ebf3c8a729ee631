"""Kernel distances: against sums written out, without bias, at any block and any weights."""

import numpy as np
import pytest
from scipy import stats

from jaxt2i.evaluators import intervals, kernel
from jaxt2i.evaluators.kernel import gaussian, mmd2, polynomial


def features(seed, n, size=6, shift=0.0):
  return np.random.default_rng(seed).normal(shift, 1, (n, size)).astype(np.float32)


def ones(*counts):
  return tuple(np.ones((count, 1)) for count in counts)


def reference(real, fake, k):
  """Gretton et al. 2012, eq. 3, pair by pair."""
  n, m = len(real), len(fake)
  x, y = real.astype(np.float64), fake.astype(np.float64)
  within = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
  within += sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
  return within - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


@pytest.mark.parametrize(
  ("function", "formula"),
  [
    (polynomial, lambda a, b: (np.dot(a, b) / len(a) + 1) ** 3),
    (gaussian, lambda a, b: np.exp(-(np.linalg.norm(a - b) ** 2) / 200)),
  ],
)
def test_equals_the_sum_over_pairs(function, formula, monkeypatch):
  real, fake = features(0, 23), features(1, 31, shift=0.5)
  monkeypatch.setattr(kernel, "_AT_ONCE", 7)
  (found,) = mmd2(real, fake, function, ones(23, 31))
  assert found == pytest.approx(reference(real, fake, formula), rel=1e-9)


def test_weights_are_repetitions_but_no_image_meets_itself():
  real, fake = features(0, 5), features(1, 4)
  weights = np.array([[2.0], [0], [1], [1], [1]]), np.ones((4, 1))
  (found,) = mmd2(real, fake, polynomial, weights)
  x, y = (features.astype(np.float64) for features in (real, fake))
  w, v = (each[:, 0] for each in weights)
  pairs = np.outer(w, w) * (1 - np.eye(5))
  expected = np.sum(pairs * polynomial(x, x)) / pairs.sum()
  others = 1 - np.eye(4)
  expected += np.sum(others * polynomial(y, y)) / others.sum()
  expected -= 2 * np.sum(np.outer(w, v) * polynomial(x, y)) / 20
  assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("function", [polynomial, gaussian])
def test_is_unbiased_at_few_images(function):
  # Two sets of one distribution: the mean over many draws is 0, however few images.
  found = [
    mmd2(features(2 * i, 8), features(2 * i + 1, 12), function, ones(8, 12))[0] for i in range(400)
  ]
  assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))
  assert np.mean(np.array(found) < 0) > 0.2
  apart = [
    mmd2(features(2 * i, 8), features(2 * i + 1, 12, shift=1.0), function, ones(8, 12))[0]
    for i in range(400)
  ]
  # The mean at 8 and 12 images is that at 400 and 400.
  (many,) = mmd2(features(0, 1500), features(1, 1500, shift=1.0), function, ones(1500, 1500))
  assert np.mean(apart) == pytest.approx(many, abs=4 * np.std(apart) / np.sqrt(len(apart)))


@pytest.mark.parametrize("function", [polynomial, gaussian])
def test_a_model_that_follows_captions_is_no_nearer_than_another_sample(function):
  # Half of what both sets show is in the caption that picture i of one and of the other share.
  def sample(seed):
    caption, a, b = (features(3 * seed + i, 12) for i in range(3))
    return (caption + a) / np.sqrt(2), (caption + b) / np.sqrt(2)

  pairs = [sample(seed) for seed in range(400)]
  found, left_in = (
    np.array([mmd2(*pair, function, ones(12, 12), paired=paired)[0] for pair in pairs])
    for paired in (True, False)
  )
  assert abs(found.mean()) < 3 * found.std() / 20
  assert left_in.mean() < -3 * left_in.std() / 20


def test_pairs_by_hand_with_weights():
  x, y = features(0, 5).astype(np.float64), features(1, 5, shift=0.5).astype(np.float64)
  w = np.array([[2.0], [0], [1], [1], [1]])
  (found,) = mmd2(x, y, polynomial, (w, w), paired=True)
  others = np.outer(w, w) * (1 - np.eye(5))
  values = polynomial(x, x) + polynomial(y, y) - 2 * polynomial(x, y)
  assert found == pytest.approx(np.sum(others * values) / others.sum(), rel=1e-12)


def test_intervals_hold_no_distance_at_least_as_often_as_they_say():
  held = []
  for i in range(150):
    weights = intervals.resamples(60, 2 * i), intervals.resamples(60, 2 * i + 1)
    found = mmd2(features(2 * i, 60), features(2 * i + 1, 60), polynomial, weights)
    low, high = intervals.of_resamples(found)
    held.append(low <= 0 <= high)
  assert np.mean(held) >= 0.93


def test_intervals_hold_the_truth_as_often_as_they_say():
  truth = mmd2(features(0, 3000), features(1, 3000, shift=1.0), polynomial, ones(3000, 3000))[0]
  held = []
  for i in range(150):
    real, fake = features(10 + 2 * i, 60), features(11 + 2 * i, 60, shift=1.0)
    weights = intervals.resamples(60, 2 * i), intervals.resamples(60, 2 * i + 1)
    low, high = intervals.of_resamples(mmd2(real, fake, polynomial, weights))
    held.append(low <= truth <= high)
  assert 0.88 <= np.mean(held) <= 0.99


def test_resamples_are_of_as_many_images_and_the_first_is_the_sample():
  weights = intervals.resamples(40, seed=3)
  assert weights.shape == (40, 1 + intervals.RESAMPLES)
  np.testing.assert_array_equal(weights.sum(axis=0), 40)
  np.testing.assert_array_equal(weights[:, 0], 1)
  np.testing.assert_array_equal(weights, intervals.resamples(40, seed=3))
  assert not np.array_equal(weights, intervals.resamples(40, seed=4))
  # A resample leaves (1 − 1/n)^n of the images out.
  assert np.mean(weights[:, 1:] == 0) == pytest.approx((1 - 1 / 40) ** 40, abs=0.01)


def test_the_interval_lies_about_the_value():
  values = np.array([5.0, *np.random.default_rng(0).normal(8, 2, 4000)])
  low, high = intervals.of_resamples(values)
  assert (low + high) / 2 == pytest.approx(5)
  assert high - low == pytest.approx(2 * 1.96 * 2, rel=0.05)


def test_the_interval_of_a_difference_is_welchs():
  rng = np.random.default_rng(1)
  a, b = rng.normal(3, 1, 300), rng.normal(1, 4, 200)
  low, high = intervals.of_difference(a, b)
  # scipy's has the quantile of t instead of the normal one: 1.970 at these numbers, not 1.96.
  welch = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
  assert (low, high) == (pytest.approx(welch.low, rel=0.01), pytest.approx(welch.high, rel=0.01))


def test_one_value_has_no_interval():
  assert intervals.mean("x", np.float32([2.5])) == {"x": 2.5}
  assert intervals.difference("x", np.array([3.0]), np.arange(3.0)) == {"x": 2.0}
  low, high = intervals.mean("x", np.float32([1, 3]))["x_95"]
  assert (low, high) == (pytest.approx(2 - 1.96), pytest.approx(2 + 1.96))


def test_intervals_of_shares():
  # Wilson's, by the formula's two ends, which solve (p − share)² = z² p (1 − p) / n.
  hits = np.arange(40) < 9
  low, high = intervals.of_share(hits)
  for end in (low, high):
    assert (end - 9 / 40) ** 2 == pytest.approx(1.96**2 * end * (1 - end) / 40)
  assert low < 9 / 40 < high
  of_all = intervals.of_share(np.ones(100, bool))
  assert of_all == (pytest.approx(0.963, abs=1e-3), pytest.approx(1))
  assert intervals.of_share(np.zeros(10, bool)) == (0.0, pytest.approx(0.278, abs=1e-3))
