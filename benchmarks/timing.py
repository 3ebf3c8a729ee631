"""Alternating measurements of two programs, each in a process of its own.

Both are prepared (imported, compiled, warmed up), then take turns: ours, peer, ours, peer, …, so
that whatever else the machine does meets both. Who waits holds no core and shares no thread pool.
"""

import ctypes
import multiprocessing
import os
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from jaxt2i.errors import UserError

WARM_UP = 3  # steps before the first that counts; the first of all compiles
_PATIENCE = 20  # seconds that a process has to end by itself


@dataclass(frozen=True)
class Prepared:
  """A program ready to be measured."""

  step: Callable[[], object]  # runs one step to its end
  num_parameters: int  # of its network: both must have the same
  flops: float = 0.0  # of a step, where the compiler counts them


@dataclass(frozen=True)
class Case:
  """What is compared.

  Attributes:
    name: what a person asks for.
    ours: prepares jaxt2i; called in a new process, so it must be picklable.
    peer: prepares PyTorch, likewise.
    steps: measured a round.
  """

  name: str
  ours: Callable[[], Prepared]
  peer: Callable[[], Prepared]
  steps: int


@dataclass(frozen=True)
class Series:
  """Measurements of one program."""

  rounds: tuple[float, ...]  # seconds a step: the median of each round
  step_bytes: int  # of memory that a step takes and gives back
  peak_bytes: int  # of resident memory, of the whole process

  @property
  def seconds(self) -> float:
    """Median over rounds."""
    return statistics.median(self.rounds)


@dataclass(frozen=True)
class Comparison:
  """Measurements of a case."""

  name: str
  ours: Series
  peer: Series

  @property
  def ratio(self) -> float:
    """Our time over the peer's, from medians: below 1, we are faster."""
    return self.ours.seconds / self.peer.seconds

  @property
  def ratio_range(self) -> tuple[float, float]:
    """Least and greatest ratio of a round."""
    ratios = [a / b for a, b in zip(self.ours.rounds, self.peer.rounds, strict=True)]
    return min(ratios), max(ratios)


def compare(case: Case, rounds: int) -> Comparison:
  """Measures a case.

  Raises:
    UserError: a program failed, or the two networks are not the same size.
  """
  with _worker(case.ours) as ours, _worker(case.peer) as peer:
    sizes = _receive(ours, case.name), _receive(peer, case.name)
    if sizes[0] != sizes[1]:
      raise UserError(
        f"{case.name} compares networks of {sizes[0]} and {sizes[1]} parameters: they must be the "
        "same; mend benchmarks/torch_*.py."
      )
    medians: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
      for connection, values in zip((ours, peer), medians, strict=True):
        values.append(statistics.median(_ask(connection, case.steps, case.name)))
    memory = [_ask(connection, 0, case.name) for connection in (ours, peer)]
  first, second = (Series(tuple(v), *m) for v, m in zip(medians, memory, strict=True))
  return Comparison(case.name, first, second)


@contextmanager
def _worker(prepare: Callable[[], Prepared]) -> Iterator[Connection]:
  """A process that prepares, then serves the other end of the connection."""
  context = multiprocessing.get_context("spawn")  # a fork would share the parent's thread pools
  connection, its_end = context.Pipe()
  # No daemon, as those may have no processes of their own; it ends when nobody talks to it.
  process = context.Process(target=_serve, args=(prepare, its_end))
  process.start()
  its_end.close()
  try:
    yield connection
  finally:
    connection.close()  # which ends it, and lets it end processes of its own
    process.join(_PATIENCE)
    process.terminate()
    process.join()


def _serve(prepare: Callable[[], Prepared], connection: Connection) -> None:
  """Sends the network's size; for each n received the seconds of n steps, for 0 the memory."""
  try:
    prepared = prepare()
    for _ in range(WARM_UP):
      prepared.step()
    connection.send(prepared.num_parameters)
    while steps := connection.recv():
      connection.send([_seconds(prepared.step) for _ in range(steps)])
    peak = _status("VmHWM")
    connection.send((_step_memory(prepared.step), peak))
  except (EOFError, KeyboardInterrupt):  # nobody waits for the rest
    raise SystemExit(1) from None
  except Exception:
    traceback.print_exc()
    raise SystemExit(1) from None


def _step_memory(step: Callable[[], object]) -> int:
  """Bytes that become resident while a step runs, beyond what it leaves behind (Linux, glibc)."""
  ctypes.CDLL(None).malloc_trim(0)  # what is free already, PyTorch's cache and the compiler's
  at_rest = _status("VmRSS")
  Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
  for _ in range(WARM_UP):
    step()
  return _status("VmHWM") - at_rest


def _status(field: str) -> int:
  """Bytes of a field of /proc/self/status."""
  lines = Path("/proc/self/status").read_text().splitlines()
  return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1]) * 1024


def _seconds(step: Callable[[], object]) -> float:
  start = time.perf_counter()
  step()
  return time.perf_counter() - start


def _ask(connection: Connection, steps: int, name: str) -> Any:
  try:
    connection.send(steps)
  except OSError as error:
    raise UserError(f"{name} failed: see the traceback above.") from error
  return _receive(connection, name)


def _receive(connection: Connection, name: str) -> Any:
  try:
    return connection.recv()
  except (EOFError, OSError) as error:
    raise UserError(f"{name} failed: see the traceback above.") from error


def num_cores() -> int:
  """Cores that this process may use."""
  return len(os.sched_getaffinity(0))
