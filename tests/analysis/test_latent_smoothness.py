"""Smoothness: decoders whose answer is known, brute force, closed forms."""

import numpy as np
import pytest
from scipy import stats

from jaxt2i.analysis import latent_smoothness as smoothness
from tests.analysis.latent_sets import PATCH, latent_set, paint, tiles

RNG = np.random.default_rng


def value(section, name):
  return next(m.value for m in section.measures if m.name == name)


def line(size=40, images=30):
  """Codes on a line, and their colours in the same order: an isometry but for its scale."""
  codes = RNG(0).permutation(size).astype(float)[:, None]
  colours = np.repeat(5 * codes, 3, axis=1)
  tokens = RNG(1).integers(size, size=(images, 4, 4))
  return latent_set(tokens, codes, colours=colours), tiles(colours)


def test_a_linear_decoder_is_perfectly_smooth():
  found, pipeline = line()
  swaps = smoothness.swap(pipeline, found, nearest=False)
  value, (low, high) = smoothness.correlation(swaps)
  assert value == pytest.approx(1)
  assert low > 0.99
  assert high <= 1
  # 5 levels of 255 for each unit of distance, in one patch of 16.
  np.testing.assert_allclose(swaps.change, swaps.distance * 5 / 255 / 4, rtol=1e-5)
  np.testing.assert_allclose(swaps.inside, 1)
  np.testing.assert_allclose(swaps.around, 1)


def test_a_decoder_that_knows_no_order_is_not_smooth():
  found, _ = line()
  swaps = smoothness.swap(tiles(RNG(9).integers(0, 256, (40, 3))), found, nearest=False)
  value, (low, high) = smoothness.correlation(swaps)
  assert low < 0 < high or abs(value) < 0.1


def test_swaps_replace_the_token_that_they_say_by_another_code_that_occurs():
  found, pipeline = line()
  for nearest in (False, True):
    swaps = smoothness.swap(pipeline, found, nearest=nearest)
    assert len(swaps.image) == 30 * (1024 // 30)
    np.testing.assert_array_equal(swaps.old, found.tokens[swaps.image, swaps.row, swaps.column])
    assert (swaps.old != swaps.new).all()
    assert set(swaps.new.tolist()) <= set(found.used.tolist())
  np.testing.assert_array_equal(swaps.distance, 1)  # neighbours on the line


def test_nearest_codes_by_brute_force_among_those_that_occur():
  codes = RNG(0).normal(size=(20, 3))
  found = latent_set(RNG(1).integers(15, size=(30, 2, 2)), codes)
  nearest = smoothness.nearest_codes(found)
  for code in range(15):
    gaps = np.linalg.norm(found.codes[:15] - found.codes[code], axis=1)
    gaps[code] = np.inf
    assert nearest[code] == gaps.argmin()
  np.testing.assert_array_equal(nearest[15:], range(15, 20))


def test_rank_correlation_is_that_of_scipy_and_nothing_of_constants():
  a, b = RNG(0).integers(0, 5, 50), RNG(1).normal(size=50)
  expected = stats.pearsonr(stats.rankdata(a), stats.rankdata(b)).statistic
  assert smoothness.spearman(a.astype(float), b) == pytest.approx(expected)
  assert smoothness.spearman(np.zeros(5), np.arange(5.0)) == 0


def test_length_of_ways():
  fade = np.linspace(0, 200, 5).round().astype(np.uint8)
  straight = np.tile(fade[:, None, None, None], (1, 4, 4, 3))
  assert smoothness.path_length(straight) == pytest.approx((1, 1))
  corner = np.zeros((3, 2, 1, 3), np.uint8)  # first one pixel, then the other
  corner[1:, 0], corner[2:, 1] = 100, 100
  assert smoothness.path_length(corner) == pytest.approx((np.sqrt(2), 1))
  jump = np.zeros((5, 2, 1, 3), np.uint8)
  jump[3:] = 100
  assert smoothness.path_length(jump) == pytest.approx((1, 4))
  assert np.isnan(smoothness.path_length(np.zeros((3, 2, 2, 3), np.uint8))).all()


def test_token_way_changes_every_token_once_and_never_back():
  found, pipeline = line()
  pictures = smoothness.token_way(pipeline, found, 0, 1)
  assert len(pictures) == smoothness.STEPS + 1
  np.testing.assert_array_equal(pictures[[0, -1]], found.decoded[[0, 1]])
  patches = pictures[:, ::PATCH, ::PATCH]
  changed = (patches == found.decoded[1, ::PATCH, ::PATCH]).all(axis=-1)
  assert (np.diff(changed.astype(int), axis=0) >= 0).all()


def test_pairs_are_of_different_images_each_once():
  found, _ = line()
  pairs = smoothness.pairs_of_images(found)
  assert pairs.shape == (15, 2)
  assert len(np.unique(pairs)) == 30


def test_report_of_a_linear_decoder(monkeypatch):
  found, pipeline = line()

  def decode(_, z_q):
    return paint(
      np.repeat(np.arange(0, 256.0)[:, None], 3, axis=1), np.round(5 * z_q[..., 0]).astype(int)
    )

  monkeypatch.setattr(smoothness, "decode_codes", decode)
  section = smoothness.measure(pipeline, found)
  assert value(section, "smooth") == pytest.approx(1)
  assert value(section, "embedding_path") == pytest.approx(1, abs=0.02)
  # 16 patches that change one after the other, by different amounts.
  assert 2 < value(section, "token_path") < 4
  assert value(section, "nearest_change") < 0.2
  assert value(section, "inside_patch") == 1
  assert np.shape(section.tables["swaps"]) == (1020, 2)


def test_two_codes_are_too_few():
  found = latent_set(RNG(0).integers(2, size=(20, 2, 2)), np.eye(2))
  section = smoothness.measure(tiles(np.zeros((2, 3))), found)
  assert section.answer.startswith("Not measured: fewer than three codes occur (2)")
