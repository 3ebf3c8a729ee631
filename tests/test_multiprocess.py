"""Two processes that are one run: they learn what one learns, stop together, and go on exactly."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxt2i.errors import UsageError
from jaxt2i.multiprocess import start
from jaxt2i.stored import complete_steps
from tests.faults import assert_same_run, assert_same_state, digests
from tests.runs import metrics_of

TOKENIZER = "vqvae.py:ema,shapes,tiny"
LOOP = {"num_steps": 30, "log_every": 5, "eval_every": 10, "checkpoint_every": 10}


def processes(
  repository: Path, workdir: Path, count: int = 2, name: str = TOKENIZER, *options: str
) -> list[subprocess.Popen]:
  """Starts a run in so many processes of one device each; one has two devices."""
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    port = probe.getsockname()[1]
  command = [sys.executable, "-m", "jaxt2i.main", f"--config=configs/{name}"]
  command += [f"--workdir={workdir}"]
  command += [f"--config.loop.{name}={value}" for name, value in LOOP.items()] + [*options]
  each = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={2 // count}"}
  if count > 1:
    command.append("--distributed")
    each |= {"JAX_COORDINATOR_ADDRESS": f"localhost:{port}", "JAX_NUM_PROCESSES": str(count)}
  started = []
  for number in range(count):
    environment = each | {"JAX_PROCESS_ID": str(number)}
    started.append(
      subprocess.Popen(command, cwd=repository, env=environment, stderr=subprocess.PIPE, text=True)
    )
  return started


def ended(started: list[subprocess.Popen], timeout: float = 200) -> tuple[list[int], list[str]]:
  """Exit codes and what was said."""
  logs = [process.communicate(timeout=timeout)[1] for process in started]
  return [process.returncode for process in started], logs


def wait_until_saved(workdir: Path, started: list[subprocess.Popen], times: int = 1) -> None:
  deadline = time.monotonic() + 200
  while len(complete_steps(workdir / "checkpoints")) < times:
    assert all(process.poll() is None for process in started), ended(started)
    assert time.monotonic() < deadline
    time.sleep(0.01)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
  """The run of two processes that nobody disturbed, started by `jaxt2i launch`."""
  workdir = tmp_path_factory.mktemp("two") / "run"
  command = [sys.executable, "-m", "jaxt2i.cli", "launch", "--target=local_processes"]
  command += [f"--config=configs/{TOKENIZER}", f"--workdir={workdir}"]
  command += [f"--config.loop.{name}={value}" for name, value in LOOP.items()]
  each = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
  where = Path(__file__).parents[1]
  subprocess.run(command, cwd=where, env=each, check=True, timeout=300)
  return workdir


def test_two_processes_learn_what_one_learns(whole, tmp_path, repository):
  codes, logs = ended(processes(repository, tmp_path / "run", count=1))
  assert codes == [0], logs
  for one, two in zip(metrics_of(tmp_path / "run"), metrics_of(whole), strict=True):
    assert one.keys() == two.keys()
    assert one["step"] == two["step"]
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-4)
    assert one["dead_codes"] == two["dead_codes"]


def test_asked_to_stop_one_stops_both_and_they_go_on_exactly(tmp_path, repository, tokenizer_run):
  # A prior with dropout, of which the best state is kept.
  options = ["--config.loop.watch=val/nll", "--config.loop.patience=9"]
  options += ["--config.model.dropout=0.1", f"--config.tokenizer={tokenizer_run}"]
  # JAX's engine needs a second or two to agree on a step at which both stop.
  options += ["--config.loop.num_steps=300", "--config.loop.log_every=25"]
  options += ["--config.loop.eval_every=100", "--config.loop.checkpoint_every=50"]
  begin = lambda workdir: processes(repository, workdir, 2, "prior.py:shapes,tiny", *options)
  workdir, whole = tmp_path / "run", tmp_path / "whole"
  codes, logs = ended(begin(whole))
  assert codes == [0, 0], logs
  started = begin(workdir)
  wait_until_saved(workdir, started)
  started[1].send_signal(signal.SIGTERM)
  codes, logs = ended(started)
  assert codes == [3, 3], logs
  assert all("is saved; the same command goes on" in log for log in logs)
  codes, logs = ended(begin(workdir))
  assert codes == [0, 0], logs
  assert_same_run(workdir, whole)
  assert_same_state(workdir / "best", whole / "best")
  assert digests(workdir / "samples") == digests(whole / "samples")


def test_one_is_killed_the_other_says_so_and_both_go_on_exactly(whole, tmp_path, repository):
  workdir = tmp_path / "run"
  started = processes(repository, workdir)
  wait_until_saved(workdir, started, times=2)
  started[1].kill()
  codes, logs = ended(started, timeout=60)
  assert codes[1] == -signal.SIGKILL
  assert codes[0] not in (0, 3), logs[0]
  assert "another process of this run is gone" in logs[0].splitlines()[-1]
  newest, before = complete_steps(workdir / "checkpoints")
  parts = (workdir / "checkpoints" / str(newest)).rglob("d/*")
  max(parts, key=lambda path: path.stat().st_size).unlink()
  codes, logs = ended(processes(repository, workdir))
  assert codes == [0, 0], logs
  assert all(f"going on from step {before} of" in log for log in logs), logs
  assert (workdir / "checkpoints" / f"damaged-{newest}").is_dir()
  assert_same_run(workdir, whole)


@pytest.mark.parametrize(
  ("variables", "words"),
  [
    ({"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES is 'two': must be a number"),
    ({"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"}, "set JAX_COORDINATOR_ADDRESS=host:port"),
  ],
)
def test_processes_that_cannot_be_found_are_named(monkeypatch, variables, words):
  for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
    monkeypatch.delenv(name, raising=False)
  for name, value in variables.items():
    monkeypatch.setenv(name, value)
  with pytest.raises(UsageError, match=words):
    start()
