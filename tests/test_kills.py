"""Killed with SIGKILL at twenty random moments in turn, a run ends in the same bits."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jaxt2i.best import FOLDER
from tests.faults import arguments, assert_same_run, assert_same_state, digests, start
from tests.runs import metrics_of

KILLS = 20
LOOP = {
  "loop.num_steps": 1000,
  "loop.log_every": 1,
  "loop.eval_every": 40,
  "loop.checkpoint_every": 10,
}

pytestmark = pytest.mark.slow


def num_lines(workdir: Path) -> int:
  try:
    return (workdir / "metrics.jsonl").read_bytes().count(b"\n")
  except OSError:
    return 0


def is_being_saved(folder: Path) -> bool:
  """Whether a step's folder has a temporary name still, or has no manifest yet."""
  steps = list((folder / "checkpoints").glob("[0-9]*"))
  return any(not (path / "manifest.sha256").exists() for path in steps)


def wait_for(event: Callable[[], bool], process: subprocess.Popen) -> None:
  deadline = time.monotonic() + 240
  while not event():
    assert process.poll() is None, process.communicate()[1]
    assert time.monotonic() < deadline
    time.sleep(0.001)


def kill(process: subprocess.Popen) -> None:
  os.kill(process.pid, signal.SIGKILL)
  process.communicate()
  assert process.returncode == -signal.SIGKILL, "it ended first"


def kill_on_the_way(workdir: Path, last: int, start_again: Callable[[int], Any]) -> None:
  """In steps and evaluations, in the middle of saves, and while it starts.

  Args:
    workdir: of the run.
    last: the step at which it would end.
    start_again: starts the command, with that many workers.
  """
  rng = random.Random(0)
  moments = sorted(rng.sample(range(20, last - 40), KILLS - 4))
  in_saves = 0
  for i, step in enumerate(moments):
    process = start_again(i % 3)
    wait_for(lambda step=step: num_lines(workdir) >= step, process)
    if i % 2:
      wait_for(lambda: is_being_saved(workdir), process)
    else:
      time.sleep(rng.uniform(0, 0.2))
    kill(process)
    in_saves += is_being_saved(workdir)
    if i % 4 == 0:
      process = start_again(0)
      time.sleep(rng.uniform(1, 8))
      kill(process)
  assert in_saves > 3


def check(repository: Path, folder: Path, name: str, changes: dict[str, Any]) -> tuple[Path, Path]:
  """Kills one run and leaves another in peace; returns both, the same in state and log."""

  def start_again(num_workers: int, workdir: Path = folder / "killed") -> Any:
    chosen = arguments(workdir, name, **LOOP, **changes, num_workers=num_workers)
    return start(repository, *chosen)

  whole, killed = folder / "whole", folder / "killed"
  for workdir in (whole, killed):
    if workdir == killed:
      kill_on_the_way(killed, metrics_of(whole)[-1]["step"], start_again)
    process = start_again(0, workdir)
    _, log = process.communicate(timeout=600)
    assert process.returncode == 0, log
  assert_same_run(killed, whole)
  return killed, whole


def test_a_tokenizer_with_moving_averages(tmp_path, repository):
  check(repository, tmp_path, "vqvae:ema,shapes,tiny", {})


def test_a_prior_with_dropout_that_stops_early_and_keeps_its_best(
  tmp_path, repository, tokenizer_run
):
  watched = {"loop.watch": "val/nll", "loop.patience": 3}
  changes = {"tokenizer": str(tokenizer_run), "model.dropout": 0.1, **watched}
  killed, whole = check(repository, tmp_path, "prior:shapes,tiny", changes)
  assert metrics_of(whole)[-1]["step"] < LOOP["loop.num_steps"]
  assert_same_state(killed / FOLDER, whole / FOLDER)
  assert digests(killed / "samples") == digests(whole / "samples")
