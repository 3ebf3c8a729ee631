"""`jaxt2i launch`: starts a training elsewhere, or in several processes here."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from jaxt2i import launch
from jaxt2i.errors import UsageError, UserError, suggest

_OPTIONS = {
  "name": "of the job; of the TPU VM (default: jaxt2i)",
  "nodes": "machines (default: 1)",
  "processes": "of local_processes (default: 2)",
  "gpus": "of each machine (default: 1)",
  "accelerator": "kubernetes_tpu: such as tpu-v5-lite-podslice; skypilot: H100:8, tpu-v5litepod-16",
  "topology": "of the TPU slice, such as 4x4",
  "zone": "of the TPU VM",
  "storage": f"what all machines see as {launch.SHARED}: an NFS share, a volume claim, a bucket",
  "repository": "address that the machines clone jaxt2i from",
  "out": "notebook to write",
}
_NUMBERS = ("nodes", "processes", "gpus")


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `jaxt2i launch`."""
  parser.add_argument("--target", required=True, help=", ".join(launch.TARGETS))
  parser.add_argument("--config", required=True, help="such as configs/vqvae.py:fsq")
  parser.add_argument("--workdir", required=True, help="of the run, a path that all machines see")
  for name, text in _OPTIONS.items():
    parser.add_argument(f"--{name}", type=int if name in _NUMBERS else str, help=text)
  parser.add_argument("--dry_run", action="store_true", help="print the file, start nothing")
  parser.set_defaults(config_options=[])
  parser.epilog = "Any --config.x=y is passed on. What each target needs is said in launch/."


def run(args: argparse.Namespace) -> int:
  """Starts what was asked for; returns its exit code."""
  if args.target not in launch.TARGETS:
    raise UsageError(f"unknown target {args.target!r}; {suggest(args.target, launch.TARGETS)}")
  options = {name: getattr(args, name) for name in _OPTIONS if getattr(args, name) is not None}
  arguments = [f"--config={args.config}", f"--workdir={args.workdir}", *args.config_options]
  text = launch.render(args.target, options, arguments, python=sys.executable)
  if args.dry_run:
    print(text, end="")
    return 0
  if args.target == "colab":
    return _write(text, args.out)
  return _start(args.target, text)


def _write(text: str, out: str | None) -> int:
  if not out:
    raise UsageError("--target=colab needs --out, a notebook to write (or --dry_run)")
  try:
    with open(out, "x", encoding="utf-8") as file:
      file.write(text)
  except FileExistsError as error:
    raise UsageError(f"{out} is there already: choose another --out") from error
  except OSError as error:
    raise UserError(f"cannot write {out} ({error.strerror}): choose another --out") from error
  print(f"written to {out}: open it in Colab (File, Upload notebook) with a TPU runtime")
  return 0


def _start(target: str, text: str) -> int:
  program = launch.TARGETS[target].program
  if shutil.which(program) is None:
    raise UserError(
      f"{program} is not installed here: install it, or take the file to where it is "
      f"(--dry_run > {launch.TARGETS[target].file})"
    )
  if target == "slurm":
    return subprocess.run(["sbatch"], input=text, text=True).returncode
  if program == "kubectl":
    return subprocess.run(["kubectl", "apply", "-f", "-"], input=text, text=True).returncode
  if program == "sky":
    with tempfile.TemporaryDirectory() as folder:
      path = Path(folder, "skypilot.yaml")
      path.write_text(text, encoding="utf-8")
      return subprocess.run(["sky", "jobs", "launch", str(path)]).returncode
  sys.stdout.flush()
  # In place of this process, so that signals reach the script and its exit code is ours.
  os.execvp("bash", ["bash", "-c", text])
