"""Figures of the latent space. Each returns a Figure that belongs to its caller alone (no pyplot).

In a notebook the last expression of a cell shows it; elsewhere `figure.savefig(path)` keeps it.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Int, Num, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.ticker import MaxNLocator

from jaxt2i import metrics

_INK, _ACCENT, _PALE, _ALARM = "#333333", "#2b6cb0", "#dddddd", "#c53030"


def reconstructions(
  originals: UInt8[np.ndarray, "n H W 3"],
  decoded: UInt8[np.ndarray, "n H W 3"],
  psnr: Float[np.ndarray, "n"],
) -> Figure:
  """Originals above what the tokenizer gives back of them, each with its PSNR in dB."""
  n = len(originals)
  figure = _figure(1.35 * n + 0.4, 3.5)
  axes = figure.subplots(2, n, squeeze=False)
  for column in range(n):
    for ax, image in zip(axes[:, column], (originals[column], decoded[column]), strict=True):
      ax.imshow(image, interpolation="nearest")
      _frame_only(ax)
    axes[1, column].set_xlabel(f"{psnr[column]:.1f} dB")
  axes[0, 0].set_ylabel("original")
  axes[1, 0].set_ylabel("reconstruction")
  figure.suptitle("Through the tokens and back, from the worst image of the split to the best")
  return figure


def code_usage(counts: Int[np.ndarray, "K"]) -> Figure:
  """Share of each code by rank, and how many codes were used how often."""
  size, used = len(counts), int(np.sum(counts > 0))
  figure = _figure(10.0, 3.8)
  left, right = figure.subplots(1, 2)
  shares = np.sort(counts[counts > 0])[::-1] / counts.sum() * 100
  left.plot(np.arange(1, used + 1), shares, color=_ACCENT, linewidth=2)
  left.axhline(100 / size, color=_INK, linewidth=1, linestyle="--")
  left.annotate("if all were used alike", (size, 100 / size), (-4, 3), **_OFFSET)
  if used < size:
    left.axvspan(used + 0.5, size + 0.5, color=_ALARM, alpha=0.15, linewidth=0)
    left.annotate("never used", (size, shares.max()), (-4, 0), **{**_OFFSET, "color": _ALARM})
  left.set(yscale="log", xlim=(0, size + 1), title="Rank and frequency")
  left.yaxis.set_major_formatter("{x:g}")
  left.set(xlabel="rank of the code, commonest first", ylabel="share of all tokens (%)")
  labels, heights = _doubling_bins(counts)
  colors = [_ALARM, *[_ACCENT] * (len(labels) - 1)]
  bars = right.bar(labels, heights, color=colors, width=0.9)
  right.bar_label(bars, fontsize=8)
  right.margins(y=0.1)  # room for the numbers
  for label in right.get_xticklabels():
    label.set(rotation=35, horizontalalignment="right", rotation_mode="anchor", fontsize=9)
  right.set(xlabel="times used in the split", ylabel="number of codes", title="Histogram")
  figure.suptitle(
    f"{used} of {size} codes used ({metrics.usage(counts):.0%}), "
    f"perplexity {metrics.perplexity(counts):.0f}"
  )
  return figure


def by_position(
  mean_image: UInt8[np.ndarray, "H W 3"],
  entropy: Float[np.ndarray, "h w"],
  distinct: Int[np.ndarray, "h w"],
  most: int,
) -> Figure:
  """The mean image and two maps of the token grid: entropy in bits, number of different codes.

  Args:
    mean_image: of the split.
    entropy: of the codes at each position.
    distinct: how many different codes each position has.
    most: codes that a position can have, the smaller of codebook and number of images.
  """
  figure = _figure(12.0, 4.2)
  left, middle, right = figure.subplots(1, 3)
  rows, columns = entropy.shape
  # In units of the grid, so that the three pictures have the same axes.
  extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
  left.imshow(mean_image, extent=extent, interpolation="nearest")
  left.set_title("The mean image")
  bits = float(np.log2(most))
  _heatmap(figure, middle, entropy, bits, "{:.1f}", "entropy (bits)")
  middle.set_title(f"Entropy: mean {entropy.mean():.1f}, at most {bits:.1f} bits")
  _heatmap(figure, right, distinct, float(most), "{:.0f}", "number of codes")
  right.set_title(f"Different codes: at most {most}")
  for ax in (left, middle, right):
    ax.set(xlabel="column of the grid", ylabel="row of the grid")
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(8, integer=True))
  figure.suptitle("Which positions of the grid carry information")
  return figure


def atlas(
  table: Int[np.ndarray, "rows columns"],
  alone: UInt8[np.ndarray, "K p p 3"],
  at_work: UInt8[np.ndarray, "K p p 3"],
  counts: Int[np.ndarray, "K"],
) -> Figure:
  """All codes twice in the same order: decoded alone, and as they come out within images.

  Args:
    table: the code to show in each cell, −1 for none.
    alone: each code in a grid of its own.
    at_work: mean reconstruction where a code was used.
    counts: of use; codes without any are left blank in the second picture.
  """
  rows, columns = table.shape
  figure = _figure(9.5, 2 * 9 * rows / columns + 1.6)
  top, bottom = figure.subplots(2, 1)
  top.imshow(_sheet(table, alone, np.ones(len(counts), bool)), interpolation="nearest")
  top.set_title("Alone: the middle of a grid that is filled with the code")
  bottom.imshow(_sheet(table, at_work, counts > 0), interpolation="nearest")
  bottom.set_title("At work: the mean of what is drawn where the code stands (grey: never used)")
  for ax in (top, bottom):
    _frame_only(ax)
    ax.set(xlabel="first axis of the map →", ylabel="second axis of the map →")
  figure.suptitle(f"Atlas of the {len(counts)} codes")
  return figure


def code_map(
  points: Float[np.ndarray, "K 2"],
  shares: Float[np.ndarray, "2"],
  patches: UInt8[np.ndarray, "K p p 3"],
  counts: Int[np.ndarray, "K"],
) -> Figure:
  """The codebook in a plane: each code drawn as its patch, its area by its use.

  Args:
    points: coordinates of the codes.
    shares: of the variance along both axes.
    patches: what is drawn for a code.
    counts: of use; a code without any is a red cross.
  """
  figure = _figure(9.0, 7.0)
  ax = figure.subplots()
  ax.set_facecolor("#cccccc")
  dead = counts == 0
  # The scatter also sets the limits of the axes: boxes are no data to matplotlib.
  ax.scatter(points[:, 0], points[:, 1], s=0)
  # 6 to 30 points wide; the mean 12.
  widths = np.clip(12 * np.sqrt(counts / counts.mean()), 6, 30)
  for code in np.argsort(-counts, kind="stable")[: int(np.sum(~dead))]:  # small ones on top
    zoom = widths[code] / patches.shape[1]
    patch = OffsetImage(patches[code], zoom=zoom, interpolation="nearest")
    frame = {"edgecolor": "#888888", "linewidth": 0.4}
    ax.add_artist(AnnotationBbox(patch, points[code], pad=0, bboxprops=frame))
  if dead.any():
    ax.scatter(*points[dead].T, marker="x", color=_ALARM, zorder=4, label="never used")
    ax.legend(loc="upper right")
  ax.set(
    xlabel=f"first principal axis ({shares[0]:.0%} of the variance)",
    ylabel=f"second principal axis ({shares[1]:.0%} of the variance)",
    title="Map of the codebook: a square is a code, a larger one is used more often",
  )
  return figure


_OFFSET: dict[str, Any] = {
  "textcoords": "offset points",
  "horizontalalignment": "right",
  "fontsize": 9,
  "color": _INK,
}


def _figure(width: float, height: float) -> Figure:
  """Of that size in inches."""
  layout = ConstrainedLayoutEngine(wspace=0.06)
  return Figure(figsize=(width, height), dpi=100, layout=layout)


def _frame_only(ax: Axes) -> None:
  ax.set(xticks=[], yticks=[])
  for spine in ax.spines.values():
    spine.set_color(_PALE)


def _heatmap(
  figure: Figure, ax: Axes, values: Num[np.ndarray, "h w"], top: float, form: str, label: str
) -> None:
  """Values from 0 to `top` by position, written into the cells where there are not too many."""
  drawn = ax.imshow(values, cmap="viridis", vmin=0, vmax=top)
  figure.colorbar(drawn, ax=ax, label=label, shrink=0.85)
  if values.size <= 100:
    for (row, column), value in np.ndenumerate(values):
      color = "white" if value < 0.6 * top else "black"
      ax.text(column, row, form.format(value), ha="center", va="center", color=color, fontsize=8)


def _sheet(
  table: Int[np.ndarray, "rows columns"],
  patches: UInt8[np.ndarray, "K p p 3"],
  shown: np.ndarray,
) -> UInt8[np.ndarray, "Y X 3"]:
  """Patches in the cells of a table, a pixel of grey between them; grey where nothing is shown."""
  rows, columns = table.shape
  p = patches.shape[1]
  cells = np.full((rows, columns, p + 1, p + 1, 3), 136, np.uint8)
  visible = (table >= 0) & shown[table]
  cells[visible, :p, :p] = patches[table[visible]]
  return cells.swapaxes(1, 2).reshape(rows * (p + 1), columns * (p + 1), 3)[:-1, :-1]


def _doubling_bins(counts: Int[np.ndarray, "K"]) -> tuple[list[str], list[int]]:
  """Labels 0, 1, 2–3, 4–7, … up to the largest count, and how many counts lie in each."""
  exponents = np.where(counts > 0, np.floor(np.log2(np.maximum(counts, 1))) + 1, 0).astype(int)
  heights = np.bincount(exponents)
  ranges = [(2 ** (i - 1), 2**i - 1) for i in range(1, len(heights))]
  labels = ["0", *(f"{low}" if low == high else f"{low}–{high}" for low, high in ranges)]
  return labels, [int(height) for height in heights]
