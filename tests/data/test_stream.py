import contextlib
import itertools
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from jaxt2i.data import stream
from jaxt2i.errors import UserError

SOURCE = list(range(10))


def transform(element, rng):
  return {"x": np.asarray(element, np.int32), "noise": np.asarray(rng.random(2), np.float32)}


def train(num, *, source=SOURCE, batch_size=4, seed=0, start_step=0, row=transform, **processes):
  batches = stream.train_stream(
    source, row, batch_size=batch_size, seed=seed, start_step=start_step, **processes
  )
  taken = list(itertools.islice(batches, num))
  batches.close()
  return taken


def assert_same(batch, expected):
  assert batch.keys() == expected.keys()
  for name in batch:
    np.testing.assert_array_equal(batch[name], expected[name])


def test_batches_of_the_agreed_form():
  (batch,) = train(1)
  assert batch["x"].shape == (4,)
  assert batch["noise"].shape == (4, 2)
  assert batch["weight"].dtype == np.float32
  np.testing.assert_array_equal(batch["weight"], np.ones(4))


def test_every_epoch_has_everything_once_in_a_new_order():
  elements = np.concatenate([batch["x"] for batch in train(15)]).reshape(6, 10)
  for epoch in elements:
    assert sorted(epoch) == SOURCE
  assert len({tuple(epoch) for epoch in elements}) == 6


@pytest.mark.parametrize("start_step", [1, 2, 3, 7, 11])
def test_batch_i_is_the_same_wherever_one_starts(start_step):
  whole = train(13, seed=5)  # 10 elements in batches of 4: step 2 spans two epochs
  for batch, expected in zip(
    train(2, seed=5, start_step=start_step), whole[start_step:], strict=False
  ):
    assert_same(batch, expected)


def test_no_two_draws_of_an_element_have_the_same_noise():
  noise = np.concatenate([batch["noise"] for batch in train(15)])
  assert len(np.unique(noise[:, 0])) == 60


def test_seed_changes_order_and_noise():
  one, two = train(3, seed=1), train(3, seed=2)
  assert any((a["x"] != b["x"]).any() for a, b in zip(one, two, strict=True))
  assert (one[0]["noise"] != two[0]["noise"]).all()


@pytest.mark.parametrize("process_count", [2, 4])
def test_processes_share_the_batches_of_one(process_count):
  slices = [train(12, process_index=i, process_count=process_count) for i in range(process_count)]
  for step, expected in enumerate(train(12)):
    parts = [batches[step] for batches in slices]
    assert {len(part["x"]) for part in parts} == {4 // process_count}
    assert_same({k: np.concatenate([part[k] for part in parts]) for k in expected}, expected)


def test_a_batch_that_processes_cannot_share_is_refused():
  with pytest.raises(UserError, match="batch_size 4: expected a multiple of 3 processes"):
    train(1, process_count=3)


def test_rows_know_their_place_in_the_source():
  for batch in train(4):
    np.testing.assert_array_equal([SOURCE[i] for i in batch["index"]], batch["x"])


def test_source_smaller_than_a_batch():
  (batch,) = train(1, source=[3], batch_size=5)
  np.testing.assert_array_equal(batch["x"], [3] * 5)


def test_far_steps_and_large_seeds():
  assert train(1, start_step=10_000_000, seed=2**40)[0]["x"].shape == (4,)


def test_no_thread_is_left_when_iteration_stops_early():
  before = threading.active_count()
  batches = stream.train_stream(SOURCE, transform, batch_size=2, seed=0, start_step=0)
  next(batches)
  assert threading.active_count() == before


def test_process_exits_in_the_midst_of_it():
  program = """
import numpy as np
from jaxt2i.data import stream
batches = stream.train_stream(
  range(100), lambda x, rng: {"x": np.asarray(x)}, batch_size=2, seed=0, start_step=0
)
print(next(batches)["x"].shape)
"""
  run = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
  )
  assert run.stdout == "(2,)\n"


# --- worker processes ---


