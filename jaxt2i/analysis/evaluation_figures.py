"""Figures of an evaluation: values of one evaluator each, beside what they must be read against.

Each returns a Figure that belongs to its caller alone (no pyplot).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from scipy.stats import binom

from jaxt2i.evaluators.intervals import SUFFIX
from jaxt2i.evaluators.shapes import SCORES

_INK, _ACCENT, _PALE, _ALARM = "#333333", "#2b6cb0", "#b8c4d0", "#c53030"
_MOST = 0.55  # share of validation images that the curve of copies reaches to
_SETS = {
  "drawn": "drawn for captions",
  "random": "drawn without captions",
  "floor": "real training images",
}
_DISTANCES = {
  "kid": "kid\n(lower is better)",
  "precision": "precision\n(higher is better)",
  "recall": "recall\n(higher is better)",
  "density": "density\n(higher is better)",
  "coverage": "coverage\n(higher is better)",
}
_CURVES = {
  "copy_curve": ("o-", _ACCENT, "by pixels"),
  "copy_curve_features": ("s-", _ALARM, "by features"),
  "copy_recognised_curve": ("o:", _ACCENT, "training images, reconstructed, by pixels"),
  "copy_recognised_curve_features": ("s:", _ALARM, "the same by features"),
}
_BAND = "new images, 95 % of the time"
_MATCHES = {
  "r_precision": "drawings",
  "r_precision_reconstructed": "reconstructions",
  "r_precision_real": "real images",
}


def distances(values: Mapping[str, Any]) -> Figure:
  """Drawings for captions, drawings without and the floor, each with its 95 % interval.

  Args:
    values: of `evaluators.generation`; without a floor where the split is that of training.
  """
  sets = [name for name in _SETS if f"{name}_kid" in values]
  figure = _figure(12.0, 2.7)
  axes = figure.subplots(1, len(_DISTANCES), sharey=True)
  places = np.arange(len(sets))
  for ax, (key, title) in zip(axes, _DISTANCES.items(), strict=True):
    if "floor" in sets:
      ax.axvspan(*values[f"floor_{key}{SUFFIX}"], color=_PALE, alpha=0.5, linewidth=0)
    for place, name in zip(places, sets, strict=True):
      value, ends = values[f"{name}_{key}"], np.array(values[f"{name}_{key}{SUFFIX}"])
      color = _INK if name == "floor" else _ACCENT
      # A share's interval may end at 1, but not before its value.
      ax.errorbar(value, place, xerr=np.abs(ends - value)[:, None], fmt="o", color=color, capsize=4)
      ax.annotate(f"{value:.2f}", (value, place), (0, 6), **_ABOVE)
    ax.set_title(title, fontsize=10)
    ax.margins(x=0.15)
    ax.xaxis.set_major_locator(MaxNLocator(4))
  axes[0].set(
    yticks=places, yticklabels=[_SETS[name] for name in sets], ylim=(len(sets) - 0.6, -0.7)
  )
  floor = "; grey: the interval of the floor" if "floor" in sets else ""
  figure.suptitle(f"Sets of pictures against the images of the split, with 95 % intervals{floor}")
  return figure


def copies(values: Mapping[str, Any], drawn: int) -> Figure:
  """Share of drawings nearer to training than a share of validation images, against that share.

  The band holds 95 % of what so many new images would have; the chance in the validation images
  comes on top. Dotted is what perfect copies would reach: if that is low, copies cannot be told.

  Args:
    values: of `evaluators.copies`.
    drawn: number of drawings.
  """
  figure = _figure(6.4, 4.2)
  ax = figure.subplots()
  shares = np.linspace(0, _MOST, 600)
  low, high = (binom.ppf(end, drawn, shares) / drawn for end in (0.025, 0.975))
  ax.fill_between(
    shares, np.maximum(low, 0), high, color=_PALE, alpha=0.5, linewidth=0, label=_BAND
  )
  ax.plot(shares, shares, color=_INK, linestyle="--", linewidth=1, label="new images, on average")
  for key, (style, color, label) in _CURVES.items():
    if key in values:
      curve = [(float(percent) / 100, rate) for percent, rate in values[key].items()]
      ax.plot(*np.array(curve).T, style, color=color, label=label, clip_on=False)
  ax.set(xlim=(0, _MOST), ylim=(0, 1))
  # Roots leave room for the small shares, and for 0.
  ax.set_xscale("function", functions=(np.sqrt, np.square))
  ax.set_yscale("function", functions=(np.sqrt, np.square))
  ax.set_xticks([0.001, 0.01, 0.05, 0.1, 0.25, 0.5])
  ax.set_yticks([0, 0.01, 0.05, 0.1, 0.25, 0.5, 1])
  for axis in (ax.xaxis, ax.yaxis):
    axis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
  ax.set_xlabel("share of validation images that are nearer to training than a limit")
  ax.set_ylabel("share of drawings that are nearer")
  ax.set_title(f"Copies among {drawn} drawings: above the band is suspicious")
  ax.legend(loc="upper left", frameon=False)
  return figure


def attributes(values: Mapping[str, Any]) -> Figure:
  """Share of drawings with each attribute right; lines for the tokenizer's ceiling and the judge.

  Args:
    values: of `evaluators.attributes`.
  """
  names = [name for name in SCORES if name in values]
  figure = _figure(7.5, 0.36 * len(names) + 1.6)
  ax = figure.subplots()
  bars = ax.barh(names, [values[name] for name in names], color=_ACCENT, height=0.7)
  ax.bar_label(bars, fmt="{:.0%}", padding=3, fontsize=9)
  # These two are of all attributes together: they belong to the last bar.
  place = len(names) - 1
  marks = {
    "ceiling": ("-", _ALARM, "reconstructions"),
    "judge_accuracy": (":", _INK, "real images"),
  }
  for key, (style, color, label) in marks.items():
    ax.vlines(values[key], place - 0.45, place + 0.45, color=color, linestyle=style, label=label)
  ax.invert_yaxis()
  ax.set(xlim=(0, 1.12), xlabel="share of drawings that have it right")
  ax.set_xticks(np.linspace(0, 1, 6))
  ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
  figure.legend(loc="outside lower center", ncols=2, frameon=False)
  ax.set_title("What the drawings have of their captions")
  return figure


def r_precision(values: Mapping[str, Any]) -> Figure:
  """How often the judge ranks the own caption first; chance, reconstructions and real images.

  Args:
    values: of `evaluators.retrieval.RPrecision`.
  """
  figure = _figure(7.0, 2.7)
  ax = figure.subplots()
  shares = [values[name] for name in _MATCHES]
  labels = [f"{label}: {share:.0%}" for label, share in zip(_MATCHES.values(), shares, strict=True)]
  ax.barh(labels, shares, color=[_ACCENT, _PALE, _PALE], height=0.7)
  ends = np.array(values["r_precision" + SUFFIX])
  ax.errorbar(shares[0], 0, xerr=np.abs(ends - shares[0])[:, None], color=_INK, capsize=4)
  chance = values["r_precision_chance"]
  ax.axvline(chance, color=_ALARM, linewidth=2, label=f"chance, {chance:.1%}")
  ax.invert_yaxis()
  ax.set(xlim=(0, 1.02), xlabel="share whose own caption the judge ranks first")
  ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
  ax.legend(loc="lower right")
  ax.set_title("R-precision, with 95 % interval")
  return figure


_ABOVE: dict[str, Any] = {
  "textcoords": "offset points",
  "horizontalalignment": "center",
  "fontsize": 9,
  "color": _INK,
}


def _figure(width: float, height: float) -> Figure:
  return Figure(figsize=(width, height), dpi=100, layout="constrained")
