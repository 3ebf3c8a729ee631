"""What the tests of faults share: the training command in a process of its own, and whole runs."""

import hashlib
import subprocess
import sys
from pathlib import Path

import jax

from jaxt2i.checkpoints import read_arrays
from tests.runs import metrics_of

NAME = "vqvae:ema,vit,shapes,tiny"
LOOP = {
  "loop.num_steps": 20,
  "loop.log_every": 1,
  "loop.eval_every": 10,
  "loop.checkpoint_every": 10,
}
KEYS = ("step", "params", "ema_params", "collections", "opt_state")
# Python that replaces itself by the training, after something that only a process can do to itself.
_LAUNCH = """
import ctypes, os, resource, sys
{before}
os.execv(sys.executable, [sys.executable, "-m", "jaxt2i.main", *sys.argv[1:]])
"""


def arguments(workdir: Path, name: str = NAME, **changes) -> list[str]:
  """Of the training command; `LOOP` is what it does if no `changes` are given."""
  module, _, chosen = name.partition(":")
  options = [f"--config.{path}={value}" for path, value in (changes or LOOP).items()]
  return [f"--config=configs/{module}.py:{chosen}", f"--workdir={workdir}", *options]


def start(repository: Path, *given: str, before: str = "") -> subprocess.Popen:
  """Starts the training as a user would; `before` is a line of Python that it runs first."""
  command = [sys.executable, "-c", _LAUNCH.format(before=before), *given]
  return subprocess.Popen(command, cwd=repository, stderr=subprocess.PIPE, text=True)


def last_line(stderr: str) -> str:
  """The complaint: one line, the last one, and no traceback anywhere before it."""
  assert "Traceback" not in stderr
  lines = stderr.splitlines()
  assert sum(line.startswith("jaxt2i: error: ") for line in lines) == 1, stderr
  assert lines[-1].startswith("jaxt2i: error: "), stderr
  return lines[-1]


def digests(folder: Path) -> dict[str, str]:
  """Of every file below a folder."""
  return {
    str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
    for path in folder.rglob("*")
    if path.is_file()
  }


def assert_same_state(workdir: Path, reference: Path) -> int:
  """Same newest state, bit for bit; returns its step."""
  step, arrays = read_arrays(workdir, KEYS)
  reference_step, expected = read_arrays(reference, KEYS)
  assert step == reference_step
  assert jax.tree.structure(arrays) == jax.tree.structure(expected)
  different = [
    jax.tree_util.keystr(path)
    for (path, a), b in zip(
      jax.tree_util.tree_leaves_with_path(arrays), jax.tree.leaves(expected), strict=True
    )
    if a.dtype != b.dtype or a.tobytes() != b.tobytes()
  ]
  assert not different
  return step


def assert_same_run(workdir: Path, reference: Path) -> None:
  """Same last state, bit for bit, and the same metrics with each step once."""
  step = assert_same_state(workdir, reference)
  lines = metrics_of(workdir)
  steps = [line["step"] for line in lines]
  assert steps == sorted(set(steps))
  assert steps[-1] == step
  assert lines == metrics_of(reference)
