"""Figures of a report on a latent space that are curves, bars and dots. No pyplot."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from jaxt2i.analysis.measures import Section

_INK, _ACCENT, _PALE, _ALARM = "#333333", "#2b6cb0", "#b8c4d0", "#c53030"
_KINDS = {
  "real": "images' own tokens",
  "drawn": "drawn by the prior",
  "independent": "independent tokens",
  "shuffled": "shuffled tokens",
  "uniform": "any codes",
}


def spectrum(section: Section) -> Figure:
  """Share of the variance that the first principal axes hold."""
  figure = _figure(7.0, 3.8)
  ax = figure.subplots()
  kinds = {"codes": "codes, weighted by use", "latents": "latents before the lookup"}
  for (key, label), style in zip(kinds.items(), ("o-", "s--"), strict=True):
    shares = section.tables[f"spectrum_{key}"]
    ax.plot(range(1, len(shares) + 1), shares, style, label=label, markersize=4)
  ax.axhline(0.95, color=_INK, linewidth=1, linestyle=":")
  ax.legend(loc="lower right")
  ax.set(ylim=(0, 1.03), xlabel="number of principal axes", ylabel="share of the variance")
  ax.xaxis.set_major_locator(MaxNLocator(integer=True))
  _percent(ax)
  ax.set_title("How many dimensions are filled")
  return figure


def laws(section: Section) -> Figure:
  """Frequency by rank, and the three laws that were fitted to it."""
  figure = _figure(7.0, 4.2)
  ax = figure.subplots()
  counts = np.array(section.tables["counts_by_rank"])
  ranks = np.arange(1, len(counts) + 1)
  some = counts > 0
  ax.plot(
    ranks[some], 100 * counts[some] / counts.sum(), ".", color=_INK, markersize=3, label="codes"
  )
  for (name, shares), style in zip(section.tables["laws"].items(), (":", "--", "-"), strict=True):
    ax.plot(ranks, 100 * np.array(shares), style, linewidth=1.5, label=name)
  least = 100 / counts.sum() / 3
  ax.set(xscale="log", yscale="log", ylim=(least, None))
  for axis in (ax.xaxis, ax.yaxis):
    axis.set_major_formatter("{x:g}")
  ax.set(xlabel="rank of the code in the other half", ylabel="share of the tokens (%)")
  ax.legend()
  ax.set_title("Frequency by rank, from separate halves of the images")
  return figure


def distances(section: Section) -> Figure | None:
  """Distance of each kind of sample from the real images, and its bits under the prior."""
  measures = {m.name: m for m in section.measures}
  panels = {
    "fd": "Fréchet distance from the real images",
    "kid": "squared kernel distance from the real images",
    "bits": "bits of a token under the prior",
  }
  if any(name.startswith("fd.") for name in measures):
    del panels["kid"]
  rows = {key: [k for k in _KINDS if f"{key}.{k}" in measures] for key in panels}
  rows = {key: kinds for key, kinds in rows.items() if kinds}
  if not rows:
    return None
  figure = _figure(5.6 * len(rows), 2.9)
  axes = figure.subplots(1, len(rows), squeeze=False)[0]
  for ax, (key, kinds) in zip(axes, rows.items(), strict=True):
    found = [measures[f"{key}.{kind}"] for kind in kinds]
    values = np.array([m.value for m in found], float)
    ends = np.array([m.interval or (m.value, m.value) for m in found], float)
    spread = np.abs(ends.T - values)
    colors = [_ALARM if kind == "drawn" else _ACCENT for kind in kinds]
    ax.barh([_KINDS[k] for k in kinds], values, xerr=spread, color=colors, capsize=3)
    ax.invert_yaxis()
    ax.set_xlabel(panels[key])
    ax.margins(x=0.08)
    ax.set_xlim(left=0)
  figure.suptitle("Samples of the latent space, with 95 % intervals")
  return figure


def swaps(section: Section) -> Figure:
  """How much a picture changes when a token becomes a nearer or a farther code."""
  figure = _figure(7.0, 4.2)
  ax = figure.subplots()
  distance, change = np.array(section.tables["swaps"]).T
  ax.plot(distance, change, ".", color=_ACCENT, alpha=0.35, markersize=5, markeredgewidth=0)
  edges = np.unique(np.quantile(distance, np.linspace(0, 1, 9)))
  which = np.clip(np.searchsorted(edges, distance, side="right") - 1, 0, max(len(edges) - 2, 0))
  groups = [(distance[which == i], change[which == i]) for i in np.unique(which)]
  middle = [(float(np.median(d)), float(np.median(c))) for d, c in groups]
  ax.plot(*np.array(middle).T, "o-", color=_INK, label="medians of eighths", markersize=5)
  ax.set(xlabel="distance between the codes (units of the codebook)")
  ax.set(ylabel="change of the picture\n(RMS, share of a pixel's range)", ylim=(0, None))
  ax.legend(loc="upper left")
  value = next(m for m in section.measures if m.name == "smooth")
  ax.set_title(f"One token swapped: Spearman {value.value:.2f}")
  return figure


def probes(section: Section) -> Figure | None:
  """How well labels are read from latents, from pixels, and by chance."""
  found: Mapping[str, Any] = section.tables.get("probes", {})
  if not found:
    return None
  figure = _figure(7.5, 0.62 * len(found) + 1.6)
  ax = figure.subplots()
  places = np.arange(len(found))
  right = np.array([probe["right"] for probe in found.values()])
  ends = np.array([probe["interval"] for probe in found.values()])
  ax.barh(
    places - 0.2,
    right,
    0.38,
    xerr=np.abs(ends.T - right),
    color=_ACCENT,
    capsize=2,
    label="latents, with 95 % interval",
  )
  pixels = [probe["pixels"] for probe in found.values()]
  ax.barh(places + 0.2, pixels, 0.38, color=_PALE, label="mean colours of patches")
  chance = [probe["chance"] for probe in found.values()]
  ax.vlines(chance, places - 0.42, places + 0.42, color=_ALARM, linewidth=2, label="chance")
  ax.set_yticks(places, list(found))
  ax.invert_yaxis()
  ax.set(xlim=(0, 1.02), xlabel="share of the images whose label is read right")
  ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
  figure.legend(loc="outside lower center", ncols=3, frameon=False)
  ax.set_title("Linear probes")
  return figure


def _figure(width: float, height: float) -> Figure:
  return Figure(figsize=(width, height), dpi=100, layout="constrained")


def _percent(ax: Axes) -> None:
  ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
