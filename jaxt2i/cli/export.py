"""`jaxt2i export`: a trained run as a small folder, to be passed on."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `jaxt2i export`."""
  parser.add_argument("--workdir", required=True, help="folder of a trained run")
  parser.add_argument("--out", required=True, help="new folder to write to")


def run(args: argparse.Namespace) -> int:
  """Writes the folder and says how large it is."""
  from jaxt2i import weights

  path = weights.export(Path(args.workdir), Path(args.out))
  print(f"{args.out}: {path.stat().st_size / 1e6:.1f} MB of weights; use it as any --workdir")
  return 0
