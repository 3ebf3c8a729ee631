"""Measuring, with programs that need neither framework."""

import time
from functools import partial

import pytest

from benchmarks import run
from benchmarks.timing import Case, Comparison, Prepared, Series, compare
from jaxt2i.errors import UserError


def _sleeper(seconds: float, num_parameters: int = 7) -> Prepared:
  return Prepared(partial(time.sleep, seconds), num_parameters)


def _broken() -> Prepared:
  raise ValueError("no such network")


def test_a_comparison_has_a_median_a_round_and_memory():
  case = Case("naps", partial(_sleeper, 0.0), partial(_sleeper, 0.02), steps=3)
  result = compare(case, rounds=2)
  assert len(result.ours.rounds) == len(result.peer.rounds) == 2
  assert min(result.peer.rounds) >= 0.02
  assert min(result.ours.peak_bytes, result.peer.peak_bytes) > 2**20


def _filler(megabytes: int) -> Prepared:
  return Prepared(lambda: bytearray(b"x" * (megabytes * 2**20)), 7)


def test_memory_of_a_step_is_what_it_takes_and_gives_back():
  # `b"x" * n` and its copy: twice as much.
  case = Case("fill", partial(_filler, 40), partial(_filler, 10), steps=1)
  result = compare(case, rounds=1)
  assert 75 < result.ours.step_bytes / 2**20 < 95
  assert 15 < result.peer.step_bytes / 2**20 < 30


def test_ratio_is_our_time_over_theirs():
  result = Comparison("x", Series((1.0, 2.0, 9.0), 0, 0), Series((4.0, 4.0, 3.0), 0, 0))
  assert result.ratio == 0.5
  assert result.ratio_range == (0.25, 3.0)


def test_networks_of_different_sizes_are_refused():
  case = Case("naps", partial(_sleeper, 0.0, 7), partial(_sleeper, 0.0, 8), steps=1)
  with pytest.raises(UserError, match="7 and 8 parameters"):
    compare(case, rounds=1)


def test_a_program_that_fails_is_named(capfd: pytest.CaptureFixture[str]):
  with pytest.raises(UserError, match="naps failed"):
    compare(Case("naps", partial(_sleeper, 0.0), _broken, steps=1), rounds=1)
  assert "no such network" in capfd.readouterr().err


def test_an_unknown_name_is_a_usage_error(capsys: pytest.CaptureFixture[str]):
  with pytest.raises(SystemExit) as exit_info:
    run.main(["tokenizer_cnv"])
  assert exit_info.value.code == 2
  assert "'tokenizer_cnv' is not a benchmark" in capsys.readouterr().err
