"""Early stopping: when a run ends, which state is kept, and that a kill changes nothing."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i import best, checkpoints, weights
from jaxt2i.best import Best
from jaxt2i.checkpoints import Checkpoints
from jaxt2i.errors import UserError
from jaxt2i.train import LoopOptions
from tests.runs import metrics_of, train

VALUES = [5.0, 3.0, 4.0, 2.0, 2.5, 2.0, 9.0, 1.0]


def log(workdir, upto):
  lines = [{"step": 10 * (i + 1), "loss": 0.0, "val/nll": v} for i, v in enumerate(VALUES[:upto])]
  (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def follow(workdir, *, start=0, patience=3):
  """Goes on after `start` evaluations until it is over; how many there were."""
  log(workdir, len(VALUES))  # with what a killed run had logged later
  with Best(workdir, metric="val/nll", patience=patience, start_step=10 * start) as watched:
    for i in range(start, len(VALUES)):
      if watched.is_over:
        return i
      step = 10 * (i + 1)
      watched.update(step, {"val/nll": VALUES[i]}, {"w": jnp.full(2, float(step))})
    return len(VALUES)


def kept(workdir):
  step, arrays = checkpoints.read_arrays(workdir / best.FOLDER, ("w",))
  np.testing.assert_array_equal(arrays["w"], np.full(2, float(step)))
  return step


def test_it_stops_after_so_many_evaluations_without_a_better_one(tmp_path):
  # Best at the fourth; an equal value is no better one.
  assert follow(tmp_path, patience=3) == 7
  assert kept(tmp_path) == 40


def test_with_more_patience_a_later_one_is_found(tmp_path):
  assert follow(tmp_path, patience=4) == 8
  assert kept(tmp_path) == 80


@pytest.mark.parametrize("start", range(1, 8))
def test_a_run_that_goes_on_ends_at_the_same_step_with_the_same_state(start, tmp_path):
  follow(tmp_path)
  # Killed anywhere: what was found later is found again, at its step.
  assert follow(tmp_path, start=start) == 7
  assert kept(tmp_path) == 40


def test_the_best_of_a_run_that_is_gone_does_not_stand_for_a_new_one(tmp_path):
  follow(tmp_path, patience=4)
  with Best(tmp_path, metric="val/nll", patience=3, start_step=0) as watched:
    watched.update(10, {"val/nll": 7.0}, {"w": jnp.full(2, 10.0)})
  assert kept(tmp_path) == 10


def test_where_nothing_was_best_the_last_state_is_read(tmp_path):
  state = lambda value: {"ema_params": {"w": jnp.full(2, value)}, "collections": {}}
  with Checkpoints(tmp_path, keep=1) as saved:
    saved.save(5, state(5.0))
  with Best(tmp_path, metric="val/nll", patience=3, start_step=0) as watched:
    watched.update(10, {"val/nll": float("nan")}, state(10.0))
  np.testing.assert_array_equal(weights.read(tmp_path)[0]["w"], np.full(2, 5.0))


def test_what_is_over_stays_over(tmp_path):
  log(tmp_path, 7)
  with Best(tmp_path, metric="val/nll", patience=3, start_step=70) as watched:
    assert watched.is_over


def test_no_number_is_no_improvement(tmp_path):
  with Best(tmp_path, metric="val/nll", patience=2, start_step=0) as watched:
    for step in (1, 2):
      watched.update(step, {"val/nll": float("nan")}, {"w": jnp.zeros(2)})
    assert watched.is_over


def test_a_metric_that_nobody_gives_is_named(tmp_path):
  with (
    Best(tmp_path, metric="val/nil", patience=2, start_step=0) as watched,
    pytest.raises(UserError, match=r"watch is 'val/nil': must be .* \(val/nll, val/psnr\)"),
  ):
    watched.update(1, {"val/psnr": 1.0, "val/nll": 1.0}, {"w": jnp.zeros(2)})


@pytest.mark.parametrize(("watch", "patience"), [("", 2), ("val/nll", -1)])
def test_options_that_cannot_work_are_refused(watch, patience):
  with pytest.raises(UserError, match=f"patience is {patience}"):
    LoopOptions(2, 1, 1, 1, watch=watch, patience=patience)


def test_a_run_stops_and_draws_with_its_best_state(tmp_path, tokenizer_run):
  import jaxt2i

  # With this rate it gets worse and worse.
  options = {"loop.num_steps": 30, "loop.eval_every": 2, "loop.checkpoint_every": 2}
  options |= {"loop.watch": "val/nll", "loop.patience": 2, "optimizer.learning_rate": 3.0}
  workdir = train(tmp_path / "prior", "prior:shapes,tiny", tokenizer=str(tokenizer_run), **options)
  scores = {line["step"]: line["val/nll"] for line in metrics_of(workdir) if "val/nll" in line}
  assert max(scores) < 30
  lowest = min(scores, key=scores.__getitem__)
  assert max(scores) == lowest + 4
  step, arrays = checkpoints.read_arrays(workdir / best.FOLDER, ("ema_params",))
  assert step == lowest
  loaded = jaxt2i.load(workdir).prior_variables["params"]["head"]["kernel"]
  np.testing.assert_array_equal(loaded, arrays["ema_params"]["head"]["kernel"])
  # The same command again has nothing left to do.
  before = (workdir / "metrics.jsonl").read_text()
  train(workdir, "prior:shapes,tiny", tokenizer=str(tokenizer_run), **options)
  assert (workdir / "metrics.jsonl").read_text() == before
