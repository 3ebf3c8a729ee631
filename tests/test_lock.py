"""The lock on a workdir, with real processes that are really killed."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from jaxt2i.checkpoints import Checkpoints
from jaxt2i.errors import UserError
from tests.states import assert_one_line

HOLDER = """
import sys, time
from pathlib import Path
from jaxt2i.lock import WorkdirLock
WorkdirLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
time.sleep(60)
"""


def hold_in_another_process(workdir: Path) -> subprocess.Popen:
  root = Path(__file__).parents[1]
  process = subprocess.Popen(
    [sys.executable, "-c", HOLDER, str(workdir)],
    cwd=root,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  return process


def test_the_second_of_two_processes_is_refused_until_the_first_is_killed(tmp_path):
  with hold_in_another_process(tmp_path) as process:
    try:
      assert process.stdout.readline() == "held\n"
      with pytest.raises(UserError) as error:
        Checkpoints(tmp_path, keep=1)
      assert_one_line(error, str(tmp_path), f"process {process.pid}", socket.gethostname())
    finally:
      process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # Dead, though not yet reaped.
    with Checkpoints(tmp_path, keep=1):
      assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
  assert not (tmp_path / "lock").exists()


def test_of_several_processes_exactly_one_takes_over_a_stale_lock(tmp_path):
  with hold_in_another_process(tmp_path) as process:
    assert process.stdout.readline() == "held\n"
    process.kill()
  racers = [hold_in_another_process(tmp_path) for _ in range(5)]
  winners = 0
  try:
    # Losers exit with an error; the winner sleeps, so its line arrives.
    lines = [racer.stdout.readline() for racer in racers]
    winners = lines.count("held\n")
    owner = json.loads((tmp_path / "lock").read_text())["pid"]
    assert [r.pid for r, line in zip(racers, lines, strict=True) if line] == [owner]
  finally:
    for racer in racers:
      racer.kill()
      racer.communicate()
  assert winners == 1


def test_the_same_process_is_refused_too_and_closing_frees_the_workdir(tmp_path):
  with Checkpoints(tmp_path, keep=1), pytest.raises(UserError, match=f"process {os.getpid()}"):
    Checkpoints(tmp_path, keep=1)
  assert not (tmp_path / "lock").exists()
  Checkpoints(tmp_path, keep=1).close()


@pytest.mark.parametrize(
  "stale",
  ["", '{"host": "a", "pi', "[]", '{"host": "a", "pid": -1}', {"started": "1"}],
  ids=["empty", "torn", "other JSON", "bad pid", "pid reused"],
)
def test_a_stale_lock_is_taken_over(tmp_path, stale):
  if isinstance(stale, dict):
    stale = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), **stale})
  (tmp_path / "lock").write_text(stale)
  with Checkpoints(tmp_path, keep=1):
    assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_a_lock_of_another_host_is_respected_and_says_how_to_free_it(tmp_path):
  content = json.dumps({"host": "elsewhere", "pid": 1, "started": "1"})
  (tmp_path / "lock").write_text(content)
  with pytest.raises(UserError) as error:
    Checkpoints(tmp_path, keep=1)
  assert_one_line(error, "elsewhere", f"delete {tmp_path / 'lock'}")
  assert (tmp_path / "lock").read_text() == content
