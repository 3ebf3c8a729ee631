"""Figures about a data set. Each returns a Figure that belongs to its caller alone (no pyplot).

In a notebook the last expression of a cell shows it; elsewhere `figure.savefig(path)` keeps it.
"""

import functools
import unicodedata
from typing import Any

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter

from jaxt2i.analysis.data_examples import Examples
from jaxt2i.analysis.exploration import Exploration
from jaxt2i.analysis.words import shortened

_INK, _ACCENT, _PALE, _ALARM = "#333333", "#2b6cb0", "#dddddd", "#c53030"
_LONGEST = 24  # letters of a word that are shown
_IN_A_ROW = 4  # examples
_MANY = 100  # number of bars from which on some share one


def draw(found: Exploration, chosen: Examples) -> dict[str, Figure]:
  """All figures by name, without those that this data has nothing to show in."""
  drawn = {"sizes": sizes(found)}
  if found.fit:
    drawn["bars"] = bars(found)
  drawn["captions_per_image"] = captions_per_image(found)
  drawn["caption_length"] = caption_length(found)
  drawn["growth"] = growth(found)
  if found.top_words:
    drawn["words"] = words(found)
  if found.unseen:
    drawn["unseen"] = unseen(found)
  drawn["examples"] = examples(chosen)
  return drawn


def sizes(found: Exploration) -> Figure:
  """Width and height of the photos, and how much wider than high they are."""
  figure = _figure(11.0, 4.6)
  left, right = figure.subplots(1, 2)
  width, height, count = found.sizes.T
  # The area of a bubble is the number of images, the largest 20 points wide.
  area = np.maximum(400 * count / count.max(), 8)
  # As dots in the PDF too: a hundred thousand circles would take a viewer minutes.
  left.scatter(width, height, s=area, color=_ACCENT, alpha=0.5, linewidth=0, rasterized=True)
  top = 1.1 * max(width.max(), height.max())
  left.plot([0, top], [0, top], color=_INK, linewidth=1, linestyle="--", label="square")
  left.legend(loc="upper left")
  number = "One size" if len(count) == 1 else f"{len(count):,} different sizes"
  left.set(xlim=(0, top), ylim=(0, top), aspect="equal", title=number)
  left.set(xlabel="width (pixels)", ylabel="height (pixels)")
  ratio = np.log2(found.widths / found.heights)
  most = max(1.0, np.ceil(4 * np.abs(ratio).max()) / 4)
  bins = np.arange(-most - 1 / 16, most + 1 / 8, 1 / 8).tolist()  # the middle one around square
  right.hist(ratio, bins=bins, weights=_shares(ratio), color=_ACCENT, edgecolor="white")
  marks = [(w, h) for w, h in _RATIOS if abs(np.log2(w / h)) <= most]
  right.set_xticks([np.log2(w / h) for w, h in marks], [f"{w}:{h}" for w, h in marks])
  shares = [f"{n / found.images:.0%} {name}" for name, n in found.orientation.items()]
  right.set(title=", ".join(shares), xlabel="width to height", ylabel="share of images")
  _percent(right)
  figure.suptitle("Sizes of the images, and their orientation")
  return figure


def bars(found: Exploration) -> Figure:
  """How much of its square each photo does not fill."""
  figure = _figure(7.0, 3.8)
  ax = figure.subplots()
  shares = found.bars
  bins = np.linspace(0, 1, 21).tolist()
  ax.hist(shares, bins=bins, weights=_shares(shares), color=_ACCENT, edgecolor="white")
  _mark(ax, float(shares.mean()), f"mean {shares.mean():.0%}")
  ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
  _percent(ax)
  leaves = "leaves" if found.fit == "letterbox" else "would leave"
  ax.set(xlabel="share of the square that is no photo", ylabel="share of images", xlim=(0, 1))
  ax.set_title(f"How much of its square a letterboxed photo {leaves} empty")
  return figure


def captions_per_image(found: Exploration) -> Figure:
  """How many captions the images have."""
  figure = _figure(7.0, 3.8)
  ax = figure.subplots()
  _counts(ax, found.captions_per_image)
  ax.set(xlabel="captions of an image", ylabel="share of images", title="Captions per image")
  return figure


def caption_length(found: Exploration) -> Figure:
  """How many words the captions have."""
  figure = _figure(7.0, 3.8)
  ax = figure.subplots()
  _counts(ax, found.words_per_caption)
  median = float(np.median(found.words_per_caption))
  _mark(ax, median, f"median {median:g}")
  ax.set(xlabel="words of a caption", ylabel="share of captions", title="Length of captions")
  return figure


def growth(found: Exploration) -> Figure:
  """How many different words are known after so many captions."""
  figure = _figure(7.0, 4.2)
  ax = figure.subplots()
  grown = found.growth
  ax.plot(grown.captions, grown.distinct, color=_ACCENT, linewidth=2, label="counted", marker=".")
  if found.heaps is not None:
    law = found.heaps.factor * grown.words.astype(np.float64) ** found.heaps.exponent
    label = f"Heaps' law: {found.heaps.factor:.3g} · words$^{{{found.heaps.exponent:.2f}}}$"
    ax.plot(grown.captions, law, color=_ALARM, linestyle="--", label=label)
  ax.legend(loc="lower right")
  for axis in (ax.xaxis, ax.yaxis):
    axis.set_major_locator(MaxNLocator(6, integer=True))
    axis.set_major_formatter("{x:,.0f}")
  ax.set(xlim=(0, None), ylim=(0, None), xlabel="captions read, in an order fixed by chance")
  ax.set(ylabel="different words so far", title="Growth of the vocabulary")
  return figure


