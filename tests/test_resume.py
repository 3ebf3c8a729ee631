"""Killed with SIGKILL and started again by the same command, a run ends in the same bits."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxt2i.checkpoints import read_arrays
from jaxt2i.errors import UserError
from jaxt2i.stored import complete_steps
from tests.faults import KEYS, assert_same_run
from tests.runs import metrics_of, train

LOOP = {
  "loop.num_steps": 40,
  "loop.log_every": 1,
  "loop.eval_every": 20,
  "loop.checkpoint_every": 5,
}


def start(repository: Path, workdir: Path, name: str, changes: dict) -> subprocess.Popen:
  """Starts `python -m jaxt2i.main` as a user would."""
  command = [sys.executable, "-m", "jaxt2i.main", f"--config=configs/{name.replace(':', '.py:')}"]
  command += [f"--workdir={workdir}"]
  command += [f"--config.{path}={value}" for path, value in changes.items()]
  return subprocess.Popen(command, cwd=repository, stderr=subprocess.PIPE, text=True)


def is_under_way(workdir: Path) -> bool:
  """Whether a checkpoint is complete and steps after it are logged: they will be lost."""
  try:
    lines = (workdir / "metrics.jsonl").read_bytes().count(b"\n")
  except OSError:
    return False
  saved = complete_steps(workdir / "checkpoints")  # arrays may be removed while they are read
  return bool(saved) and lines > saved[0] + 1


def kill_on_the_way(process: subprocess.Popen, workdir: Path) -> None:
  """Kills a run at some step between two checkpoints."""
  deadline = time.monotonic() + 240
  while not is_under_way(workdir):
    assert process.poll() is None, process.communicate()[1]
    assert time.monotonic() < deadline, "no checkpoint was saved"
    time.sleep(0.01)
  os.kill(process.pid, signal.SIGKILL)
  process.communicate()
  assert process.returncode == -signal.SIGKILL, "it finished first: make the run longer"


def test_tokenizer_resumes_bit_for_bit(tmp_path, repository):
  # EMA quantizer: the codebook, its counts and the revival of dead codes have to come back too.
  name, changes = "vqvae:ema,shapes,tiny", LOOP
  reference = train(tmp_path / "whole", name, **changes)
  workdir = tmp_path / "killed"
  kill_on_the_way(start(repository, workdir, name, changes), workdir)
  assert (workdir / "lock").exists()  # of a dead process
  saved, _ = read_arrays(workdir, ("step",))
  assert saved < LOOP["loop.num_steps"]
  again = start(repository, workdir, name, changes)
  _, log = again.communicate(timeout=240)
  assert again.returncode == 0, log
  assert f"going on from step {saved} of" in log
  assert_same_run(workdir, reference)
  _, arrays = read_arrays(workdir, ("collections",))
  assert set(arrays["collections"]["codebook"]["quantizer"]) == {"codes", "count", "total"}


def test_prior_resumes_bit_for_bit(tmp_path, repository, tokenizer_run):
  # Dropout, dropped captions and captions drawn at random continue as if nothing had happened.
  name = "prior:shapes,tiny"
  changes = {"tokenizer": str(tokenizer_run), "model.dropout": 0.1, **LOOP}
  reference = train(tmp_path / "whole", name, **changes)
  workdir = tmp_path / "killed"
  kill_on_the_way(start(repository, workdir, name, changes), workdir)
  train(workdir, name, **changes)
  assert_same_run(workdir, reference)
  written = [sorted((run / "samples").iterdir()) for run in (workdir, reference)]
  assert [path.name for path in written[0]] == ["0000020.png", "0000040.png"]
  assert [path.read_bytes() for path in written[0]] == [path.read_bytes() for path in written[1]]


def test_a_finished_run_stays_as_it_is(tokenizer_run):
  def state() -> tuple:
    return metrics_of(tokenizer_run), read_arrays(tokenizer_run, KEYS)

  lines, (step, arrays) = state()
  train(tokenizer_run, "vqvae:ema,shapes,tiny")
  again, (step_again, arrays_again) = state()
  assert (again, step_again) == (lines, step)
  jax.tree.map(np.testing.assert_array_equal, arrays_again, arrays)


def test_another_config_is_refused_and_named(tokenizer_run):
  with pytest.raises(UserError) as error:
    train(tokenizer_run, "vqvae:ema,shapes,tiny", **{"optimizer.b2": 0.5})
  message = str(error.value)
  assert "config.optimizer.b2 = 0.99, this one has 0.5" in message
  assert "choose another --workdir" in message
  assert "\n" not in message
