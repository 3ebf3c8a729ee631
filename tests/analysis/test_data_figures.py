"""Figures about a data set: what they say, in any script and for the smallest data."""

import io
import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from jaxt2i.analysis import data_examples, data_figures, exploration
from tests.analysis import sets

SCRIPTS = "dog 😀 👩🏼‍🌾 🇩🇪 עולם البيت 猫 हिन्दी bóng $x$ _{y}"
NAMES = ("sizes", "bars", "captions_per_image", "caption_length", "growth", "words", "unseen")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  folder = tmp_path_factory.mktemp("photos")
  captions = {f"{i}.png": (100, 40 + i, [f"photo {i}", SCRIPTS]) for i in range(60)}
  data = sets.prepare(sets.save_photos(folder / "src", captions), folder / "data")
  return exploration.explore(data), data


@pytest.fixture
def single(tmp_path):
  """One image with one caption and no word that counts."""
  data = sets.generated(tmp_path / "toy", {"test": {"a": ["the"]}})
  return exploration.explore(data), data


def drawn(found, data):
  return data_figures.draw(found, data_examples.choose(found, data))


def picture(figure) -> np.ndarray:
  file = io.BytesIO()
  figure.savefig(file, format="png")
  figure.savefig(io.BytesIO(), format="pdf")
  return np.asarray(Image.open(file).convert("L"))


def labels(figure) -> list[str]:
  return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_every_figure_is_drawn_labelled_and_leaves_no_global_figure(photos):
  before = plt.get_fignums()
  figures = drawn(*photos)
  assert tuple(figures) == (*NAMES, "examples")
  for name, figure in figures.items():
    assert picture(figure).std() > 5  # not blank; a missing glyph would be a warning, so an error
    assert any(ax.get_title() for ax in figure.axes) or figure.get_suptitle()
    if name != "examples":
      assert all(ax.get_xlabel() and ax.get_ylabel() for ax in figure.axes)
  assert plt.get_fignums() == before


def test_smallest_data_has_fewer_figures_but_each_can_be_drawn(single):
  found, data = single
  assert tuple(drawn(found, data)) == (
    "sizes",
    "captions_per_image",
    "caption_length",
    "growth",
    "examples",
  )
  for name in NAMES:  # as the notebook does, whatever the data
    picture(getattr(data_figures, name)(found))
  picture(drawn(found, data)["examples"])


def test_words_that_the_font_lacks_are_numbered(photos):
  found, _ = photos
  words = labels(data_figures.words(found))
  for rank, (word, _) in enumerate(found.top_words, 1):
    assert words[rank - 1] == (word if data_figures.drawable(word) else f"(word {rank})")
  drawable = {word for word in SCRIPTS.split() if data_figures.drawable(word)}
  assert drawable == {"dog", "😀", "bóng", "$x$", "_{y}"}
  assert "the page has the words in brackets" in data_figures.words(found).axes[0].get_xlabel()


def test_long_words_are_cut(tmp_path):
  data = sets.generated(tmp_path / "toy", {"train": {"a": ["x" * 500 + " no z"]}})
  assert labels(data_figures.words(exploration.explore(data))) == ["x" * 23 + "…", "z"]


def test_figures_bear_their_numbers(photos):
  found, _ = photos
  sizes = data_figures.sizes(found)
  assert sizes.axes[0].get_title() == "60 different sizes"
  assert sizes.axes[1].get_title() == "98% landscape, 0% portrait, 2% square"  # 100 × 99
  assert sum(bar.get_height() for bar in sizes.axes[1].patches) == pytest.approx(1)
  length = data_figures.caption_length(found).axes[0]
  assert [round(bar.get_height(), 3) for bar in length.patches if bar.get_height()] == [0.5, 0.5]
  assert length.texts[0].get_text() == "median 6.5"
  bars = data_figures.bars(found).axes[0]
  assert bars.texts[0].get_text() == f"mean {found.bars.mean():.0%}"
  growth = data_figures.growth(found).axes[0]
  assert growth.lines[0].get_ydata()[-1] == found.distinct_words
  law = growth.get_legend().get_texts()[1].get_text()
  assert f"{found.heaps.exponent:.2f}" in law
  unseen = data_figures.unseen(found).axes[0]
  heights = [bar.get_height() for bar in unseen.patches]
  shares = [u.unseen_distinct / u.distinct_words for u in found.unseen]
  shares += [u.unseen_running / u.running_words for u in found.unseen]
  np.testing.assert_allclose(heights, shares)


def test_many_different_lengths_share_bars(tmp_path):
  captions = {"train": {str(n): ["word " * n] for n in range(1, 1001, 9)}}
  found = exploration.explore(sets.generated(tmp_path / "toy", captions))
  bars = data_figures.caption_length(found).axes[0].patches
  assert len(bars) <= 100
  assert sum(bar.get_height() for bar in bars) == pytest.approx(1)


def test_examples_stand_above_what_became_of_them(photos):
  found, data = photos
  titles = [ax.get_title() for ax in drawn(found, data)["examples"].axes]
  rows = itertools.product((range(1, 5), range(5, 9)), ("before", "after"))
  assert titles == [f"{number}: {when}" for numbers, when in rows for number in numbers]
