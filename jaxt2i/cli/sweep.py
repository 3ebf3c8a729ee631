"""`jaxt2i sweep`: the best way of drawing, chosen on validation, all that was tried recorded."""

import argparse
import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxt2i.cli import drawing, evaluate, writing
from jaxt2i.errors import UsageError, UserError, suggest

if TYPE_CHECKING:
  from jaxt2i.evaluation_request import Request

MOST = 64  # ways of drawing; more would find what fits validation by chance
FILE = "sweep.jsonl"
# Ends of the names of what is better the smaller it is; of all else more is better.
LESS = ("kid", "mmd", "fd", "fid", "copy_rate", "copy_rate_features")


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `jaxt2i sweep`."""
  parser.add_argument("--workdir", required=True, help="folder of a trained prior")
  parser.add_argument(
    "--by",
    required=True,
    help="the number to choose by, such as r_precision, everything, drawn_kid",
  )
  for name, kind in (("temperature", float), ("guidance_scale", float), ("steps", int)):
    default = {"temperature": drawing.TEMPERATURE, "guidance_scale": 1.0, "steps": 0}[name]
    parser.add_argument(
      f"--{name}", type=kind, nargs="+", default=[default], help=f"values (default: {default})"
    )
  evaluate.add_request_arguments(parser)


def run(args: argparse.Namespace) -> int:
  """Evaluates every combination, a line each in `<workdir>/eval/sweep.jsonl`; prints the best."""
  axes = {name: getattr(args, name) for name in ("temperature", "guidance_scale", "steps")}
  ways = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
  if len(ways) > MOST:
    raise UsageError(f"{len(ways)} ways of drawing are asked for: must be {MOST} at most.")
  from jaxt2i import evaluation
  from jaxt2i.sampling import SamplingOptions

  options = [SamplingOptions(**way) for way in ways]  # refuses what has no meaning before all else
  workdir = Path(args.workdir)
  asked = evaluate.request(args, options[0], "val")
  choices = evaluation.choices(workdir, asked)
  if not choices:
    raise UserError(f"{workdir} draws nothing: give the workdir of a prior.")
  numbers = [name for names in choices.values() for name in names]
  if args.by not in numbers:
    raise UsageError(
      f"--by is {args.by!r}, which is not measured here: {suggest(args.by, numbers)}"
    )
  writing.require_writable(workdir / "eval")
  found = []
  for way, each in zip(ways, options, strict=True):
    changed = dataclasses.replace(asked, options=each, metrics=tuple(choices))
    found.append(_measure(workdir, changed, args.by, numbers, way))
  best = (min if args.by.endswith(LESS) else max)(line[args.by] for line in found)
  first, *others = (
    " ".join(f"--{name}={line[name]}" for name in axes) for line in found if line[args.by] == best
  )
  print(f"\nbest of {len(found)} by {args.by}, on validation: {first}")
  if others:
    print(
      f"note: as good by {args.by}: {'; '.join(others)}; the first that was tried is named, more "
      "pictures (--n) or another --by may tell them apart."
    )
  print(f"written to {workdir / 'eval' / FILE}")
  return 0


def _measure(
  workdir: Path, asked: "Request", by: str, numbers: Sequence[str], way: Mapping[str, Any]
) -> dict[str, Any]:
  """One way of drawing: its line, printed and written."""
  from jaxt2i import evaluation, evaluation_report

  report = evaluation.evaluate(workdir, asked)
  found = {
    name: (value, bounds)
    for name, value, bounds in evaluation_report.rows(report.values)
    if name in numbers
  }
  if by not in found:  # as positions, which scenes of one object alone have
    raise UserError(f"--by is {by!r}, which none of the pictures has: ask for more (--n).")
  value, bounds = found[by]
  shown = "  ".join(f"{name} {x:g}" for name, x in way.items())
  interval = "" if bounds is None else f"  ({bounds[0]:.4g} to {bounds[1]:.4g})"
  print(f"{shown}  {by} {value:.4g}{interval}", flush=True)
  line = {**report.base, **report.settings, **dataclasses.asdict(asked.options)}
  line["protocols"] = {name: part.protocol for name, part in report.parts.items()}
  line |= {name: x for name, (x, _) in found.items()}
  try:
    (workdir / "eval").mkdir(exist_ok=True)
    with (workdir / "eval" / FILE).open("a", encoding="utf-8") as file:
      file.write(json.dumps(line) + "\n")
  except OSError as error:
    raise UserError(f"cannot write to {workdir} ({error.strerror}): free the path.") from error
  return line