@pytest.mark.parametrize(
  ("num_workers", "start_step", "process"),
  [
    (1, 0, (0, 1)),
    (2, 1, (0, 1)),  # in the middle of an epoch: 10 elements in batches of 4
    (2, 5, (0, 1)),  # where the second epoch ends
    (1, 5, (1, 2)),
    (2, 1, (0, 2)),
    (2, 1, (1, 2)),
  ],
)
def test_workers_change_nothing(num_workers, start_step, process):
  index, count = process
  where = {"seed": 3, "process_index": index, "process_count": count}
  expected = train(start_step + 5, **where)[start_step:]
  found = train(5, start_step=start_step, num_workers=num_workers, **where)
  assert len(found) == 5
  for batch, alone in zip(found, expected, strict=True):
    assert_same(batch, alone)
    assert all(type(value) is np.ndarray for value in batch.values())
    assert {k: v.dtype for k, v in batch.items()} == {k: v.dtype for k, v in alone.items()}


def test_workers_end_when_the_iterator_does():
  batches = stream.train_stream(
    SOURCE, transform, batch_size=4, seed=0, start_step=0, num_workers=2
  )
  assert multiprocessing.active_children() == []  # none before they are needed
  kept = next(batches)
  assert len(multiprocessing.active_children()) == 2
  del batches
  assert multiprocessing.active_children() == []
  np.testing.assert_array_equal(kept["x"], train(1)[0]["x"])  # and what they sent stays


def test_closed_early():
  batches = stream.train_stream(
    SOURCE, transform, batch_size=4, seed=0, start_step=0, num_workers=1
  )
  batches.close()  # before anything was asked of it
  assert list(batches) == []
  again = stream.train_stream(SOURCE, transform, batch_size=4, seed=0, start_step=0, num_workers=1)
  next(again)
  again.close()
  again.close()
  assert list(again) == []
  assert multiprocessing.active_children() == []


class TwoPartError(Exception):
  """Cannot be unpickled: pickle calls it with one argument."""

  def __init__(self, what, why):
    super().__init__(f"{what}: {why}")


def fails(element, rng):
  if element == 5:
    raise UserError("record 5 is damaged")
  return transform(element, rng)


def fails_oddly(element, rng):
  if element == 5:
    raise TwoPartError("record 5", "damaged")
  return transform(element, rng)


def stops(element, rng):
  if element == 5:
    sys.exit(0)  # a worker that ends without an error would be waited for without end
  return transform(element, rng)


def is_killed(element, rng):
  if element == 5:
    os.kill(os.getpid(), signal.SIGKILL)
  return transform(element, rng)


@pytest.mark.parametrize(
  ("row", "error", "message"),
  [
    (fails, UserError, "record 5 is damaged"),
    (fails_oddly, RuntimeError, "TwoPartError: record 5: damaged"),
    (stops, RuntimeError, "SystemExit: 0"),
    (is_killed, UserError, r"1 of 1 data workers died \(exit code -9: killed, as .* memory\);.*"),
  ],
)
def test_errors_of_workers_reach_the_caller(row, error, message):
  with pytest.raises(error) as caught:
    train(5, row=row, num_workers=1)
  assert re.fullmatch(message, str(caught.value))
  assert multiprocessing.active_children() == []


PROGRAM = """
import multiprocessing, signal, sys, time
from jaxt2i.data import stream
from tests.data.test_stream import SOURCE, transform

if __name__ == "__main__":
  # Tests that a script starts with "&" hand down that Ctrl-C is ignored.
  signal.signal(signal.SIGINT, signal.default_int_handler)
  batches = stream.train_stream(
    SOURCE, transform, batch_size=2, seed=0, start_step=0, num_workers=2
  )
  next(batches)
  shape = next(batches)["x"].shape  # one of each worker
  print(shape, *(each.pid for each in multiprocessing.active_children()))
  sys.stdout.flush()
  time.sleep(float(sys.argv[1]))
"""


@pytest.fixture
def program(tmp_path, repository):
  """Starts PROGRAM, which takes two batches and sleeps for so many seconds."""
  (tmp_path / "program.py").write_text(PROGRAM)

  def start(seconds):
    # A session of its own, so that a signal to its group, like Ctrl-C, reaches nobody else.
    return subprocess.Popen(
      [sys.executable, "-W", "error", tmp_path / "program.py", str(seconds)],
      env={**os.environ, "PYTHONPATH": str(repository)},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      start_new_session=True,
    )

  return start


