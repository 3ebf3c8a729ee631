"""Worker processes that make the batches of `stream.train_stream`, by grain's `mp_prefetch`."""

import contextlib
import multiprocessing
import os
import pickle
import queue
import re
import signal
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import grain
import numpy as np
from absl import flags

from jaxt2i.errors import UserError

Batch = dict[str, np.ndarray]

# Seconds without a batch after which workers count as hung. Grain notices one that has died, but
# waits for ever for one that stands still. A start imports the package, maybe from a slow disk.
_PATIENCE = 40
_PATIENCE_AT_START = 300
_PATIENCE_AT_END = 10  # for the clearing away of what was killed


class _Steps:
  """The batches from one step on: what workers share among them."""

  def __init__(self, batches: Any, start_step: int):
    self._batches, self._start_step = batches, start_step

  def __len__(self) -> int:
    return len(self._batches) - self._start_step

  def __getitem__(self, index: int) -> Batch:
    try:
      return self._batches[self._start_step + index]
    except (Exception, SystemExit) as error:
      # An error that cannot travel would never arrive, and the wait for it never end.
      raise _portable(error) from None


def _portable(error: BaseException) -> Exception:
  """The error, or one that tells of it if pickle cannot carry it to another process."""
  try:
    if isinstance(error, Exception) and pickle.loads(pickle.dumps(error)) is not None:
      return error
  except Exception:
    pass
  return RuntimeError(f"{type(error).__name__}: {error}")


class Workers(Iterator[Batch]):
  """Batches in order, for ever, from processes that start when the first is asked for.

  Raises:
    UserError: from `next`, if a worker died, or hangs.
  """

  def __init__(self, batches: Any, start_step: int, num_workers: int):
    """Args: batch by its number, picklable; number of the first; how many processes."""
    # grain asks absl for a flag of its own, which fails where no command line has been parsed.
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()
    # No threads besides: what a worker has ready is limited to a batch or two.
    reading = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    dataset = (
      grain.MapDataset.source(_Steps(batches, start_step))
      .to_iter_dataset(reading)
      .mp_prefetch(
        grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=1),
        worker_init_fn=_start_worker,
      )
    )
    self._num_workers = num_workers
    self._given = 0  # batches
    self._others: set[Any] = set()  # child processes that are not these workers
    self._held = [iter(dataset)]
    # As a finalizer it also runs before the interpreter ends, while grain can still clean up.
    self.close = weakref.finalize(self, _close, self._held)

  def __next__(self) -> Batch:
    if not self._held:
      raise StopIteration
    try:
      batch = self._wait()
    except _HungError as error:
      self._kill()
      raise UserError(_diagnosis(error.seconds, self._num_workers)) from None
    except BaseException as error:
      self.close()
      if died := re.search(r"Worker process was terminated .* exit code (-?\d+)", str(error)):
        raise UserError(_obituary(int(died[1]), self._num_workers)) from error
      raise
    self._given += 1
    # Workers send shared memory: a copy gives it back at once, whoever keeps the batch.
    return {name: np.array(value) for name, value in batch.items()}

  def _wait(self) -> Batch:
    """What grain gives next, in its shared memory."""
    if not self._given:
      self._others = set(multiprocessing.active_children())
    patience = _PATIENCE if self._given >= self._num_workers else _PATIENCE_AT_START
    answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
    threading.Thread(target=_ask, args=(self._held[0], answers), daemon=True).start()
    # Seconds that were waited for, not a time of day: a run that was stopped for a while (Ctrl-Z)
    # and is continued has not waited.
    for _ in range(patience):
      with contextlib.suppress(queue.Empty):
        batch, error = answers.get(timeout=1)
        if error is not None:
          raise error
        return batch
    raise _HungError(patience)

  def _kill(self) -> None:
    """Ends workers that don't answer, and gives back what they held as far as that is possible."""
    for process in set(multiprocessing.active_children()) - self._others:
      process.kill()
    # Where a worker stopped in the middle of a message, grain waits for the rest of it for ever.
    closing = threading.Thread(target=self.close, daemon=True)
    closing.start()
    closing.join(_PATIENCE_AT_END)


class _HungError(Exception):
  """No batch came for so many `seconds`."""

  def __init__(self, seconds: int):
    super().__init__(seconds)
    self.seconds = seconds


def _ask(batches: Iterator[Batch], answers: "queue.SimpleQueue[Any]") -> None:
  """Runs in a thread of its own: grain's wait has no limit."""
  try:
    answers.put((next(batches), None))
  except BaseException as error:
    answers.put((None, error))


def _close(held: list[Any]) -> None:
  if held:
    held.pop().close()


def _start_worker(index: int, count: int) -> None:
  # Ctrl-C, and SIGTERM of some schedulers, reach the whole group: the main process alone answers,
  # and ends its workers.
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
  threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
  """Ends a worker whose main process was killed and could not do so itself."""
  parent = multiprocessing.parent_process()
  if parent is not None:
    parent.join()
    os._exit(1)


def _obituary(exit_code: int, num_workers: int) -> str:
  reasons = {
    -signal.SIGKILL: "killed, as a system does that runs out of memory",
    -signal.SIGBUS: "out of shared memory: give a container more of it (--shm-size)",
  }
  reason = f": {reasons[exit_code]}" if exit_code in reasons else ""
  return (
    f"1 of {num_workers} data workers died (exit code {exit_code}{reason}); it may have said why "
    "above; fewer of them need less memory, and with config.num_workers=0 there are none"
  )


def _diagnosis(seconds: int, num_workers: int) -> str:
  return (
    f"{num_workers} data workers gave no batch for {seconds} s, expected one in far less: one of "
    "them hangs, as on a disk that does not answer; look at the disk of the data, or take "
    "config.num_workers=0, and start again: the run goes on from its last checkpoint"
  )
