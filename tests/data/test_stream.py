import itertools
import subprocess
import sys
import threading

import numpy as np
import pytest

from jaxt2i.data import stream
from jaxt2i.errors import UserError

SOURCE = list(range(10))


def transform(element, rng):
  return {"x": np.asarray(element, np.int32), "noise": np.asarray(rng.random(2), np.float32)}


def train(num, *, source=SOURCE, batch_size=4, seed=0, start_step=0, **process):
  batches = stream.train_stream(
    source, transform, batch_size=batch_size, seed=seed, start_step=start_step, **process
  )
  return list(itertools.islice(batches, num))


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
def test_processes_share_one_global_order(process_count):
  whole = train(12)
  slices = [
    train(12, batch_size=4 // process_count, process_index=i, process_count=process_count)
    for i in range(process_count)
  ]
  for step, expected in enumerate(whole):
    parts = [batches[step] for batches in slices]
    merged = {name: np.stack([p[name] for p in parts], 1) for name in expected}
    assert_same({k: v.reshape(expected[k].shape) for k, v in merged.items()}, expected)


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
