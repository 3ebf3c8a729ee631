"""Tables of a study: means and deviations by hand, files that read back."""

import csv
import statistics

import pytest
from PIL import Image

from jaxt2i.analysis import study_table

ROWS = [
  {"variant": "fsq_1", "seed": 0, "psnr": 20.0, "bits": 640, "prior_bits": 300.0, "nll": 3.0},
  {"variant": "ema", "seed": 0, "psnr": 22.0, "bits": 320, "prior_bits": 200.0},
  {"variant": "fsq_1", "seed": 1, "psnr": 21.0, "bits": 640, "prior_bits": 310.0, "nll": 3.5},
]


def test_means_and_deviations_over_seeds():
  fsq, ema = study_table.summarise(ROWS)
  assert (fsq["variant"], fsq["seeds"], ema["seeds"]) == ("fsq_1", 2, 1)
  assert fsq["psnr"] == (20.5, pytest.approx(statistics.stdev([20, 21])))
  assert ema["psnr"] == (22.0, None)
  assert "nll" not in ema


def test_a_value_that_a_seed_lacks_is_no_mean_of_the_others():
  rows = [*ROWS[:2], {"variant": "fsq_1", "seed": 1, "psnr": 21.0}]
  assert "nll" not in study_table.summarise(rows)[0]


def test_markdown_and_latex_show_the_same_cells():
  summary = study_table.summarise(ROWS)
  lines = study_table.markdown(summary).splitlines()
  assert lines[0].startswith("| variant | bits/image | PSNR (dB) |")
  assert lines[2] == "| fsq_1 | 640 | 20.50 ± 0.71 | 3.25 ± 0.35 | 305 ± 7 |"
  assert lines[3] == "| ema | 320 | 22.00 | – | 200 |"
  text = study_table.latex(summary)
  assert r"fsq\_1 & 640 & 20.50 $\pm$ 0.71 & 3.25 $\pm$ 0.35 & 305 $\pm$ 7 \\" in text
  assert text.startswith(r"\begin{tabular}{lrrrr}")


def test_files_read_back(tmp_path):
  paths = {path.name: path for path in study_table.write(ROWS, tmp_path)}
  with paths["runs.csv"].open() as file:
    runs = list(csv.DictReader(file))
  assert [row["psnr"] for row in runs] == ["20.0", "22.0", "21.0"]
  assert runs[1]["nll"] == ""
  with paths["table.csv"].open() as file:
    table = list(csv.DictReader(file))
  assert float(table[0]["psnr_mean"]) == 20.5
  assert table[1]["psnr_sd"] == ""
  with Image.open(paths["frontier.png"]) as image:
    assert image.width > 500


def test_the_figure_has_a_point_a_variant_on_both_sides():
  figure = study_table.frontier(study_table.summarise(ROWS))
  for ax in figure.axes:
    assert [bars.get_label() for bars in ax.containers] == ["fsq_1", "ema"]
  assert [text.get_text() for text in figure.legends[0].get_texts()] == ["fsq_1", "ema"]


def test_without_priors_the_figure_shows_how_reconstructions_look():
  rows = [{"variant": "mse", "seed": 0, "psnr": 20.0, "perceptual": 2.0, "rfd": 50.0}]
  figure = study_table.frontier(study_table.summarise(rows))
  labels = [ax.get_xlabel() for ax in figure.axes]
  assert labels[0].startswith("perceptual distance")
  assert "rFD" in labels[1]
  assert all(len(ax.containers) == 1 for ax in figure.axes)


def test_of_priors_the_figure_shows_what_follows_words():
  row = {"variant": "base", "seed": 0, "r_precision": 0.5, "nll": 4.0, "copy_rate": 0.1}
  figure = study_table.frontier(study_table.summarise([{**row, "prior_bits": 300.0}]))
  assert figure.axes[0].get_ylabel().startswith("R-precision")
  assert "copies" in figure.axes[1].get_xlabel()
