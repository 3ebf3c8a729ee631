"""Figures of a report on a latent space that are pictures: atlas, samples, swaps, ways, maps."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patches import Rectangle

from jaxt2i.analysis import latent_smoothness
from jaxt2i.analysis.latent_samples import Samples
from jaxt2i.analysis.latent_set import LatentSet
from jaxt2i.analysis.latent_words import Pair
from jaxt2i.analysis.words import shortened
from jaxt2i.pipeline import Pipeline

_GREY = 225
_OF_A_CODE, _LABEL = 12, 3  # patches, and as wide as so many
_CODES = 48  # of the atlas
_SHOWN = 8  # images of a sheet
_KINDS = {
  "images": "the images",
  "real": "their own tokens",
  "drawn": "drawn by the prior",
  "independent": "independent tokens",
  "shuffled": "shuffled tokens",
  "uniform": "any codes",
}


def patches_of(found: LatentSet, code: int, most: int = _OF_A_CODE) -> UInt8[np.ndarray, "n p p 3"]:
  """Patches of the originals where a code stands, evenly spread over all such places."""
  places = np.argwhere(found.tokens == code)
  chosen = places[np.linspace(0, len(places) - 1, min(most, len(places))).astype(int)]
  return found.patches[tuple(chosen.T)]


def real_patches(found: LatentSet, alone: UInt8[np.ndarray, "K p p 3"]) -> Figure:
  """Codes from the commonest to the rarest: decoded alone, and real patches that they stand for."""
  chosen = np.linspace(0, len(found.used) - 1, min(_CODES, len(found.used))).round().astype(int)
  codes = found.used[chosen]
  rows, p = -(-len(codes) // 2), found.patch
  wide = _OF_A_CODE + 1 + _LABEL
  cells = np.full((rows, 2 * wide - _LABEL, p, p, 3), _GREY, np.uint8)
  for number, code in enumerate(codes):
    row, left = number % rows, number // rows * wide
    cells[row, left] = alone[code]
    patches = patches_of(found, int(code))
    cells[row, left + 1 : left + 1 + len(patches)] = patches
  figure = _figure(11.0, 0.34 * rows + 0.9)
  ax = figure.subplots()
  side = _show(ax, cells, gap=max(1, p // 8))
  for number, code in enumerate(codes):
    row, left = number % rows, number // rows * wide
    share = found.counts[code] / found.counts.sum()
    y, x = row * side + p / 2, left * side - side / 4
    ax.text(x, y, f"{code} ({share:.2%})", ha="right", va="center", fontsize=7)
  ax.set_title(
    f"{len(codes)} codes from the commonest to the rarest (share of all tokens): decoded alone, "
    "then real patches",
    fontsize=11,
  )
  return figure


def samples(drawn: Samples) -> Figure:
  """Pictures of each kind for the same images."""
  chosen = np.linspace(0, len(drawn.real) - 1, min(_SHOWN, len(drawn.real))).astype(int)
  rows = {"images": drawn.real} | dict(drawn.images)
  cells = np.stack([images[chosen] for images in rows.values()])
  return _labelled(
    cells, [_KINDS[name] for name in rows], "What tokens drawn in each way look like"
  )


def ways(pipeline: Pipeline, found: LatentSet) -> Figure:
  """Ways between images through code vectors and through tokens, beside the cross-fade."""
  pairs = latent_smoothness.pairs_of_images(found, 3)
  steps = _SHOWN
  rows, names = [], []
  for a, b in pairs:
    ends = found.decoded[[a, b]].astype(np.float64)
    share = np.linspace(0, 1, steps + 1)[:, None, None, None]
    rows += [
      latent_smoothness.embedding_way(pipeline, found, int(a), int(b), steps),
      latent_smoothness.token_way(pipeline, found, int(a), int(b), steps),
      np.round((1 - share) * ends[0] + share * ends[1]).astype(np.uint8),
    ]
    names += ["code vectors", "tokens", "pixels"]
  return _labelled(np.stack(rows), names, "Ways between two images")


def swaps(pipeline: Pipeline, found: LatentSet) -> Figure:
  """One token of an image, outlined, replaced by its nearest code, by middling and far ones."""
  count = min(6, len(found))
  chosen = np.linspace(0, len(found) - 1, count).astype(int)
  (h, w), p = found.grid, found.patch
  y, x = h // 2, w // 2
  used = np.sort(found.used)
  columns = {"as it is": 0.0, "nearest": 0.0, "quarter": 0.25, "half": 0.5, "farthest": 1.0}
  tokens = np.repeat(found.tokens[chosen][:, None], len(columns), axis=1)
  for row, image in enumerate(chosen):
    old = found.tokens[image, y, x]
    others = used[used != old]
    gaps = np.square(found.codes[others] - found.codes[old]).sum(axis=1)
    order = others[np.argsort(gaps, kind="stable")]
    for column, share in enumerate(list(columns.values())[1:], 1):
      tokens[row, column, y, x] = order[round(share * (len(order) - 1))]
  images = pipeline.decode(tokens.reshape(-1, h, w))
  cells = images.reshape(count, len(columns), *images.shape[1:])
  figure = _figure(1.25 * len(columns) + 0.4, 1.25 * count + 0.9)
  ax = figure.subplots()
  side = _show(ax, cells, gap=2)
  for row in range(count):
    for column in range(len(columns)):
      _outline(ax, column * side + x * p, row * side + y * p, p)
  for column, name in enumerate(columns):
    ax.text(column * side + side / 2, -3, name, ha="center", va="bottom", fontsize=9)
  ax.set_title("The outlined token as other codes, by distance", pad=18, fontsize=11)
  return figure


def pairs(found: LatentSet, telling: Sequence[Pair]) -> Figure:
  """The most telling pairs of a code and a word, with patches of images that have both.

  Each patch is outlined, in what surrounds it: alone it says little to an eye.
  """
  p = found.patch
  most = max(len(pair.places) for pair in telling)
  cells = np.full((len(telling), most, 3 * p, 3 * p, 3), _GREY, np.uint8)
  around = np.pad(found.images, ((0, 0), (p, p), (p, p), (0, 0)), constant_values=_GREY)
  for row, pair in enumerate(telling):
    for column, (image, y, x) in enumerate(pair.places):
      cells[row, column] = around[image, y * p : (y + 3) * p, x * p : (x + 3) * p]
  names = [
    f"code {pair.code}, “{shortened(pair.word, 18)}”: {pair.bits:.3f} bits" for pair in telling
  ]
  figure = _labelled(cells, names, "The most telling codes and words", inches=0.62)
  (ax,), side = figure.axes, 3 * p + max(1, 3 * p // 16)
  for row, pair in enumerate(telling):
    for column in range(len(pair.places)):
      _outline(ax, column * side + p, row * side + p, p)
  return figure


def scattered(
  points: Float[np.ndarray, "n 2"],
  pictures: UInt8[np.ndarray, "n H W 3"],
  title: str,
  most: int = 400,
) -> Figure:
  """Pictures at points of a plane; where they would cover each other the first one is shown."""
  figure = _figure(10.0, 10.0)
  ax = figure.subplots()
  ax.set_facecolor("#f2f2f2")
  low, high = points.min(axis=0), points.max(axis=0)
  places = (points - low) / np.maximum(high - low, 1e-9).max()
  kept: list[int] = []
  for i in range(len(places)):
    gaps = np.abs(places[kept] - places[i]).max(axis=1) if kept else np.array([1.0])
    if gaps.min() > 0.03 and len(kept) < most:
      kept.append(i)
  ax.plot(*places.T, ".", markersize=3, color="#999999", markeredgewidth=0)
  zoom = 20 / pictures.shape[1]
  for i in kept:
    box = OffsetImage(pictures[i], zoom=zoom, interpolation="nearest")
    frame = {"edgecolor": "#888888", "linewidth": 0.4}
    ax.add_artist(AnnotationBbox(box, tuple(places[i]), pad=0, bboxprops=frame))
  ax.set(xticks=[], yticks=[], aspect="equal")
  ax.margins(0.05)
  hidden = len(points) - len(kept)
  ax.set_title(title + (f" ({hidden:,} of {len(points):,} as dots)" if hidden else ""), fontsize=11)
  return figure


def _outline(ax: Axes, left: int, top: int, p: int) -> None:
  corner = (left - 0.5, top - 0.5)
  ax.add_patch(Rectangle(corner, p, p, fill=False, edgecolor="#c53030", linewidth=0.8))


def _labelled(
  cells: UInt8[np.ndarray, "R C H W 3"],
  names: Sequence[str],
  title: str,
  *,
  inches: float = 1.05,
) -> Figure:
  rows, columns = cells.shape[:2]
  figure = _figure(inches * columns + 0.09 * max(map(len, names)) + 0.4, inches * rows + 0.7)
  ax = figure.subplots()
  side = _show(ax, cells, gap=max(1, cells.shape[2] // 16))
  ax.set_yticks([side * (row + 0.5) for row in range(rows)], names)
  ax.tick_params(length=0, labelsize=9)
  figure.suptitle(title, fontsize=11)
  return figure


def _show(ax: Axes, cells: UInt8[np.ndarray, "R C H W 3"], *, gap: int) -> int:
  """Draws all cells as one picture; returns the pixels from one to the next."""
  rows, columns, height, width, _ = cells.shape
  sheet = np.full((rows, columns, height + gap, width + gap, 3), _GREY, np.uint8)
  sheet[:, :, :height, :width] = cells
  picture = sheet.swapaxes(1, 2).reshape(rows * (height + gap), columns * (width + gap), 3)
  ax.imshow(picture[:-gap, :-gap], interpolation="nearest")
  ax.set(xticks=[], yticks=[])
  for spine in ax.spines.values():
    spine.set_visible(False)
  return width + gap


def _figure(width: float, height: float) -> Figure:
  return Figure(figsize=(width, height), dpi=100, layout="compressed")
