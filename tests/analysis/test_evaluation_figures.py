"""Figures of an evaluation show the numbers of its report, and what they are read against."""

import io
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from jaxt2i.analysis import evaluation_figures

SETS = {"drawn": 0.5, "random": 0.25, "floor": 0.95}
DISTANCES = {
  key: value
  for name, share in SETS.items()
  for kind in ("kid", "precision", "recall", "density", "coverage")
  for key, value in {
    f"{name}_{kind}": share,
    f"{name}_{kind}_95": (share - 0.1, min(share + 0.1, 1.0)),
  }.items()
}
NEW = {"0.1": 0.0, "1": 0.01, "5": 0.05, "10": 0.1, "25": 0.25, "50": 0.5}
COPIED = {"0.1": 0.9, "1": 0.9, "5": 0.92, "10": 0.95, "25": 1.0, "50": 1.0}
ATTRIBUTES = {
  "count": 1.0,
  "colours": 0.75,
  "everything": 0.5,
  "ceiling": 0.875,
  "judge_accuracy": 0.99,
}
MATCHES = {
  "r_precision": 0.25,
  "r_precision_95": (0.125, 0.375),
  "r_precision_reconstructed": 0.5,
  "r_precision_real": 0.75,
  "r_precision_chance": 0.01,
}
MAKERS = {
  "distances": lambda: evaluation_figures.distances(DISTANCES),
  "copies": lambda: evaluation_figures.copies({"copy_curve": NEW}, 100),
  "attributes": lambda: evaluation_figures.attributes(ATTRIBUTES),
  "r_precision": lambda: evaluation_figures.r_precision(MATCHES),
}


def saved(figure) -> np.ndarray:
  file = io.BytesIO()
  figure.savefig(file, format="png")
  return np.asarray(Image.open(file).convert("L"))


def ticks(axis) -> list[str]:
  return [label.get_text() for label in axis.get_ticklabels()]


def curve(figure, label: str) -> np.ndarray:
  return next(line.get_xydata() for line in figure.axes[0].lines if line.get_label() == label)


def band(figure) -> np.ndarray:
  """Corners of the band where new images would be."""
  return figure.axes[0].collections[0].get_paths()[0].vertices


def in_band(figure, share: float, rate: float) -> bool:
  x, y = band(figure).T
  some = y[np.abs(x - share) == np.abs(x - share).min()]
  return bool(some.min() <= rate <= some.max())


@pytest.mark.parametrize("name", MAKERS)
def test_draws_labelled_and_leaves_no_global_figure(name):
  before = plt.get_fignums()
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    figure = MAKERS[name]()
    assert saved(figure).std() > 5  # not blank
  assert plt.get_fignums() == before
  assert any(ax.get_title() for ax in figure.axes)


def test_distances_show_values_intervals_and_the_floor():
  figure = MAKERS["distances"]()
  assert [ax.get_title().split()[0] for ax in figure.axes] == [
    *("kid", "precision", "recall", "density", "coverage")
  ]
  assert ticks(figure.axes[0].yaxis) == [
    *("drawn for captions", "drawn without captions", "real training images")
  ]
  for ax in figure.axes:
    assert [text.get_text() for text in ax.texts] == ["0.50", "0.25", "0.95"]
    ends = [bars[0].get_segments()[0][:, 0] for _, _, bars in ax.containers]
    np.testing.assert_allclose(ends, [(0.4, 0.6), (0.15, 0.35), (0.85, 1.0)])
    floor = ax.patches[0]
    np.testing.assert_allclose((floor.get_x(), floor.get_x() + floor.get_width()), (0.85, 1.0))
    low, high = ax.get_ylim()
    assert low > high  # the first set is on top
  assert "the interval of the floor" in figure.get_suptitle()


def test_distances_of_training_itself_have_no_floor():
  values = {key: value for key, value in DISTANCES.items() if not key.startswith("floor")}
  figure = evaluation_figures.distances(values)
  assert ticks(figure.axes[0].yaxis) == ["drawn for captions", "drawn without captions"]
  assert "floor" not in figure.get_suptitle()
  assert not figure.axes[0].patches


def test_new_images_are_in_the_band_and_copies_above_it():
  values = {"copy_curve": NEW, "copy_curve_features": COPIED}
  figure = evaluation_figures.copies(values, 100)
  new, copied = curve(figure, "by pixels"), curve(figure, "by features")
  np.testing.assert_allclose(new, [(float(key) / 100, rate) for key, rate in NEW.items()])
  assert all(in_band(figure, *point) for point in new)
  assert not any(in_band(figure, *point) for point in copied)
  assert all(in_band(figure, share, share) for share in new[1:, 0])
  assert "100 drawings" in figure.axes[0].get_title()
  saved(figure)
  assert ticks(figure.axes[0].xaxis) == ["0.1%", "1%", "5%", "10%", "25%", "50%"]


def test_the_band_is_narrower_for_more_drawings():
  assert in_band(evaluation_figures.copies({}, 100), 0.001, 0.01)
  assert not in_band(evaluation_figures.copies({}, 10_000), 0.05, 0.06)
  assert in_band(evaluation_figures.copies({}, 10_000), 0.05, 0.05)


def test_copies_by_pixels_alone():
  labels = [line.get_label() for line in MAKERS["copies"]().axes[0].lines]
  assert labels == ["new images, on average", "by pixels"]


def test_copies_stand_beside_what_perfect_ones_would_reach():
  values = {"copy_curve": NEW, "copy_recognised_curve": COPIED}
  figure = evaluation_figures.copies(values, 100)
  known = curve(figure, "training images, reconstructed, by pixels")
  np.testing.assert_allclose(known, [(float(key) / 100, rate) for key, rate in COPIED.items()])


def test_attributes_show_what_there_is_and_the_ceiling_beside_everything():
  ax = MAKERS["attributes"]().axes[0]
  assert ticks(ax.yaxis) == ["count", "colours", "everything"]
  assert [bar.get_width() for bar in ax.patches] == [1.0, 0.75, 0.5]
  marks = {mark.get_label(): mark.get_segments()[0] for mark in ax.collections}
  assert {label: x for label, ((x, _), _) in marks.items()} == {
    "reconstructions": 0.875,
    "real images": 0.99,
  }
  assert all(y0 < 2 < y1 for (_, y0), (_, y1) in marks.values())


def test_r_precision_stands_between_chance_and_real_images():
  ax = MAKERS["r_precision"]().axes[0]
  assert ticks(ax.yaxis) == ["drawings: 25%", "reconstructions: 50%", "real images: 75%"]
  chance = next(line for line in ax.lines if line.get_label() == "chance, 1.0%")
  assert list(chance.get_xdata()) == [0.01, 0.01]
  (interval,) = [c for c in ax.collections if len(c.get_segments()) == 1]
  np.testing.assert_allclose(interval.get_segments()[0][:, 0], (0.125, 0.375))
