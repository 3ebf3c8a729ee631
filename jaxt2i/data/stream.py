"""Batches: shuffled without end for training, in order and once for evaluation.

Batch i is a function of the seed and i alone, so a run that resumes at step i needs no state, and
it does not matter whether this process makes the batches or workers do.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import grain
import numpy as np

from jaxt2i.data.workers import Batch, Workers
from jaxt2i.errors import UserError

Transform = Callable[[Any, np.random.Generator], dict[str, np.ndarray]]


class _Numbered:
  """Elements with their place in the source."""

  def __init__(self, source: Any):
    self._source = source

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: Any) -> tuple[int, Any]:
    return int(index), self._source[index]


class _RandomMap(grain.transforms.RandomMap):
  def __init__(self, transform: Transform):
    self._transform = transform

  def random_map(self, element: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    place, element = element
    row = self._transform(element, rng)
    return {**row, "weight": np.ones((), np.float32), "index": np.asarray(place, np.int32)}


def train_stream(
  source: Any,
  transform: Transform,
  *,
  batch_size: int,
  seed: int,
  start_step: int,
  process_index: int = 0,
  process_count: int = 1,
  num_workers: int = 0,
) -> Iterator[Batch]:
  """Batches for ever, reshuffled every epoch; the first is number `start_step`.

  All processes together make the same batches whatever their number: process p of n has the p-th
  n-th of the rows of each.

  Args:
    source: anything with `__len__` and `__getitem__`.
    transform: element and its own random generator to a row, a dict of arrays.
    batch_size: rows of a batch, of all processes together.
    seed: of the order and of the generators, 0 or more.
    start_step: number of batches already consumed.
    process_index: of this process, as jax.process_index() gives it.
    process_count: number of processes.
    num_workers: processes that make the batches of this one, each every so many-th; 0 makes them
      here. Workers are sent the source and the transform, which must be picklable (functions of a
      module or dataclasses, no open files), and import what those need; in a script of your own
      they need its `if __name__ == "__main__":`. They end with the iterator, on its `close()`, or
      with this process.

  Yields:
    Stacked rows with `weight`, float32 [B], all ones, and `index`, int32 [B], places in the source.

  Raises:
    UserError: an empty source, or a batch that the processes cannot share evenly; while
      iterating, a worker that died.
  """
  _check(source, batch_size)
  if num_workers < 0:
    raise UserError(f"num_workers {num_workers}: expected 0 or more")
  if batch_size % process_count:
    raise UserError(f"batch_size {batch_size}: expected a multiple of {process_count} processes")
  dataset = grain.MapDataset.source(_Numbered(source)).seed(seed).shuffle().repeat(None)
  # Before slicing: the generator of an element is that of its place in the global order.
  dataset = dataset.random_map(_RandomMap(transform))
  # Parts of batches, of which process p has every n-th: the rows of a batch stay together.
  parts = dataset.batch(batch_size // process_count, drop_remainder=True)
  batches = parts.slice(slice(process_index, None, process_count))
  if num_workers:
    return Workers(batches, start_step, num_workers)
  return (batches[step] for step in itertools.count(start_step))


def eval_stream(source: Any, transform: Transform, *, batch_size: int) -> Iterator[Batch]:
  """Batches in order, once; the last is filled up by repeating its last element.

  Args:
    source: anything with `__len__` and `__getitem__`.
    transform: element and a random generator, seeded by the index, to a row, a dict of arrays.
    batch_size: rows of a batch.

  Yields:
    Stacked rows with `weight`, float32 [B]: 1 for a row of the source, 0 for padding; and `index`,
    int32 [B], of the row's element in the source.

  Raises:
    UserError: an empty source.
  """
  _check(source, batch_size)
  return _eval_batches(source, transform, batch_size)


def _eval_batches(source: Any, transform: Transform, batch_size: int) -> Iterator[Batch]:
  for start in range(0, len(source), batch_size):
    indices = range(start, min(start + batch_size, len(source)))
    rows = [transform(source[i], np.random.default_rng(i)) for i in indices]
    rows += rows[-1:] * (batch_size - len(rows))
    batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    places = start + np.arange(batch_size, dtype=np.int32)
    weight = (places < len(source)).astype(np.float32)
    yield {**batch, "weight": weight, "index": places.clip(max=len(source) - 1)}


def _check(source: Any, batch_size: int) -> None:
  if len(source) == 0:
    raise UserError("the data has no records in this split: choose another split or more data")
  if batch_size < 1:
    raise UserError(f"batch_size {batch_size}: expected 1 or more")
