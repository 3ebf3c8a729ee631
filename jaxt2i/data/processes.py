"""Shards made by processes of this machine; see `preparing`."""

import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import Any

from tqdm import tqdm

from jaxt2i.data.preparing import Task, make_shard, unwritable
from jaxt2i.data.shards import Shard
from jaxt2i.errors import UserError

_POLL_SECONDS = 0.2


def run(tasks: Sequence[Task], num_images: int, *, workers: int) -> Iterator[Shard]:
  """Makes shards in so many processes, with a progress bar; yields each as it is done.

  Raises:
    UserError: a process was killed, or the shards cannot be written.
  """
  todo = sum(len(task.entries) for task in tasks)
  context = multiprocessing.get_context("spawn")
  # No locks, which stay locked when their owner is killed: each slot is written by one process.
  counts = context.RawArray("L", 1 + max((task.number for task in tasks), default=0))
  stop = context.RawValue("b", 0)
  pool = concurrent.futures.ProcessPoolExecutor(
    min(workers, len(tasks)) or 1, context, _start_worker, (counts, stop)
  )
  bar = tqdm(total=num_images, initial=num_images - todo, unit="img", desc="preparing")
  try:
    running = {pool.submit(_make, task) for task in tasks}
    while running:
      done, running = concurrent.futures.wait(
        running, _POLL_SECONDS, concurrent.futures.FIRST_COMPLETED
      )
      bar.update(num_images - todo + sum(counts) - bar.n)
      for future in done:
        yield future.result()
  except (BrokenProcessPool, MemoryError) as error:
    raise UserError(
      "a preparing process was killed or lacked memory: start again with fewer "
      "--workers; what is done is kept"
    ) from error
  except OSError as error:
    raise unwritable(error) from error
  finally:
    stop.value = 1
    pool.shutdown(wait=True, cancel_futures=True)
    bar.close()


_counts: Any = None
_stop: Any = None


def _start_worker(counts: Any, stop: Any) -> None:
  """Lets the worker count, leaves Ctrl-C to the parent, and ends the worker with the parent."""
  global _counts, _stop
  _counts, _stop = counts, stop
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  sentinel = multiprocessing.parent_process().sentinel  # type: ignore[union-attr]

  def die_with_parent() -> None:
    connection.wait([sentinel])
    os._exit(1)

  threading.Thread(target=die_with_parent, daemon=True).start()


def _make(task: Task) -> Shard:
  def count() -> None:
    _counts[task.number] += 1
    if _stop.value:
      raise concurrent.futures.CancelledError

  return make_shard(task, count)
