"""The rows of a study as tables and a figure: mean ± standard deviation over seeds."""

import csv
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from jaxt2i.latex import latex_table

# Column of a row, heading, how much of it is shown, factor.
COLUMNS = (
  ("tokens", "tokens", "{:.0f}", 1.0),
  ("codebook_size", "codes", "{:,.0f}", 1.0),
  ("bits", "bits/image", "{:,.0f}", 1.0),
  ("psnr", "PSNR (dB)", "{:.2f}", 1.0),
  ("ssim", "SSIM", "{:.3f}", 1.0),
  ("perceptual", "perceptual", "{:.3f}", 1.0),
  ("rfd", "rFD", "{:.1f}", 1.0),
  ("codebook_usage", "usage (%)", "{:.0f}", 100.0),
  ("perplexity", "perplexity", "{:.0f}", 1.0),
  ("train_nll", "train NLL", "{:.2f}", 1.0),
  ("nll", "prior NLL (nats/token)", "{:.2f}", 1.0),
  ("prior_bits", "prior NLL (bits/image)", "{:.0f}", 1.0),
  ("prior_step", "best step", "{:.0f}", 1.0),
  ("r_precision", "R-precision (%)", "{:.0f}", 100.0),
  ("r_precision_real", "of real images (%)", "{:.0f}", 100.0),
  ("everything", "all right (%)", "{:.0f}", 100.0),
  ("recall", "recall (%)", "{:.0f}", 100.0),
  ("copy_rate", "copies (%)", "{:.0f}", 100.0),
  ("parameters", "parameters (M)", "{:.2f}", 1e-6),
  ("step_ms", "step (ms)", "{:.0f}", 1.0),
)
_PSNR = ("psnr", "PSNR of reconstructions (dB)")
# Title, what is wanted, and what it costs: columns with their labels.
_FRONTIERS: tuple[tuple[str, tuple[str, str], dict[str, str]], ...] = (
  (
    "Following words against learning by heart",
    ("r_precision", "R-precision: own caption first among 100"),
    {
      "nll": "NLL of validation, nats a token",
      "copy_rate": "share of drawings that are copies of training images",
    },
  ),
  (
    "Reconstruction against what a prior must model",
    _PSNR,
    {
      "bits": "bits an image: tokens × log2(codes), what the tokens can hold",
      "prior_bits": "bits an image: what a small prior needs for them (NLL of validation)",
    },
  ),
  (
    "Reconstruction against how it looks",
    _PSNR,
    {
      "perceptual": "perceptual distance of reconstructions (less is better)",
      "rfd": "Fréchet distance of reconstructions, rFD (less is better)",
    },
  ),
)
_INK, _MARKERS = "#333333", "os^D"

Row = Mapping[str, Any]


def summarise(rows: Iterable[Row]) -> list[dict[str, Any]]:
  """A row a variant, in the order of their first rows.

  Each column of numbers becomes a pair (mean, standard deviation over seeds); of a single seed
  the latter is None.
  """
  by_variant: dict[str, list[Row]] = {}
  for row in rows:
    by_variant.setdefault(row["variant"], []).append(row)
  summary = []
  for variant, members in by_variant.items():
    found: dict[str, Any] = {"variant": variant, "seeds": len(members)}
    for key, *_ in COLUMNS:
      values = [float(row[key]) for row in members if key in row]
      if len(values) == len(members):
        sd = statistics.stdev(values) if len(values) > 1 else None
        found[key] = (statistics.fmean(values), sd)
    summary.append(found)
  return summary


def write(rows: Sequence[Row], folder: Path) -> list[Path]:
  """Writes `runs.csv` (every run), `table.csv`, `table.tex`, `table.md`, `frontier.png`.

  Returns their paths.
  """
  summary = summarise(rows)
  texts = {"table.tex": latex(summary), "table.md": markdown(summary)}
  for name, text in texts.items():
    (folder / name).write_text(text, encoding="utf-8")
  names = list(dict.fromkeys(key for row in rows for key in row))
  _csv(folder / "runs.csv", names, ([row.get(name, "") for name in names] for row in rows))
  _csv(folder / "table.csv", *_flat(summary))
  frontier(summary).savefig(folder / "frontier.png", dpi=120)
  return [folder / name for name in ("runs.csv", "table.csv", *texts, "frontier.png")]


def markdown(summary: Sequence[Row]) -> str:
  """A table for a README."""
  heads, lines = _cells(summary)
  rule = ["---"] + ["---:"] * (len(heads) - 1)
  return "".join(f"| {' | '.join(line)} |\n" for line in (heads, rule, *lines))


def latex(summary: Sequence[Row]) -> str:
  """A `tabular` for a paper; needs the package booktabs."""
  return latex_table(*_cells(summary))


def frontier(summary: Sequence[Row]) -> Figure:
  """What one wants against what it costs, in two panels of one vertical axis.

  Of tokenizers with priors PSNR by bits of an image and by the bits that a small prior needs for
  one; without priors PSNR by the perceptual and the Fréchet distance; of priors R-precision by
  the NLL of validation and by copies.
  """
  figure = Figure(figsize=(12.5, 4.8), layout="constrained")
  axes = figure.subplots(1, 2, sharey=True)
  has = {key for row in summary for key in row}
  fitting = (found for found in _FRONTIERS if {found[1][0], *found[2]} <= has)
  title, (wanted, label), costs = next(fitting, _FRONTIERS[-1])
  for ax, (key, name) in zip(axes, costs.items(), strict=True):
    for number, row in enumerate(summary):
      if key not in row or wanted not in row:
        continue
      (x, x_sd), (y, y_sd) = row[key], row[wanted]
      style = {"marker": _MARKERS[number // 10 % len(_MARKERS)], "color": f"C{number % 10}"}
      ax.errorbar(x, y, y_sd, x_sd, capsize=2, linestyle="", label=row["variant"], **style)
    ax.set_xlabel(name, color=_INK)
    ax.grid(alpha=0.3)
    ax.margins(0.12)
  axes[0].set_ylabel(label, color=_INK)
  # A legend, for labels beside the points of a matched bench would cover each other.
  figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
  figure.suptitle(f"{title}: mean and sd over seeds")
  return figure


def _cells(summary: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
  """Headings and lines of the columns that any variant has."""
  columns = [column for column in COLUMNS if any(column[0] in row for row in summary)]
  heads = ["variant", *(head for _, head, _, _ in columns)]

  def cell(row: Row, key: str, shown: str, factor: float) -> str:
    if key not in row:
      return "–"
    mean, sd = row[key]
    text = shown.format(factor * mean)
    return text + " ± " + shown.format(factor * sd) if sd else text

  lines = [
    [row["variant"], *(cell(row, key, shown, factor) for key, _, shown, factor in columns)]
    for row in summary
  ]
  return heads, lines


def _flat(summary: Sequence[Row]) -> tuple[list[str], Iterable[list[Any]]]:
  keys = [key for key, *_ in COLUMNS if any(key in row for row in summary)]
  heads = ["variant", "seeds", *(f"{key}_{part}" for key in keys for part in ("mean", "sd"))]

  def line(row: Row) -> list[Any]:
    pairs = (row.get(key, ("", "")) for key in keys)
    values = ["" if value is None else value for pair in pairs for value in pair]
    return [row["variant"], row["seeds"], *values]

  return heads, (line(row) for row in summary)


def _csv(path: Path, heads: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
  with path.open("w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(lines)
