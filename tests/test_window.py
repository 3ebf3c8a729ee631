"""A step without a number is named with all that helps; skipped ones are counted."""

import functools
import json
import math

import jax
import numpy as np
import optax
import pytest

from jaxt2i import crash
from jaxt2i.errors import UsageError, UserError
from jaxt2i.metrics import CodeCounts, Mean
from jaxt2i.step import StepOptions, make_train_step
from jaxt2i.window import MOST_SKIPPED, NORMS, SKIPPED, BadStep, Window
from tests.test_train import (
  DECAY,
  Lines,
  Notes,
  Shift,
  batches,
  broken_from,
  fresh,
  loop,
  make_mesh,
  make_step,
  options,
)


def test_an_interrupted_window_has_the_bits_of_a_whole_one():
  values = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
  steps = [
    {"loss": Mean.of(row), "window": CodeCounts.of(np.array([i % 3, 1]), 4), NORMS: {"a": row[0]}}
    for i, row in enumerate(values)
  ]
  whole, part = Window(), Window()
  for number, metrics in enumerate(steps):
    whole.add(number, metrics, None)
    part.add(number, metrics, None)
    if number == 3:
      part = Window(json.loads(json.dumps(part.to_json())))
  assert whole.means() == part.means()
  assert whole.to_json() == part.to_json()
  part.clear()
  assert part.to_json() == {}


def test_the_first_bad_step_is_named_with_norms_and_examples():
  window = Window()
  for step, value in ((4, 1.0), (5, math.nan), (6, math.nan)):
    metrics = {"loss": Mean.of(np.float32(value)), NORMS: {"encoder": np.float32(step)}}
    window.add(step, metrics, np.array([step, step + 10]))
  with pytest.raises(BadStep) as caught:
    window.means()
  bad = caught.value
  assert (bad.step, bad.name, bad.examples) == (5, "loss", (5, 15))
  assert bad.gradient_norms == {"encoder": 5.0}


def skipping(size: int = 4):
  options = StepOptions(bad_gradient="skip")
  return make_train_step(
    Shift(), optax.sgd(0.1), ema_decay=DECAY, seed=0, mesh=make_mesh(size), options=options
  )


def test_a_skipped_step_changes_its_number_alone_and_is_counted():
  step, state = skipping(), fresh()
  given = [next(batches(i)) for i in range(3)]
  given[1] = {**given[1], "value": np.full(4, math.nan, np.float32)}
  window, states = Window(), []
  for number, batch in enumerate(given):
    state, metrics = step(state, batch)
    states.append(jax.device_get(state))
    window.add(number + 1, metrics, None)
  jax.tree.map(np.testing.assert_array_equal, states[1].replace(step=states[0].step), states[0])
  assert states[1].step == 2
  means = window.means()
  assert means[SKIPPED] == 1
  assert math.isfinite(means["loss"])
  # What is left are the steps of a run that never saw the bad batch.
  plain = fresh()
  for batch in (given[0], given[2]):
    plain, _ = make_step()(plain, batch)
  np.testing.assert_array_equal(plain.params["w"], states[2].params["w"])


def test_a_run_that_skips_and_skips_is_stopped():
  arguments = {"evaluators": {}, "writer": Lines(), "checkpoints": Notes()}
  with pytest.raises(UserError, match=f"at step {MOST_SKIPPED + 2}"):
    loop(skipping(), fresh(), broken_from(2), options=options(num_steps=60), **arguments)


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"bad_gradient": "ignore"}, "config.step.bad_gradient is 'ignore': must be stop or skip"),
    ({"compute_dtype": "float16"}, "must be float32 or bfloat16"),
    ({"accumulate": 0}, "config.step.accumulate is 0: must be 1 or more"),
  ],
)
def test_options_that_make_no_sense_are_refused(changes, words):
  with pytest.raises(UsageError, match=words):
    StepOptions(**changes)


def test_parts_of_a_batch_have_the_gradient_of_the_whole():
  batch = {"value": np.arange(8, dtype=np.float32), "weight": np.ones(8, np.float32)}
  common = {"ema_decay": DECAY, "seed": 0, "mesh": make_mesh(2)}
  ends = []
  for parts in (1, 2, 4):
    step = make_train_step(Shift(), optax.sgd(0.1), options=StepOptions(accumulate=parts), **common)
    state, metrics = step(jax.tree.map(np.array, jax.device_get(fresh())), batch)
    ends.append((state.params["w"], metrics["loss"].compute(), metrics["value"].total))
    assert state.collections["steps"]["seen"] == parts
  for end in ends[1:]:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), end, ends[0])


def test_what_is_known_of_the_bad_step_is_left_in_the_workdir(tmp_path):
  numbered = ({**batch, "index": np.arange(4) + 7} for batch in broken_from(2))
  around = {"evaluators": {}, "writer": Lines(), "checkpoints": Notes()}
  around["on_bad_step"] = functools.partial(crash.dump, tmp_path, "image {}".format)
  with pytest.raises(UserError, match=r"nan at step 3 \(.*step\.json has its examples"):
    loop(make_step(), fresh(), numbered, options=options(), **around)
  (path,) = tmp_path.glob("crash/*/step.json")
  assert json.loads(path.read_text()) == {
    "step": 3,
    "loss": "nan",
    "gradient_norms": {"w": "nan"},
    "examples": [{"index": i, "image_id": f"image {i}"} for i in range(7, 11)],
  }


def test_a_crash_that_cannot_be_told_hides_nothing(tmp_path):
  (tmp_path / "crash").write_text("a file where a folder should be")
  assert crash.dump(tmp_path, str, BadStep(1, "loss", math.nan, {}, ())) == ""
