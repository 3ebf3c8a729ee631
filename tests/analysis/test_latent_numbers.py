"""Size, usage and laws of frequency: closed forms, brute force, SciPy, planted truths."""

import math

import numpy as np
import pytest
from scipy import stats

from jaxt2i.analysis import latent_size, latent_usage, measures, rank_laws
from tests.analysis.latent_sets import latent_set

RNG = np.random.default_rng


def value(section, name):
  return next(m.value for m in section.measures if m.name == name)


def draws(p, images=200, side=4, seed=0):
  """A set whose tokens are independent draws."""
  tokens = RNG(seed).choice(len(p), size=(images, side, side), p=p)
  codes = RNG(1).normal(size=(len(p), 3))
  return latent_set(tokens, codes, colours=RNG(2).integers(0, 256, (len(p), 3)))


# --- measures ---


def test_mean_and_interval_are_those_of_scipy():
  values = RNG(0).normal(size=30)
  mean, (low, high) = measures.mean_of(values)
  assert mean == pytest.approx(values.mean())
  assert (high - low) / 2 == pytest.approx(1.96 * stats.sem(values))
  assert measures.mean_of(np.array([1.0, 3.0]), np.array([3, 1]))[0] == pytest.approx(1.5)
  assert measures.mean_of(np.array([2.0])) == (2.0, None)
  assert math.isnan(measures.mean_of(np.zeros(0))[0])


def test_json_knows_no_nan_and_leaves_out_what_is_empty():
  found = measures.Measure("x", math.nan, "It.", "all", (0.0, math.inf)).json()
  assert found == {"value": None, "means": "It.", "protocol": "all", "interval": [0.0, None]}
  assert measures.Measure("x", 2, "It.", "all", unit="bits").json()["unit"] == "bits"


@pytest.mark.parametrize(
  ("number", "text"),
  [(3.0, "3"), (12345.678, "12,346"), (0.12345, "0.123"), (1e-5, "1.0e-05"), (math.nan, "–")],
)
def test_numbers_as_people_read_them(number, text):
  assert measures.shown(number) == text
  assert measures.shown("under") == "under"


# --- size ---


@pytest.mark.parametrize(("k", "count"), [(1, 50), (5, 40), (20, 30), (20, 2000)])
def test_effective_dimension_of_a_gaussian_is_its_dimension(k, count):
  # k equal axes of 64, with fewer vectors than would do without the correction.
  found = []
  for seed in range(30):
    orthogonal, _ = np.linalg.qr(RNG(seed).normal(size=(64, k)))
    x = RNG(seed).normal(size=(count, k)) @ orthogonal.T
    variances = latent_size.variances_of_rows(x)
    found.append(latent_size.effective_dimension(variances, 64, count))
  assert np.mean(found) == pytest.approx(k, rel=0.05)


def test_effective_dimension_uncorrected_is_the_participation_ratio():
  of = latent_size.effective_dimension
  assert of(np.array([2.0, 2.0, 2.0, 0.0]), 4) == pytest.approx(3)
  assert of(np.array([3.0, 1.0]), 2) == pytest.approx(16 / 10)
  assert of(np.zeros(3), 3) == 0
  assert of(np.array([1.0, 1.0, 1.0]), 3, count=4) == 3  # never above what there is


@pytest.mark.parametrize("shape", [(9, 30), (40, 6)])
def test_variances_along_axes_are_those_of_the_covariance(shape):
  rows = RNG(0).normal(size=shape)
  expected = np.sort(np.linalg.eigvalsh(np.cov(rows.T)))[::-1][: min(shape)]
  found = np.sort(latent_size.variances_of_rows(rows))[::-1][: min(shape)]
  np.testing.assert_allclose(found, expected, atol=1e-10)


def test_axes_for_a_share_of_the_variance():
  variances = np.array([1.0, 6.0, 3.0])
  np.testing.assert_allclose(latent_size.spectrum(variances), [0.6, 0.9, 1])
  assert [latent_size.axes_for(variances, p) for p in (50, 60, 61, 90, 95)] == [1, 1, 2, 2, 3]
  assert latent_size.axes_for(np.zeros(2), 95) == 0


def test_size_of_tokens_and_pixels():
  found = draws(np.full(8, 1 / 8))
  section = latent_size.measure(found)
  assert value(section, "token_bits") == pytest.approx(16 * 3)
  assert value(section, "raw_bits") == 16 * 16 * 3 * 8
  assert value(section, "dimension_ratio") == pytest.approx(16 * 3 / (16 * 16 * 3))
  assert value(section, "complete") == "under"
  assert value(section, "unique_grids") == 1
  assert value(section, "axes_95_codes") <= 3
  assert section.answer.startswith("Under-complete: a grid of tokens can tell 48 bits")


