"""`jaxt2i quickstart`: trains on drawings or shapes for some minutes, then draws from words."""

import argparse
from pathlib import Path

from jaxt2i.errors import UsageError
from jaxt2i.quickstart import DATA, quickstart


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `jaxt2i quickstart`."""
  parser.add_argument("--data", choices=DATA, default="openmoji", help="(default: openmoji)")
  parser.add_argument(
    "--minutes", type=float, default=10.0, help="of training, on two CPU cores (default: 10)"
  )
  parser.add_argument("--workdir", default="", help="(default: runs/quickstart-DATA-MINUTES)")


def run(args: argparse.Namespace) -> int:
  """Trains, draws, measures."""
  if not 0.1 <= args.minutes <= 10_000:
    raise UsageError(f"--minutes is {args.minutes}: must be from 0.1 to 10000.")
  workdir = args.workdir or f"runs/quickstart-{args.data}-{args.minutes:g}"
  quickstart(args.data, args.minutes, Path(workdir))
  return 0
