"""Labelled grids, and PNGs that carry what made them."""

import itertools

import numpy as np
import pytest
from PIL import Image

from jaxt2i.pictures import MARGIN, MIN_SIDE, labelled_grid, save_png

COLOURS = np.array([(200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 0), (0, 90, 90), (90, 0, 90)])


def plain(count: int, n: int, side: int) -> np.ndarray:
  """[count, n, side, side, 3]: image i of all is plain, of colour i."""
  colours = COLOURS[np.arange(count * n) % len(COLOURS)].reshape(count, n, 1, 1, 3)
  return np.broadcast_to(colours, (count, n, side, side, 3)).astype(np.uint8)


def boxes(grid: Image.Image, colour) -> tuple[int, int, int, int]:
  """(left, top, right, bottom) of the pixels of a colour."""
  y, x = np.nonzero((np.asarray(grid) == colour).all(-1))
  return int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1


@pytest.mark.parametrize(("side", "scale"), [(64, 2), (32, 3), (96, 1), (100, 1), (11, 9)])
def test_images_are_shown_whole_and_enlarged_by_whole_factors(side, scale):
  grid = labelled_grid(plain(1, 2, side), ["two"])
  for colour in COLOURS[:2]:
    left, top, right, bottom = boxes(grid, colour)
    assert (right - left, bottom - top) == (scale * side, scale * side)
    assert right - left >= MIN_SIDE or scale * side >= MIN_SIDE


def test_enlarged_pixels_stay_sharp():
  image = np.random.default_rng(0).integers(0, 256, (1, 1, 32, 32, 3)).astype(np.uint8)
  grid = np.asarray(labelled_grid(image, ["x"]))
  shown = grid[MARGIN : MARGIN + 96, MARGIN + 0 :][:, : grid.shape[1]]
  # Wherever the cell lies, each pixel is a 3 × 3 square.
  enlarged = image[0, 0].repeat(3, axis=0).repeat(3, axis=1)
  windows = [
    shown[:, x : x + 96] for x in range(shown.shape[1] - 95) if shown[:, x : x + 96].shape[1] == 96
  ]
  assert any(np.array_equal(window, enlarged) for window in windows)


def test_images_of_a_label_are_side_by_side_in_order():
  grid = labelled_grid(plain(2, 3, 64), ["first", "second"])
  first = [boxes(grid, colour) for colour in COLOURS[:3]]
  second = [boxes(grid, colour) for colour in COLOURS[3:]]
  for row in (first, second):
    assert len({top for _, top, _, _ in row}) == 1
    assert all(a[2] < b[0] for a, b in itertools.pairwise(row))
  assert second[0][0] > first[-1][2] or second[0][1] > first[0][3]  # beside or below


def test_labels_stand_below_their_images():
  labelled = labelled_grid(plain(1, 1, 64), ["heart"])
  empty = labelled_grid(plain(1, 1, 64), [""])
  assert labelled.size == empty.size
  y, x = np.nonzero((np.asarray(labelled) != np.asarray(empty)).any(-1))
  left, _, right, bottom = boxes(labelled, COLOURS[0])
  assert y.min() > bottom
  assert y.max() < labelled.height
  assert abs((x.min() + x.max()) / 2 - (left + right) / 2) < 4  # centred


@pytest.mark.parametrize(
  "label",
  [
    "x" * 300,
    "large red star left of small blue heart " * 30,
    "corazón rojo, maçã vermelha, fusée",
    "日本語のキャプション",
    "",
  ],
)
def test_labels_of_any_kind_stay_in_their_cell(label):
  # A short label beside each: only the cell in the middle may differ.
  labels = ["a", label, "b"]
  grid, plainer = (
    np.asarray(labelled_grid(plain(3, 1, 64), texts)) for texts in (labels, ["a", "", "b"])
  )
  height = min(len(grid), len(plainer))
  _, x = np.nonzero((grid[:height] != plainer[:height]).any(-1))
  width = grid.shape[1] // 3
  assert len(x) == 0 or width <= x.min() <= x.max() < 2 * width


def test_long_labels_are_cut_at_three_lines():
  long, longer = (labelled_grid(plain(1, 1, 64), ["word " * count]) for count in (100, 1000))
  assert long.size == longer.size
  np.testing.assert_array_equal(np.asarray(long), np.asarray(longer))
  short = labelled_grid(plain(1, 1, 64), ["word"])
  assert short.height < long.height


def test_as_many_cells_a_row_as_fit_a_page():
  wide = labelled_grid(plain(40, 1, 64), [str(i) for i in range(40)])
  assert wide.width <= 1200
  assert wide.height > 64
  many = labelled_grid(plain(1, 20, 64), ["one cell is wider than a page"])
  assert many.width > 20 * 128


def test_every_label_needs_its_images():
  with pytest.raises(ValueError):  # noqa: PT011
    labelled_grid(plain(2, 1, 64), ["only one"])


METADATA = {"prompt": "maçã vermelha 🍎 <b>\n\"'", "seed": "7", "empty": ""}


def test_metadata_can_be_read_back(tmp_path):
  image = Image.fromarray(plain(1, 1, 16)[0, 0])
  path = tmp_path / "new" / "folder" / "a.png"
  save_png(image, path, METADATA)
  with Image.open(path) as opened:
    assert opened.format == "PNG"
    assert opened.text == {"prompt": METADATA["prompt"], "seed": "7"}
    np.testing.assert_array_equal(np.asarray(opened), np.asarray(image))


def test_same_picture_same_bytes(tmp_path):
  image = Image.fromarray(plain(1, 1, 16)[0, 0])
  for name in ("a.png", "b.png"):
    save_png(image, tmp_path / name, METADATA)
  assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
