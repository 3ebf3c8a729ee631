"""Figures: what they say in words and numbers, and that they draw without global state."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from jaxt2i.analysis import figures

COUNTS = np.array([0, 1, 2, 3, 4, 9, 0, 1])  # 8 codes, 2 of them never used
GENERATOR = np.random.default_rng(0)
PATCHES = GENERATOR.integers(0, 256, (8, 4, 4, 3), dtype=np.uint8)
IMAGES = GENERATOR.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
POINTS = GENERATOR.normal(size=(8, 2))
TABLE = np.array([[0, 1, 2], [3, 4, 5], [6, 7, -1]], np.int32)

MAKERS = {
  "reconstructions": lambda: figures.reconstructions(IMAGES, IMAGES, np.array([10.0, 20, 30])),
  "code_usage": lambda: figures.code_usage(COUNTS),
  "by_position": lambda: figures.by_position(
    IMAGES[0], np.ones((2, 3)), np.full((2, 3), 2), most=8
  ),
  "atlas": lambda: figures.atlas(TABLE, PATCHES, PATCHES, COUNTS),
  "code_map": lambda: figures.code_map(POINTS, np.array([0.5, 0.25]), PATCHES, COUNTS),
}


def words(figure) -> str:
  """All that is written on a figure outside of its axes' ticks."""
  parts = [figure.get_suptitle()]
  for ax in figure.axes:
    parts += [ax.get_title(), ax.get_xlabel(), ax.get_ylabel(), *(t.get_text() for t in ax.texts)]
  return " | ".join(parts)


@pytest.mark.parametrize("name", MAKERS)
def test_draws_labelled_and_leaves_no_global_figure(name):
  before = plt.get_fignums()
  figure = MAKERS[name]()
  file = io.BytesIO()
  figure.savefig(file, format="png")
  assert plt.get_fignums() == before
  assert np.asarray(Image.open(file).convert("L")).std() > 5  # not blank
  assert any(ax.get_title() for ax in figure.axes) or figure.get_suptitle()
  assert any(ax.get_xlabel() for ax in figure.axes)
  assert any(ax.get_ylabel() for ax in figure.axes)


def test_reconstructions_bear_their_psnr():
  assert all(f"{value}.0 dB" in words(MAKERS["reconstructions"]()) for value in (10, 20, 30))


def test_usage_counts_codes_and_marks_the_dead():
  figure = MAKERS["code_usage"]()
  shares = COUNTS[COUNTS > 0] / 20
  perplexity = np.exp(-np.sum(shares * np.log(shares)))
  assert figure.get_suptitle() == f"6 of 8 codes used (75%), perplexity {perplexity:.0f}"
  assert "never used" in words(figure)
  left, right = figure.axes
  np.testing.assert_allclose(left.lines[0].get_ydata(), [45, 20, 15, 10, 5, 5])
  # 0, 1, 2–3, 4–7, 8–15
  assert [bar.get_height() for bar in right.patches] == [2, 2, 2, 1, 1]


def test_usage_of_a_codebook_without_dead_codes_marks_none():
  figure = figures.code_usage(np.full(8, 5))
  assert figure.get_suptitle() == "8 of 8 codes used (100%), perplexity 8"
  assert "never used" not in words(figure)
  assert [bar.get_height() for bar in figure.axes[1].patches] == [0, 0, 0, 8]


def test_positions_are_written_into_the_cells_of_small_grids_only():
  small = MAKERS["by_position"]()
  assert words(small).count("1.0") >= 6
  assert "at most 3.0 bits" in words(small)
  large = figures.by_position(IMAGES[0], np.ones((16, 16)), np.ones((16, 16), int), most=8)
  assert not any(ax.texts for ax in large.axes)


def test_atlas_shows_patches_in_the_order_of_the_table_and_hides_what_was_not_drawn():
  alone, at_work = (ax.images[0].get_array() for ax in MAKERS["atlas"]().axes)
  assert alone.shape == (3 * 5 - 1, 3 * 5 - 1, 3)
  np.testing.assert_array_equal(alone[:4, :4], PATCHES[0])
  np.testing.assert_array_equal(alone[5:9, 10:14], PATCHES[5])
  np.testing.assert_array_equal(at_work[5:9, 10:14], PATCHES[5])
  assert len(np.unique(at_work[:4, :4])) == 1  # code 0 was never used
  assert len(np.unique(alone[10:14, 10:14])) == 1  # an empty cell


def test_map_draws_each_used_code_where_it_lies_and_crosses_the_dead():
  (ax,) = MAKERS["code_map"]().axes
  boxes = [artist.xy for artist in ax.artists]
  np.testing.assert_allclose(np.sort(boxes, axis=0), np.sort(POINTS[COUNTS > 0], axis=0))
  np.testing.assert_allclose(ax.collections[-1].get_offsets(), POINTS[COUNTS == 0])
  low, high = ax.get_xlim()
  assert low < POINTS[:, 0].min()
  assert high > POINTS[:, 0].max()
