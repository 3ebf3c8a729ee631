"""`python -m benchmarks.resume`: what starting, saving and being killed cost a training.

Trains the quick start's tokenizer, each start in a process of its own: once in peace, and once
killed with SIGKILL every two minutes and started again until it ends.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import jax

from benchmarks.run import TUNABLES
from benchmarks.tables import head, machine, row
from jaxt2i.checkpoints import read_arrays
from jaxt2i.errors import UserError

CONFIG = "vqvae.py:ema,openmoji"
LOG_EVERY = 20  # steps, of that config
KEYS = ("step", "params", "ema_params", "collections", "opt_state")
PAIRS = 5  # of first and second starts
BLOCKED = "seconds in a save: "
# The training command, which tells how long each save held up the loop.
PROGRAM = f"""
import sys, time
from jaxt2i import main
from jaxt2i.checkpoints import Checkpoints

save = Checkpoints.save

def timed(self, *args):
  start = time.perf_counter()
  save(self, *args)
  print({BLOCKED!r} + str(time.perf_counter() - start), file=sys.stderr)

Checkpoints.save = timed
sys.exit(main.main(sys.argv))
"""


@dataclass(frozen=True)
class Start:
  """What one process took, in seconds since it was launched.

  Attributes:
    compiling: until the step was to be compiled; infinite if it never came to that.
    stepping: until the first step was done; likewise.
    done: until the last save was whole; likewise.
    wall: until it was gone.
    saves: how long each held up the loop.
    killed: whether it was.
  """

  compiling: float
  stepping: float
  done: float
  wall: float
  saves: tuple[float, ...]
  killed: bool


def watch(command: Sequence[str], environ: Mapping[str, str], *, kill_after: float | None) -> Start:
  """Runs a training to its end, or kills it after so many seconds; UserError if it fails."""
  marks = dict.fromkeys(("compiling the training step", "compiled in", "done: "), float("inf"))
  saves, line = [], ""
  launched = time.monotonic()
  with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
    assert process.stderr is not None
    timer = threading.Timer(kill_after or 0, process.kill)
    if kill_after is not None:
      timer.start()
    for line in process.stderr:
      for mark in marks:
        if line.startswith(mark):
          marks[mark] = time.monotonic() - launched
      if line.startswith(BLOCKED):
        saves.append(float(line.removeprefix(BLOCKED)))
    code = process.wait()
    timer.cancel()
  killed = code < 0 and kill_after is not None
  if code and not killed:
    raise UserError(f"the training ended with exit code {code}: {line.strip()}")
  return Start(*marks.values(), time.monotonic() - launched, tuple(saves), killed)


class Runs:
  """Starts of the config in a folder, with a compilation cache of their own."""

  def __init__(self, folder: Path):
    self._folder = folder

  def start(
    self,
    name: str,
    *,
    steps: int,
    save_every: int,
    cache: str = "xla",
    kill_after: float | None = None,
  ) -> Start:
    """Starts the workdir `name`, or starts it again."""
    command = [sys.executable, "-c", PROGRAM, f"--config=configs/{CONFIG}"]
    command += [f"--workdir={self._folder / name}", f"--config.loop.num_steps={steps}"]
    command += [f"--config.loop.checkpoint_every={save_every}"]
    command += [f"--config.loop.eval_every={max(LOG_EVERY, steps // 4)}"]  # as the quick start
    folder = str(self._folder / cache)
    environ = {"GLIBC_TUNABLES": TUNABLES, **os.environ, "JAX_COMPILATION_CACHE_DIR": folder}
    return watch(command, environ, kill_after=kill_after)

  def same(self, name: str, other: str) -> bool:
    """Whether two runs ended in the same bits, and have the same log."""
    (a, b) = (self._folder / name, self._folder / other)
    logs = [(run / "metrics.jsonl").read_bytes() for run in (a, b)]
    (step, first), (other_step, second) = read_arrays(a, KEYS), read_arrays(b, KEYS)
    equal = lambda x, y: x.dtype == y.dtype and x.tobytes() == y.tobytes()
    states = jax.tree.all(jax.tree.map(equal, first, second))
    return logs[0] == logs[1] and step == other_step and states


def goodput(whole: Start, starts: Sequence[Start]) -> float:
  """Share of the starts' time that steps and evaluations of the whole run need, from 0 to 1."""
  useful = whole.done - whole.stepping - sum(whole.saves)
  return useful / sum(start.wall for start in starts)


