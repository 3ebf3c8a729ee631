"""Worker processes that make the batches of `stream.train_stream`, by grain's `mp_prefetch`."""

import multiprocessing
import os
import pickle
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
  """Batches in order, for ever, from processes that start when the first is asked for."""

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
    self._held = [iter(dataset)]
    # As a finalizer it also runs before the interpreter ends, while grain can still clean up.
    self.close = weakref.finalize(self, _close, self._held)

  def __next__(self) -> Batch:
    if not self._held:
      raise StopIteration
    try:
      batch = next(self._held[0])
    except BaseException as error:
      self.close()
      if died := re.search(r"Worker process was terminated .* exit code (-?\d+)", str(error)):
        raise UserError(_obituary(int(died[1]), self._num_workers)) from error
      raise
    # Workers send shared memory: a copy gives it back at once, whoever keeps the batch.
    return {name: np.array(value) for name, value in batch.items()}


def _close(held: list[Any]) -> None:
  if held:
    held.pop().close()


def _start_worker(index: int, count: int) -> None:
  # Ctrl-C reaches the whole group: the main process alone answers, and ends its workers.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
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
