"""What the benchmark of starting and saving makes of the processes that it watches."""

import os
import sys

import pytest

from benchmarks.resume import BLOCKED, Start, goodput, watch
from jaxt2i.errors import UserError

SAYS = """
import sys, time
for line in sys.argv[1:]:
  if line == "wait":
    time.sleep(0.5)
  elif not line.isdigit():
    print(line, file=sys.stderr, flush=True)
sys.exit(int(line) if line.isdigit() else 0)
"""
TRAINING = ("wait", "compiling the training step …", "wait", "compiled in 1 s", f"{BLOCKED}0.25")


def watched(*lines: str, kill_after: float | None = None) -> Start:
  return watch([sys.executable, "-c", SAYS, *lines], os.environ, kill_after=kill_after)


def test_a_start_is_timed_by_what_it_says():
  start = watched(*TRAINING, f"{BLOCKED}0.5", "wait", "done: runs/x", "wait")
  assert 0.5 <= start.compiling <= start.stepping - 0.5
  assert start.stepping <= start.done - 0.5
  assert start.done <= start.wall - 0.5
  assert start.saves == (0.25, 0.5)
  assert not start.killed


def test_a_start_is_killed():
  start = watched(*TRAINING, *["wait"] * 100, "done: runs/x", kill_after=3)
  assert start.killed
  assert 3 <= start.wall < 30
  assert start.saves == (0.25,)
  assert start.done == float("inf")


@pytest.mark.parametrize("kill_after", [None, 60.0])
def test_a_start_that_fails_is_named(kill_after):
  with pytest.raises(UserError, match="exit code 1: jaxt2i: error: no room"):
    watched("jaxt2i: error: no room", "1", kill_after=kill_after)


def test_goodput_is_the_share_of_steps():
  whole = Start(2.0, 5.0, 105.0, 110.0, (1.0, 1.0), False)
  assert goodput(whole, [whole]) == pytest.approx(98 / 110)
  assert goodput(whole, [whole, whole]) == pytest.approx(98 / 220)