def test_a_grid_that_tells_more_than_the_picture_is_over_complete():
  # 256 codes for one colour: no picture tells which.
  tokens = RNG(0).integers(256, size=(20, 16, 16))
  section = latent_size.measure(latent_set(tokens, RNG(1).normal(size=(256, 2))))
  assert value(section, "complete") == "over"


# --- usage ---


def test_gini_of_even_and_of_one_code_and_by_brute_force():
  assert latent_usage.gini(np.full(50, 7)) == pytest.approx(0, abs=1e-12)
  one = np.zeros(50)
  one[3] = 9
  assert latent_usage.gini(one) == pytest.approx(1 - 1 / 50)
  counts = RNG(0).integers(0, 30, 40)
  gaps = np.abs(counts[:, None] - counts).mean()  # half the relative mean difference
  assert latent_usage.gini(counts) == pytest.approx(gaps / (2 * counts.mean()))


def test_entropy_is_nearer_the_truth_than_plain_counting():
  p = RNG(0).dirichlet(np.full(64, 0.5))
  truth = stats.entropy(p, base=2)
  samples = RNG(1).multinomial(200, p, size=200)
  ours = np.mean([latent_usage.entropy_bits(counts) for counts in samples])
  plain = np.mean([stats.entropy(counts, base=2) for counts in samples])
  assert abs(ours - truth) < abs(plain - truth) / 3
  assert latent_usage.entropy_bits(np.ones(4)) == 2  # never above log2 K


def test_codes_for_half():
  assert latent_usage.codes_for_half(np.array([1, 5, 1, 1])) == 1
  assert latent_usage.codes_for_half(np.full(8, 3)) == 4


def test_usage_of_an_even_and_of_a_collapsed_codebook():
  even = latent_usage.measure(draws(np.full(16, 1 / 16)))
  assert value(even, "usage") == 1
  assert value(even, "gini") < 0.1
  assert value(even, "entropy") == pytest.approx(4, abs=0.01)
  assert value(even, "coverage") == 1
  (low, high) = next(m.interval for m in even.measures if m.name == "gini")
  assert low <= value(even, "gini") <= high
  one = latent_usage.measure(latent_set(np.zeros((20, 4, 4), int), RNG(0).normal(size=(16, 3))))
  assert value(one, "usage") == 1 / 16
  assert value(one, "entropy") == value(one, "entropy_by_position") == 0
  assert value(one, "codes_an_image") == 1


# --- laws ---


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.6])
def test_exponent_is_recovered_and_zipf_wins(exponent):
  p = rank_laws.zipf(60, exponent)
  section = rank_laws.measure(draws(RNG(5).permutation(p), images=600))
  assert value(section, "distribution") == "zipf"
  assert value(section, "zipf_exponent") == pytest.approx(exponent, abs=0.05)
  low, high = next(m.interval for m in section.measures if m.name == "zipf_exponent")
  assert low - 0.03 < exponent < high + 0.03
  assert value(section, "bits_lost_by_law") < 0.01
  assert value(section, "bits_zipf") == pytest.approx(stats.entropy(p, base=2), abs=0.05)


def test_a_geometric_source_is_told_from_zipf():
  section = rank_laws.measure(draws(rank_laws.geometric(60, 0.08), images=600))
  assert value(section, "distribution") == "geometric"
  assert value(section, "geometric_rate") == pytest.approx(0.08, abs=0.005)


def test_ranks_of_the_same_counts_would_find_an_order_that_is_none():
  found = draws(np.full(200, 1 / 200), images=100)
  section = rank_laws.measure(found)
  same = rank_laws.fit("zipf", np.sort(found.counts)[::-1])
  assert same > 0.1
  assert value(section, "zipf_exponent") < 0.02
  gap = value(section, "bits_uniform") - value(section, f"bits_{value(section, 'distribution')}")
  assert gap < 0.005


@pytest.mark.parametrize("law", ["zipf", "geometric"])
def test_fit_has_the_greatest_likelihood_on_a_grid(law):
  counts = np.sort(RNG(3).multinomial(500, RNG(4).dirichlet(np.ones(30))))[::-1]
  of, _ = rank_laws.LAWS[law]
  grid = np.linspace(0, 3, 3001)
  best = grid[np.argmax([counts @ np.log(of(30, x)) for x in grid])]
  assert rank_laws.fit(law, counts) == pytest.approx(best, abs=2e-3)
  np.testing.assert_allclose(of(30, 0.0), rank_laws.uniform(30))
  assert of(30, 0.7).sum() == pytest.approx(1)


def test_ranks_come_from_other_images_than_counts():
  tokens = np.zeros((4, 2, 2), int)
  tokens[0::2], tokens[1::2] = 1, [[2, 2], [2, 1]]
  counts = rank_laws.by_rank(latent_set(tokens, np.eye(3)))
  np.testing.assert_array_equal(counts, [[1, 0, 3]] * 2)
