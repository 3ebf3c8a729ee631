"""`jaxt2i evaluate`: measures a trained run on a split of its data."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from jaxt2i.cli import drawing
from jaxt2i.errors import UsageError, UserError

INTERVAL = "_95"  # ends the name of a value's interval


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `jaxt2i evaluate`."""
  parser.add_argument("--workdir", required=True, help="folder of a trained run")
  parser.add_argument("--split", default="val", help="split of its data (default: val)")
  parser.add_argument(
    "--n", type=int, default=100, help="pictures drawn, where pictures are drawn (default: 100)"
  )
  parser.add_argument(
    "--judge", help="folder of a trained dual encoder, which ranks captions for the pictures drawn"
  )
  drawing.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
  """Prints a table, writes `<workdir>/eval/<split>.json` and sheets of pictures beside it."""
  if not 2 <= args.n <= 10_000:
    raise UsageError(f"--n is {args.n}: must be from 2 to 10000.")
  options = drawing.options(args)
  from jaxt2i.evaluation import evaluate
  from jaxt2i.pictures import save_png

  judge = None if args.judge is None else Path(args.judge)
  report = evaluate(Path(args.workdir), args.split, args.n, options, judge)
  results = report.values
  width = max(len(name) for name in results)
  for name, value in results.items():
    # Intervals stand beside their values, tables in the file alone.
    if not name.endswith(INTERVAL) and not isinstance(value, Mapping):
      print(f"{name:<{width}}  {_shown(value)}{_bounds(results.get(name + INTERVAL))}")
  path = Path(args.workdir) / "eval" / f"{args.split}.json"
  try:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n")
    for name, sheet in report.sheets.items():
      save_png(sheet, path.with_name(f"{args.split}_{name}.png"), {"source": report.attribution})
  except OSError as error:
    raise UserError(f"cannot write {path} ({error.strerror}): free the path.") from error
  print(f"written to {path}")
  return 0


def _shown(value: object) -> str:
  return f"{value:.4g}" if isinstance(value, float) else str(value)


def _bounds(interval: tuple[float, float] | None) -> str:
  return "" if interval is None else f"  ({interval[0]:.4g} to {interval[1]:.4g})"
