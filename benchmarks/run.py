"""`python -m benchmarks.run [names…]`: speed and memory of jaxt2i against PyTorch, as a table."""

import argparse
import dataclasses
import importlib.util
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import features, prior_step, sampling, tokenizer_step
from benchmarks import input as reading
from benchmarks.tables import head, machine, row
from benchmarks.timing import Case, Comparison, compare
from jaxt2i.errors import UserError

PACKAGES = ("jax", "flax", "torch")

# Memory in huge pages: faster training on a CPU, for both. glibc reads it when a process starts.
TUNABLES = "glibc.malloc.hugetlb=1"


def main(argv: Sequence[str]) -> int:
  """Runs the benchmarks that are named, or all; returns the exit code."""
  cases = {
    case.name: case
    for module in (tokenizer_step, prior_step, sampling, features, reading)
    for case in module.cases()
  }
  arguments = _parse(argv, cases)
  try:
    if importlib.util.find_spec("torch") is None:
      raise UserError("PyTorch is not installed: try `pip install -e '.[benchmark]'`.")
    os.environ.setdefault("GLIBC_TUNABLES", TUNABLES)
    print(machine(*PACKAGES) + "\n", flush=True)
    results = _compare_all([cases[name] for name in arguments.names or cases], arguments.rounds)
    if arguments.json:
      arguments.json.write_text(json.dumps(_report(results), indent=2) + "\n")
  except UserError as error:
    print(f"benchmarks: error: {error}", file=sys.stderr)
    return error.exit_code
  except KeyboardInterrupt:
    return 130
  return 0


def _parse(argv: Sequence[str], cases: dict[str, Case]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.run",
    description="Times jaxt2i and the same networks in PyTorch, in turns, on the CPU.",
    epilog=f"names: {', '.join(cases)}",
  )
  parser.add_argument("names", nargs="*", metavar="name", help="what to run; all if none is named")
  parser.add_argument("--rounds", type=int, default=5, help="turns of each (default: 5)")
  parser.add_argument("--json", type=Path, metavar="FILE", help="every measurement goes here too")
  arguments = parser.parse_args(argv)
  unknown = [name for name in arguments.names if name not in cases]
  if unknown:
    parser.error(f"{unknown[0]!r} is not a benchmark: choose from {', '.join(cases)}")
  if arguments.rounds < 1:
    parser.error(f"--rounds is {arguments.rounds}: must be at least 1")
  return arguments


def _compare_all(cases: Sequence[Case], rounds: int) -> list[Comparison]:
  """Prints each line of the table as soon as it is known."""
  header = ("benchmark", "jaxt2i ms", "PyTorch ms", "time ratio", "min–max", "step MiB", "PyTorch")
  print(head(header), flush=True)
  results = []
  start = time.monotonic()
  for case in cases:
    result = compare(case, rounds)
    print(row(_cells(result)), flush=True)
    results.append(result)
  print(f"\nTime ratio: jaxt2i / PyTorch, below 1 jaxt2i is faster; medians of {rounds} rounds.")
  print(f"{time.monotonic() - start:.0f} s in all.")
  return results


def _cells(result: Comparison) -> list[str]:
  low, high = result.ratio_range
  return [
    result.name,
    f"{1000 * result.ours.seconds:.0f}",
    f"{1000 * result.peer.seconds:.0f}",
    f"{result.ratio:.2f}",
    f"{low:.2f}–{high:.2f}",
    f"{result.ours.step_bytes / 2**20:.0f}",
    f"{result.peer.step_bytes / 2**20:.0f}",
  ]


def _report(results: Sequence[Comparison]) -> dict[str, Any]:
  fields = [dataclasses.asdict(result) | {"ratio": result.ratio} for result in results]
  return {
    "machine": machine(*PACKAGES),
    "glibc_tunables": os.environ.get("GLIBC_TUNABLES", ""),
    "results": fields,
  }


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