def _pair(runs: Runs, number: int) -> tuple[float, float]:
  """Seconds from launch to first step with nothing compiled before, and of the same again."""
  options = {"steps": LOG_EVERY, "save_every": LOG_EVERY, "cache": f"pair{number}"}
  first, again = (runs.start(f"{name}{number}", **options) for name in ("first", "again"))
  return first.stepping, again.stepping


def measure(
  runs: Runs, minutes: float, kill_every: float, save_every: float
) -> list[Sequence[str]]:
  """Starts a few times and trains for so many minutes twice; the table's cells.

  Args:
    runs: where.
    minutes: length of the run.
    kill_every: seconds from launch to kill.
    save_every: seconds from save to save in the run that is killed.
  """
  runs.start("data", steps=LOG_EVERY, save_every=LOG_EVERY, cache="other")  # prepares it
  pairs = [_pair(runs, number) for number in range(PAIRS)]
  pace = runs.start("pace", steps=20 * LOG_EVERY, save_every=20 * LOG_EVERY)
  step = (pace.done - pace.stepping) / (20 * LOG_EVERY)
  every = lambda seconds: max(1, round(seconds / step / LOG_EVERY)) * LOG_EVERY
  steps = every(60 * minutes)
  whole = runs.start("whole", steps=steps, save_every=every(60))
  starts: list[Start] = []
  while not starts or starts[-1].killed:
    options = {"steps": steps, "save_every": every(save_every)}
    starts.append(runs.start("killed", **options, kill_after=kill_every))
    if not starts[-1].saves:
      raise UserError(f"killed after {kill_every:g} s, before it saved anything: kill later.")
  again = [start.compiling for start in starts[1:]]
  compiled = [start.stepping - start.compiling for start in starts[1:]]
  blocked = sum(whole.saves) / (whole.done - whole.stepping)
  return [
    ("launch to first step, nothing compiled before", f"{median(p[0] for p in pairs):.1f} s", ""),
    ("the same again, compiled before", f"{median(p[1] for p in pairs):.1f} s", ""),
    (f"… their ratio, median of {PAIRS}", f"{median(p[1] / p[0] for p in pairs):.2f}", "≤ 0.5"),
    ("saving once a minute holds up", f"{blocked:.2%}", "< 2 %"),
    ("goodput in peace", f"{goodput(whole, [whole]):.1%}", "≥ 97 %"),
    (f"goodput with {len(starts) - 1} kills", f"{goodput(whole, starts):.1%}", "≥ 90 %"),
    ("launch to compiling, after a kill", f"{median(again):.1f} s", "≤ 10 s"),
    ("compiling and the first step, after a kill", f"{median(compiled):.1f} s", ""),
    ("same bits as in peace", "yes" if runs.same("killed", "whole") else "NO", "yes"),
  ]


def main(argv: Sequence[str]) -> int:
  """Prints the table; returns the exit code."""
  parser = argparse.ArgumentParser(prog="python -m benchmarks.resume", description=__doc__)
  parser.add_argument("--minutes", type=float, default=10, help="of training (default: 10)")
  parser.add_argument("--kill_every", type=float, default=120, help="seconds (default: 120)")
  parser.add_argument("--save_every", type=float, default=5, help="seconds (default: 5)")
  arguments = parser.parse_args(argv)
  folder = Path(tempfile.mkdtemp(prefix="jaxt2i-benchmark-"))
  try:
    cells = measure(Runs(folder), arguments.minutes, arguments.kill_every, arguments.save_every)
  except UserError as error:
    print(f"benchmarks: error: {error}", file=sys.stderr)
    return error.exit_code
  finally:
    shutil.rmtree(folder)
  print(machine("jax", "orbax-checkpoint") + "\n\n" + head(("", "measured", "wanted")))
  print("\n".join(row(line) for line in cells))
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