def alive(pid):
  try:
    os.kill(int(pid), 0)
  except ProcessLookupError:
    return False
  with open(f"/proc/{pid}/stat") as file:  # nobody may have taken notice of its end
    return file.read().rpartition(")")[2].split()[0] != "Z"


def test_workers_end_with_the_process(program):
  done = program(0)
  out, err = done.communicate(timeout=60)
  assert out.startswith("(2,)")
  # Shared memory or semaphores that are left would be named here. With the oldest JAX supported,
  # importing grain says so much.
  assert not [line for line in err.splitlines() if "worker profiling requires" not in line]
  assert done.returncode == 0
  assert not any(map(alive, out.split()[1:]))


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks processes up in /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_a_process_that_is_killed(program, number):
  with program(60) as running:
    workers = running.stdout.readline().split()[1:]  # after the shape "(2,)"
    assert len(workers) == 2
    assert all(map(alive, workers))
    (os.killpg if number == signal.SIGINT else os.kill)(running.pid, number)
    _, err = running.communicate(timeout=60)
  deadline = time.monotonic() + 20
  while any(map(alive, workers)) and time.monotonic() < deadline:
    time.sleep(0.05)
  assert not any(map(alive, workers))
  if number == signal.SIGINT:
    assert err.count("Traceback") == 1  # the main process alone complains


def test_workers_leave_sigterm_to_the_main_process():
  # Slurm and systemd send it to every process of a run; the main one has to save first.
  with contextlib.closing(
    stream.train_stream(SOURCE, transform, batch_size=4, seed=0, start_step=0, num_workers=2)
  ) as batches:
    found = [next(batches)]
    for worker in multiprocessing.active_children():
      os.kill(worker.pid, signal.SIGTERM)
    time.sleep(1)
    assert len(multiprocessing.active_children()) == 2
    found += [next(batches) for _ in range(40)]
  for batch, alone in zip(found, train(41), strict=True):
    assert_same(batch, alone)
  assert multiprocessing.active_children() == []


def test_errors_of_the_source_reach_the_caller():
  class Damaged:
    def __len__(self):
      return 3

    def __getitem__(self, index):
      raise UserError(f"record {int(index)} is damaged")

  with pytest.raises(UserError, match="damaged"):
    train(1, source=Damaged())


def test_evaluation_in_order_and_once():
  batches = list(stream.eval_stream(SOURCE, transform, batch_size=4))
  assert [list(batch["x"]) for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 9, 9]]
  assert [list(batch["weight"]) for batch in batches] == [[1] * 4, [1] * 4, [1, 1, 0, 0]]
  assert np.concatenate([batch["index"] for batch in batches]).tolist() == [*range(10), 9, 9]
  assert batches[0]["index"].dtype == np.int32
  assert batches[0]["weight"].dtype == np.float32


def test_evaluation_without_padding():
  batches = list(stream.eval_stream(SOURCE, transform, batch_size=5))
  assert len(batches) == 2
  assert all(batch["weight"].all() for batch in batches)


def test_evaluation_noise_belongs_to_the_index():
  def noise(batch_size):
    batches = list(stream.eval_stream(SOURCE, transform, batch_size=batch_size))
    rows = np.concatenate([batch["noise"] for batch in batches])
    return rows[np.concatenate([batch["weight"] for batch in batches]) == 1]

  np.testing.assert_array_equal(noise(3), noise(10))
  assert len(np.unique(noise(3)[:, 0])) == 10


def test_nothing_to_iterate_over():
  with pytest.raises(UserError, match="no records"):
    train(1, source=[])
  with pytest.raises(UserError, match="no records"):
    stream.eval_stream([], transform, batch_size=2)
  with pytest.raises(UserError, match="batch_size 0"):
    train(1, batch_size=0)
  with pytest.raises(UserError, match="num_workers -1: expected 0 or more"):
    train(1, num_workers=-1)
