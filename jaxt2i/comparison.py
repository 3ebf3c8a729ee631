"""Evaluations side by side: a column a run. What was measured otherwise is not compared."""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxt2i.errors import UsageError, UserError, suggest
from jaxt2i.evaluation_report import Report, rows
from jaxt2i.latex import latex_table

NAME = "comparison"
_MANY = 60  # letters of a protocol that a message shows


@dataclasses.dataclass(frozen=True)
class Table:
  """Runs and their numbers.

  Attributes:
    runs: names of the columns.
    lines: name of a value, then a cell a run; "–" where it was not measured.
    warnings: what differs all the same, where comparing was forced.
    protocol: what holds for all columns.
  """

  runs: tuple[str, ...]
  lines: tuple[tuple[str, ...], ...]
  warnings: tuple[str, ...]
  protocol: tuple[str, ...]


def compare(reports: Mapping[str, Report], metrics: Sequence[str], *, force: bool) -> Table:
  """Reports as one table.

  Args:
    reports: by the name of the run, two or more.
    metrics: evaluators whose values are wanted; none: all.
    force: compare what should not be compared; the table says what differs.

  Raises:
    UserError: reports differ in what their values depend on; names it, and what can be done.
  """
  known = {name for report in reports.values() for name in report.parts}
  for name in metrics:
    if name not in known:
      raise UsageError(f"--metrics has {name!r}, which no report has: {suggest(name, known)}")
  wanted = [name for report in reports.values() for name in report.parts]
  wanted = [name for name in dict.fromkeys(wanted) if not metrics or name in metrics]
  shared = [name for name in wanted if sum(name in r.parts for r in reports.values()) > 1]
  if not shared:
    raise UserError(
      f"nothing was measured of two of these: there are {', '.join(sorted(known))}; evaluate all "
      "with the same --metrics."
    )
  differences = list(_differences(reports, wanted))
  if differences and not force:
    raise UserError(
      f"{differences[0]}: measure both alike, name what can be compared with --metrics, or pass "
      "--force."
    )
  first = next(iter(reports.values()))
  same = [f"{name} = {value}" for name, value in first.base.items()]
  for metric in wanted:
    part = first.parts.get(metric)
    same += [f"{metric}: {k} = {v}" for k, v in part.protocol.items()] if part else []
  return Table(
    tuple(reports),
    tuple(_lines(list(reports.values()), wanted)),
    tuple(differences),
    tuple(same) if not differences else (),
  )


def _differences(reports: Mapping[str, Report], metrics: Sequence[str]) -> list[str]:
  """Where runs differ from the first one that has the same metric; the metric is named."""
  found = []
  (first_name, first), *others = reports.items()
  for name, report in others:
    found += _unlike("", first_name, first.base, name, report.base)
  for metric in metrics:
    having = [(name, r.parts[metric].protocol) for name, r in reports.items() if metric in r.parts]
    (first_name, protocol), *rest = having
    for name, other in rest:
      found += _unlike(f"{metric}: ", first_name, protocol, name, other)
  return found


def _unlike(
  what: str, a_name: str, a: Mapping[str, Any], b_name: str, b: Mapping[str, Any]
) -> list[str]:
  return [
    f"{what}{key} differs, {_short(a.get(key))} of {a_name} and {_short(b.get(key))} of {b_name}"
    for key in dict.fromkeys((*a, *b))
    if a.get(key) != b.get(key)
  ]


def _short(value: Any) -> str:
  text = str(value)
  return repr(text if len(text) <= _MANY else text[:_MANY] + "…")


def _lines(reports: Sequence[Report], metrics: Sequence[str]) -> list[tuple[str, ...]]:
  """Settings in which runs differ, then values with their intervals."""
  lines = []
  settings = []
  for report in reports:
    drawn = {
      f"{name}: {key}" if len(_ways(report, metrics)) > 1 else key: value
      for name in metrics
      if name in report.parts
      for key, value in report.parts[name].settings.items()
    }
    settings.append({**report.settings, **drawn})
  for key in dict.fromkeys(key for each in settings for key in each):
    cells = [str(each.get(key, "–")) for each in settings]
    if len(set(cells)) > 1:
      lines.append((key, *cells))
  for metric in metrics:
    columns = []
    for report in reports:
      part = report.parts.get(metric)
      found = rows(part.values) if part else ()
      columns.append({name: (value, interval) for name, value, interval in found})
    for name in dict.fromkeys(name for column in columns for name in column):
      lines.append((name, *(_cell(*column[name]) if name in column else "–" for column in columns)))
  return lines


def _ways(report: Report, metrics: Sequence[str]) -> set[str]:
  """How pictures were drawn for these metrics."""
  parts = [report.parts[name] for name in metrics if name in report.parts]
  return {str(part.settings) for part in parts if part.settings}


def _cell(value: float, interval: tuple[float, float] | None) -> str:
  bounds = "" if interval is None else f" ({interval[0]:.3g} to {interval[1]:.3g})"
  return f"{value:.4g}{bounds}"


def as_text(table: Table) -> str:
  """For a terminal."""
  lines = [("", *table.runs), *table.lines]
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  text = [
    "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
    for line in lines
  ]
  return "\n".join([*text, *(f"warning: {each}" for each in table.warnings)])


def write(table: Table, folder: Path) -> list[Path]:
  """Writes `comparison.csv`, `.tex` and `.md`; UserError if the folder cannot be written."""
  heads = ("", *table.runs)
  out = io.StringIO()
  writer = csv.writer(out, lineterminator="\n")
  writer.writerows((heads, *table.lines))
  said = (*table.protocol, *(f"warning: {each}" for each in table.warnings))
  rule = ("---", *("---:" for _ in table.runs))
  markdown = [f"| {' | '.join(line)} |\n" for line in (heads, rule, *table.lines)]
  texts = {
    "csv": out.getvalue(),
    "tex": latex_table(heads, table.lines, said),
    "md": "".join([*markdown, "\n", *(f"- {each}\n" for each in said)]),
  }
  try:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{NAME}.{end}" for end in texts]
    for path, text in zip(paths, texts.values(), strict=True):
      path.write_text(text, encoding="utf-8")
  except OSError as error:
    raise UserError(
      f"cannot write to {folder} ({error.strerror}): choose another --out."
    ) from error
  return paths
