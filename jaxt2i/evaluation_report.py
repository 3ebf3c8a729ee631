"""What an evaluation found: values, each with the protocol that makes it comparable; as files."""

import csv
import dataclasses
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from jaxt2i.errors import UserError
from jaxt2i.evaluators.intervals import SUFFIX
from jaxt2i.evaluators.measured import Measured
from jaxt2i.latex import latex_table
from jaxt2i.pictures import save_png

HISTORY = "history.jsonl"  # beside the reports: what was evaluated, and how pictures were drawn


@dataclasses.dataclass(frozen=True)
class Report:
  """All that was found of one run on one split.

  Attributes:
    base: what all values depend on: the split, how splits were made, the data.
    settings: of the run: after how many steps. Runs may be compared that differ here.
    parts: by evaluator.
    sheets: pictures to look at, by name.
    attribution: of the data, to be shown with the sheets.
  """

  base: Mapping[str, Any]
  settings: Mapping[str, Any]
  parts: Mapping[str, Measured]
  sheets: Mapping[str, Image.Image] = dataclasses.field(default_factory=dict)
  attribution: str = ""

  @property
  def values(self) -> dict[str, Any]:
    """Of all parts."""
    return {name: value for part in self.parts.values() for name, value in part.values.items()}


def write(report: Report, folder: Path, name: str) -> Path:
  """Writes `<name>.json`, `.csv`, `.tex` and the sheets; returns the path of the first.

  Parts that an earlier report has of the same data and the same state of the run are kept.

  Raises:
    UserError: the folder cannot be written.
  """
  path = folder / f"{name}.json"
  try:
    folder.mkdir(exist_ok=True)
    earlier = _earlier(path, report)
    whole = dataclasses.replace(report, parts={**earlier, **report.parts})
    path.write_text(json.dumps(_tree(whole), indent=2) + "\n", encoding="utf-8")
    path.with_suffix(".csv").write_text(as_csv(whole), encoding="utf-8")
    path.with_suffix(".tex").write_text(as_latex(whole), encoding="utf-8")
    for kind, sheet in report.sheets.items():
      save_png(sheet, path.with_name(f"{name}_{kind}.png"), {"source": report.attribution})
    with (folder / HISTORY).open("a", encoding="utf-8") as file:
      for way in ways(report):
        file.write(json.dumps({"report": name, "way": way}) + "\n")
  except OSError as error:
    raise UserError(f"cannot write {path} ({error.strerror}): free the path.") from error
  return path


def read(path: Path) -> Report:
  """A report as it was written, without sheets.

  Raises:
    UserError: there is none, or it is damaged.
  """
  try:
    tree = json.loads(path.read_text(encoding="utf-8"))
    parts = {name: Measured(**part) for name, part in tree["metrics"].items()}
    return Report(tree["base"], tree["settings"], parts)
  except OSError as error:
    raise UserError(
      f"{path} cannot be read ({error.strerror}): `jaxt2i evaluate` writes it."
    ) from error
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise UserError(
      f"{path} is damaged, or of another version: `jaxt2i evaluate` writes it anew."
    ) from error


def ways(report: Report) -> list[str]:
  """How the pictures of a report were drawn, each way once: settings and seed."""
  drawn = [part for part in report.parts.values() if part.settings]
  found = ({**part.settings, "seed": part.protocol.get("seed")} for part in drawn)
  return sorted({json.dumps(way, sort_keys=True) for way in found})


def other_ways(folder: Path, name: str, report: Report) -> int:
  """In how many other ways pictures were drawn for this report before: each is a choice."""
  try:
    lines = (folder / HISTORY).read_text(encoding="utf-8", errors="replace").splitlines()
  except OSError:
    return 0
  past = set()
  for text in lines:
    try:
      line = json.loads(text)
      if line["report"] == name:
        past.add(str(line["way"]))
    except (ValueError, KeyError, TypeError):
      continue  # torn by a killed process
  return len(past - set(ways(report))) if ways(report) else 0


def rows(values: Mapping[str, Any]) -> Iterator[tuple[str, float, tuple[float, float] | None]]:
  """Name, value and interval, if it has one, of each number; what is a table is left out."""
  for name, value in values.items():
    if isinstance(value, int | float) and not isinstance(value, bool):
      interval = values.get(name + SUFFIX)
      yield name, value, None if interval is None else (interval[0], interval[1])


def as_csv(report: Report) -> str:
  """A line a number: evaluator, name, value, ends of its 95 % interval."""
  out = io.StringIO()
  writer = csv.writer(out, lineterminator="\n")
  writer.writerow(("evaluator", "name", "value", "low", "high"))
  for kind, part in report.parts.items():
    for name, value, interval in rows(part.values):
      writer.writerow((kind, name, value, *(interval or ("", ""))))
  return out.getvalue()


def as_latex(report: Report) -> str:
  """A `tabular` for a paper, its protocol in comments above; needs the package booktabs."""
  protocol = [*_said("", report.base), *_said("", report.settings)]
  lines = []
  for kind, part in report.parts.items():
    protocol += _said(f"{kind}: ", {**part.protocol, **part.settings})
    for name, value, interval in rows(part.values):
      bounds = "" if interval is None else f"{interval[0]:.4g} to {interval[1]:.4g}"
      lines.append((name, f"{value:.4g}", bounds))
  return latex_table(("", "value", "95 % interval"), lines, protocol)


def _said(prefix: str, entries: Mapping[str, Any]) -> list[str]:
  return [f"{prefix}{name} = {value}" for name, value in entries.items()]


def _tree(report: Report) -> dict[str, Any]:
  metrics = {name: dataclasses.asdict(part) for name, part in report.parts.items()}
  return {"base": report.base, "settings": report.settings, "metrics": metrics}


def _earlier(path: Path, report: Report) -> Mapping[str, Measured]:
  """Parts of the report that is there, if they are of the same run at the same step."""
  if not path.exists():
    return {}
  try:
    earlier = read(path)
  except UserError:
    return {}
  whole = json.loads(json.dumps(_tree(report)))
  same = (earlier.base, earlier.settings) == (whole["base"], whole["settings"])
  return earlier.parts if same else {}