def words(found: Exploration) -> Figure:
  """The most frequent words but for stop words; those that the font lacks by their rank."""
  figure = _figure(7.0, 0.27 * max(4, len(found.top_words)) + 1.2)
  ax = figure.subplots()
  labels = [
    shortened(word, _LONGEST) if drawable(word) else f"(word {rank})"
    for rank, (word, _) in enumerate(found.top_words, 1)
  ]
  counts = [count for _, count in found.top_words]
  drawn = ax.barh(range(len(labels)), counts, color=_ACCENT)
  ax.bar_label(drawn, [f"{count:,}" for count in counts], padding=3, fontsize=8)
  ax.set_yticks(range(len(labels)), labels, parse_math=False)
  ax.invert_yaxis()
  ax.margins(x=0.12)  # room for the numbers
  ax.xaxis.set_major_formatter("{x:,.0f}")
  numbered = any(not drawable(word) for word, _ in found.top_words)
  ax.set_xlabel("times it occurs" + ("; the page has the words in brackets" if numbered else ""))
  ax.set(ylabel="word", title=f"The {len(labels)} most frequent words without stop words")
  return figure


def unseen(found: Exploration) -> Figure:
  """Share of each split's vocabulary, and of its text, that no training caption has."""
  figure = _figure(7.0, 3.8)
  ax = figure.subplots()
  places = np.arange(len(found.unseen))
  vocabulary = [u.unseen_distinct / max(1, u.distinct_words) for u in found.unseen]
  text = [u.unseen_running / max(1, u.running_words) for u in found.unseen]
  for shift, values, color, label in (
    (-0.2, vocabulary, _ACCENT, "of its different words"),
    (0.2, text, _INK, "of all of its words"),
  ):
    drawn = ax.bar(places + shift, values, 0.38, color=color, label=label)
    ax.bar_label(drawn, [f"{value:.1%}" for value in values], fontsize=9)
  names = [shortened(u.split, _LONGEST) for u in found.unseen]
  ax.set_xticks(places, names, parse_math=False)
  ax.margins(y=0.4)  # room for the legend
  ax.set(ylim=(0, None), xlim=(-0.6, len(places) - 0.4))
  _percent(ax)
  ax.legend(loc="upper right")
  ax.set(xlabel="split", ylabel="share", title="Words that no training caption has")
  return figure


def examples(chosen: Examples) -> Figure:
  """The examples by number: the photo, where there is one, above the square."""
  items = chosen.items
  both = any(item.before is not None for item in items)
  rows = -(-len(items) // _IN_A_ROW)
  columns = min(len(items), _IN_A_ROW)
  lines = ("before", "after") if both else ("after",)
  figure = _figure(max(5.0, 2.3 * columns + 0.5), 2.4 * rows * len(lines) + 0.5)
  axes = figure.subplots(rows * len(lines), columns, squeeze=False)
  for ax in axes.flat:
    ax.set_axis_off()
  for number, item in enumerate(items):
    row, column = divmod(number, _IN_A_ROW)
    for line, name in enumerate(lines):
      image = getattr(item, name)
      if image is not None:
        _picture(axes[row * len(lines) + line, column], image, f"{number + 1}: {name}")
  figure.suptitle("Examples" + (" before and after they were made square" if both else ""))
  return figure


_OFFSET: dict[str, Any] = {"textcoords": "offset points", "fontsize": 9}
_RATIOS = ((1, 8), (1, 4), (1, 3), (1, 2), (2, 3), (1, 1), (3, 2), (2, 1), (3, 1), (4, 1), (8, 1))


def drawable(word: str) -> bool:
  """Whether a figure shows a word as it should: the font has its letters, and left comes first."""
  known = _characters()
  return all(
    ord(letter) in known and unicodedata.bidirectional(letter) not in ("R", "AL", "AN")
    for letter in word
  )


@functools.cache
def _characters() -> frozenset[int]:
  """Code points that the font of the figures has."""
  path = font_manager.findfont(font_manager.FontProperties())
  return frozenset(font_manager.get_font(path).get_charmap())


def _figure(width: float, height: float) -> Figure:
  """Of that size in inches."""
  layout = ConstrainedLayoutEngine(wspace=0.06)
  return Figure(figsize=(width, height), dpi=100, layout=layout)


def _shares(values: np.ndarray) -> np.ndarray:
  """Weights that make a histogram one of shares."""
  return np.full(len(values), 1 / len(values))


def _percent(ax: Axes) -> None:
  ax.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")


def _mark(ax: Axes, place: float, text: str) -> None:
  """A dashed line at a place of the horizontal axis."""
  ax.margins(y=0.15)  # room for the text
  ax.axvline(place, color=_ALARM, linestyle="--")
  high = ("data", "axes fraction")
  ax.annotate(text, (place, 1), (5, -12), xycoords=high, color=_ALARM, **_OFFSET)


def _counts(ax: Axes, values: np.ndarray) -> None:
  """A bar for every whole number, or for some of them together where there are many."""
  low, high = int(values.min()), int(values.max())
  width = -(-(high - low + 1) // _MANY)
  bins = (np.arange(low, high + width + 1, width) - 0.5).tolist()
  ax.hist(values, bins=bins, weights=_shares(values), color=_ACCENT, edgecolor="white")
  ax.xaxis.set_major_locator(MaxNLocator(12, integer=True))
  ax.set_xlim(bins[0] - 0.5, bins[-1] + 0.5)
  _percent(ax)


def _picture(ax: Axes, image: np.ndarray, title: str) -> None:
  ax.set_axis_on()
  ax.imshow(image, interpolation="nearest")
  ax.set(xticks=[], yticks=[])
  ax.set_title(title, fontsize=9)
  for spine in ax.spines.values():
    spine.set_color(_PALE)
