"""Asked to stop, a run saves where it is, exits with code 3, and goes on to the same last bit."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from jaxt2i.best import FOLDER
from jaxt2i.stopping import EvaluationStoppedError, Stop, StoppedError
from jaxt2i.stored import complete_steps, read_under_way
from tests.faults import assert_same_run, assert_same_state, digests
from tests.runs import PRIOR, train
from tests.test_resume import LOOP, start

TOKENIZER = "vqvae:ema,shapes,tiny"
WINDOWS = {**LOOP, "loop.log_every": 10, "loop.checkpoint_every": 20}  # a stop falls within


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
  """The run that nobody stopped."""
  return train(tmp_path_factory.mktemp("whole") / "run", TOKENIZER, **WINDOWS)


def wait_for(text: str, process: subprocess.Popen) -> None:
  for line in process.stderr:
    if text in line:
      return
  pytest.fail(f"ended without {text!r}")


def stop(process: subprocess.Popen, number: int) -> str:
  """Sends the signal; the rest of what the process says."""
  process.send_signal(number)
  begin = time.monotonic()
  log = process.communicate(timeout=120)[1]
  assert process.returncode == 3, log
  assert time.monotonic() - begin < 10
  return log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_within_a_window_is_saved_and_leaves_no_trace(tmp_path, repository, whole, number):
  workdir, steps = tmp_path / "run", []
  for _ in range(3):
    process = start(repository, workdir, TOKENIZER, WINDOWS)
    wait_for("compiled in", process)
    log = stop(process, number)
    name = signal.Signals(number).name
    steps += map(int, re.findall(rf"stopped by {name}, step (\d+) is saved; the same command", log))
  assert steps == sorted(set(steps))
  assert len(steps) == 3
  assert not (workdir / "lock").exists()
  again = start(repository, workdir, TOKENIZER, WINDOWS)
  assert f"going on from step {steps[-1]} of" in again.communicate(timeout=240)[1]
  assert again.returncode == 0
  assert_same_run(workdir, whole)


def test_a_stop_in_an_evaluation_leaves_it_to_the_next_start(tmp_path, repository, tokenizer_run):
  every = {"loop.num_steps": 12, "loop.log_every": 4, "loop.checkpoint_every": 4}
  watched = {"loop.eval_every": 1, "loop.watch": "val/nll", "loop.patience": 12}
  changes = {**every, **watched, "tokenizer": str(tokenizer_run)}
  whole = train(tmp_path / "whole", PRIOR, **changes)
  workdir = tmp_path / "run"
  process = start(repository, workdir, PRIOR, changes)
  wait_for("compiled in", process)  # the first step is done, and is evaluated
  stop(process, signal.SIGTERM)
  assert complete_steps(workdir / "checkpoints") == [1]
  assert read_under_way(workdir / "checkpoints" / "1")["is_due"]
  train(workdir, PRIOR, **changes)
  assert_same_run(workdir, whole)
  assert_same_state(workdir / FOLDER, whole / FOLDER)
  assert digests(workdir / "samples") == digests(whole / "samples")


def test_a_stop_before_the_first_step_has_nothing_to_save(tmp_path, repository):
  process = start(repository, tmp_path / "run", TOKENIZER, LOOP)
  wait_for("compiling the training step", process)
  assert "stopped by SIGTERM, nothing was to be saved" in stop(process, signal.SIGTERM)


def test_a_second_interrupt_does_not_wait(monkeypatch):
  codes = []
  monkeypatch.setattr(os, "_exit", codes.append)
  with Stop() as stop:
    stop.in_steps()
    for _ in range(2):
      os.kill(os.getpid(), signal.SIGINT)
    for _ in range(100):
      if codes:
        break
      time.sleep(0.05)
    assert stop.asked(1)
  assert codes == [130]


def ask(number: int) -> None:
  """Sends this process a signal, and gives its handler time."""
  os.kill(os.getpid(), number)
  time.sleep(10)


def test_an_evaluation_is_interrupted():
  with Stop() as stop:
    stop.in_steps()
    with pytest.raises(EvaluationStoppedError), stop.interruptible():
      ask(signal.SIGTERM)
    with pytest.raises(EvaluationStoppedError), stop.interruptible():
      pytest.fail("began although it is to stop")
    assert stop.asked(1)


def test_before_and_after_the_signals_are_the_callers():
  before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
  with Stop(), pytest.raises(StoppedError, match="nothing was to be saved"):
    ask(signal.SIGTERM)
  assert before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
