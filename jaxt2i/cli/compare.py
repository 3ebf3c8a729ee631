"""`jaxt2i compare`: evaluations of several runs side by side, if they may be compared."""

import argparse
from pathlib import Path

from jaxt2i.cli import writing
from jaxt2i.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `jaxt2i compare`."""
  parser.add_argument("workdirs", nargs="+", metavar="workdir", help="folders of evaluated runs")
  parser.add_argument("--split", default="val", help="split that was evaluated (default: val)")
  parser.add_argument(
    "--metrics",
    default="",
    help="only these, separated by commas (default: all)",
  )
  parser.add_argument(
    "--force", action="store_true", help="compare although protocols differ; the table says so"
  )
  parser.add_argument("--out", help="folder to write comparison.csv, .tex and .md to")


def run(args: argparse.Namespace) -> int:
  """Prints a table, a column a run; writes it if asked."""
  if len(args.workdirs) < 2:
    raise UsageError(f"one workdir is given ({args.workdirs[0]}): two or more can be compared.")
  if len(set(args.workdirs)) < len(args.workdirs):
    raise UsageError(f"a workdir is given twice ({' '.join(args.workdirs)}): name each once.")
  if args.out:
    writing.require_folder(Path(args.out))
  from jaxt2i import comparison, evaluation_report
  from jaxt2i.cli.evaluate import names

  reports = {
    workdir: evaluation_report.read(Path(workdir) / "eval" / f"{args.split}.json")
    for workdir in args.workdirs
  }
  table = comparison.compare(reports, names(args.metrics), force=args.force)
  print(comparison.as_text(table))
  if args.out:
    paths = comparison.write(table, Path(args.out))
    print(f"written to {', '.join(map(str, paths))}")
  return 0
