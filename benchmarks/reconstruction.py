"""`python -m benchmarks.reconstruction`: pictures given back after equal minutes of training.

jaxt2i's tokenizer against that of PyTorch and vector-quantize-pytorch, each with the network that
its framework runs best, of about as many parameters, with as many tokens and codes.
"""

import argparse
import ast
import dataclasses
import importlib.util
import json
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.run import TUNABLES
from benchmarks.tables import head, machine, row
from benchmarks.timing import num_cores
from jaxt2i.errors import UsageError, UserError

PACKAGES = {
  "jaxt2i": ("jax", "flax"),
  "pytorch": ("torch", "vector-quantize-pytorch"),
}
IMAGE_SIZE = 64
PROTOCOL = "image"
TOLERANCE = 0.05  # by which a run may be longer or shorter than was asked for, unremarked
HEADER = (
  *("tokenizer", "parameters", "minutes", "steps", "img/s"),
  *("PSNR dB", "SSIM", "usage", "perplexity"),
)


@dataclasses.dataclass(frozen=True)
class Run:
  """One run, as it is asked for; what isn't in it stands in the module of the side."""

  side: str
  quantizer: str
  data: str
  minutes: float
  seed: int
  changes: Mapping[str, Any]  # of our config


def main(argv: Sequence[str]) -> int:
  """Trains and evaluates each side, one after the other; returns the exit code."""
  arguments = _parse(argv)
  sides = list(PACKAGES) if arguments.side == "both" else [arguments.side]
  try:
    changes = {"batch_size": arguments.batch_size, **dict(map(_change, arguments.set))}
    if "pytorch" in sides:
      _require_peer()
    os.environ.setdefault("GLIBC_TUNABLES", TUNABLES)
    print(machine(*(name for side in sides for name in PACKAGES[side])) + "\n", flush=True)
    print(head(HEADER), flush=True)
    for side in sides:
      run = Run(
        side,
        arguments.quantizer,
        str(arguments.data),
        arguments.minutes,
        arguments.seed,
        changes if side == "jaxt2i" else {},
      )
      result = _in_its_own_process(run)
      print(row(_cells(run, result)), flush=True)
      if abs(result["seconds"] / (60 * run.minutes) - 1) > TOLERANCE:
        print(f"\n{side}'s speed changed meanwhile: for equal minutes, leave the machine alone.\n")
      if arguments.json:
        _append(arguments.json, run, result)
  except UserError as error:
    print(f"benchmarks: error: {error}", file=sys.stderr)
    return error.exit_code
  except KeyboardInterrupt:
    return 130
  return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.reconstruction",
    description="Trains image tokenizers for equal minutes and compares what they give back.",
  )
  parser.add_argument(
    "--data", type=Path, required=True, help="made by `jaxt2i data prepare --sizes=64`"
  )
  parser.add_argument("--quantizer", choices=("ema", "fsq"), required=True)
  parser.add_argument("--minutes", type=float, default=6.0, help="of training (default: 6)")
  parser.add_argument("--side", choices=(*PACKAGES, "both"), default="both")
  parser.add_argument("--seed", type=int, default=0, help="(default: 0)")
  parser.add_argument("--batch_size", type=int, default=16, help="of jaxt2i (default: 16)")
  parser.add_argument(
    "--set",
    action="append",
    default=[],
    metavar="NAME=VALUE",
    help="changes jaxt2i's config: --set optimizer.learning_rate=1e-3",
  )
  parser.add_argument("--json", type=Path, metavar="FILE", help="a line a run is added to it")
  arguments = parser.parse_args(argv)
  if not arguments.minutes > 0:
    parser.error(f"--minutes is {arguments.minutes}: must be more than 0")
  for name, least in (("batch_size", 1), ("seed", 0)):
    if getattr(arguments, name) < least:
      parser.error(f"--{name} is {getattr(arguments, name)}: must be at least {least}")
  return arguments


def _change(text: str) -> tuple[str, Any]:
  """A `NAME=VALUE`; what is no Python literal is a word."""
  name, equals, value = text.partition("=")
  if not equals:
    raise UsageError(f"--set is {text!r}: must be NAME=VALUE.")
  try:
    return name, ast.literal_eval(value)
  except (ValueError, SyntaxError):
    return name, value


def _require_peer() -> None:
  for module in ("torch", "vector_quantize_pytorch"):
    if importlib.util.find_spec(module) is None:
      raise UserError(
        f"{module} is not installed: try `pip install -e '.[benchmark]'`, or --side jaxt2i."
      )


def _in_its_own_process(run: Run) -> dict[str, Any]:
  """`perform` where no thread pool or memory is shared with the other side."""
  context = multiprocessing.get_context("spawn")
  with ProcessPoolExecutor(1, mp_context=context) as executor:
    return executor.submit(perform, run).result()


def perform(run: Run) -> dict[str, Any]:
  """Trains and evaluates in this process; the fields of an `equal_minutes.Result`.

  Raises:
    UserError: the data cannot be read, or a change of the config cannot be.
  """
  from benchmarks.equal_minutes import Learner, train_and_evaluate

  options = {
    "name": "prepared",
    "path": run.data,
    "image_size": IMAGE_SIZE,
    "protocol": PROTOCOL,
  }
  learner: Learner
  if run.side == "jaxt2i":
    from benchmarks.jax_tokenizer import JaxTokenizer, make_config

    given = {f"data.{name}": value for name, value in options.items()} | {"seed": run.seed}
    learner = JaxTokenizer(make_config(run.quantizer, {**given, **run.changes}))
  else:
    import torch

    from benchmarks.torch_tokenizer import TorchTokenizer

    torch.set_num_threads(num_cores())
    learner = TorchTokenizer(run.quantizer, run.seed)
  return dataclasses.asdict(train_and_evaluate(learner, options, run.minutes))


def _cells(run: Run, result: Mapping[str, Any]) -> list[str]:
  return [
    f"{run.side} {run.quantizer}",
    f"{result['num_parameters']:,}",
    f"{result['seconds'] / 60:.2f}",
    f"{result['steps']:,}",
    f"{result['images_per_second']:.0f}",
    f"{result['psnr']:.2f}",
    f"{result['ssim']:.3f}",
    f"{100 * result['codebook_usage']:.1f} %",
    f"{result['perplexity']:.0f}",
  ]


def _append(path: Path, run: Run, result: Mapping[str, Any]) -> None:
  line = {**dataclasses.asdict(run), **result, "machine": machine(*PACKAGES[run.side])}
  with path.open("a", encoding="utf-8") as file:
    file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
