"""The step and the loop: what is differentiated, logged, evaluated, saved, and when."""

import dataclasses
import itertools
import logging
import math
import re
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import vqvae
from jaxt2i import data, experiment, modules, stored
from jaxt2i.best import Best
from jaxt2i.checkpoints import Checkpoints, read_arrays
from jaxt2i.errors import UserError
from jaxt2i.metrics import Mean
from jaxt2i.sharding import MeshOptions, make_mesh, replicated
from jaxt2i.state import TrainState
from jaxt2i.step import jit_step, make_train_step
from jaxt2i.tasks.base import LossOutput
from jaxt2i.train import LoopOptions, Surroundings, train
from tests.runs import config

DECAY = 0.9
RATE = 0.1


@dataclasses.dataclass(frozen=True)
class Shift:
  """Loss mean(weight · (w − value)²); counts its steps outside of the parameters."""

  noise: float = 0.0

  def init(self, key, batch):
    return {
      "params": {"w": jnp.full((3,), 2.0)},
      "steps": {"seen": jnp.zeros((), jnp.int32)},
      "fixed": {"table": jnp.arange(4.0)},
    }

  def loss(self, variables, batch, key, *, train):
    error = jnp.square(variables["params"]["w"][None] - batch["value"][:, None])
    error = jnp.mean(error, axis=1) + self.noise * jax.random.uniform(key)
    loss = Mean.of(error, batch["weight"])
    return LossOutput(
      loss=loss.compute(),
      metrics={"loss": loss, "value": Mean.of(batch["value"], batch["weight"])},
      updates={"steps": {"seen": variables["steps"]["seen"] + 1}},
    )


def batches(start: int = 0, size: int = 4) -> Iterator[dict[str, np.ndarray]]:
  """Batch i holds the value i; all but i + 1 of its rows, at most, weigh nothing."""
  for i in itertools.count(start):
    weight = (np.arange(size) <= i).astype(np.float32)
    yield {"value": np.full(size, i, np.float32), "weight": weight}


def fresh(task=None, optimizer=None) -> TrainState:
  mesh = make_mesh(4)
  variables = (task or Shift()).init(jax.random.key(0), {})
  return jax.device_put(
    TrainState.create(variables, optimizer or optax.sgd(RATE)), replicated(mesh)
  )


def make_step(task=None, optimizer=None, **options):
  options = {"ema_decay": DECAY, "seed": 0, "mesh": make_mesh(4)} | options
  return make_train_step(task or Shift(), optimizer or optax.sgd(RATE), **options)


class Notes(Checkpoints):
  """Takes down what it is asked to save."""

  def __init__(self, order=None):
    self.saved = []
    self.order = [] if order is None else order

  def save(self, step, state, under_way=None):
    assert int(state.step) == step
    self.saved.append(step)
    self.order.append(("save", step))


class Lines:
  """A writer that keeps its lines."""

  def __init__(self, order=None):
    self.lines, self.shown = [], []
    self.order = [] if order is None else order

  def write_images(self, step, images):
    self.shown.append((step, images))

  def write_histograms(self, step, arrays):
    self.shown.append((step, arrays))

  def write_scalars(self, step, scalars):
    self.lines.append((step, dict(scalars)))

  def flush(self):
    self.order.append(("flush", None))


def options(**changes) -> LoopOptions:
  return LoopOptions(
    **{"num_steps": 7, "log_every": 2, "eval_every": 3, "checkpoint_every": 4}
    | {"watch": "", "patience": 0}
    | changes
  )


def loop(step_fn, state, given, *, options, under_way=None, **surroundings):
  """`train`, its surroundings by name."""
  around = Surroundings(**surroundings)
  return train(step_fn, state, given, options=options, around=around, under_way=under_way)


def run(**changes):
  """Trains `Shift` from the start; returns the last state, the lines and the steps saved."""
  lines, notes = Lines(), Notes()
  arguments = {"evaluators": {}, "writer": lines, "checkpoints": notes, "options": options()}
  state = loop(make_step(), fresh(), batches(), **arguments | changes)
  return state, lines.lines, notes.saved


def value_of(name: str, lines) -> dict[int, float]:
  return {step: scalars[name] for step, scalars in lines if name in scalars}


# --- the step ---


def test_step_descends_and_counts():
  state, metrics = make_step()(fresh(), next(batches(2)))
  assert int(state.step) == 1
  # dw = 2 (w − 2) / 3 a parameter at value 2: 0; batch 1 would pull.
  np.testing.assert_allclose(state.params["w"], 2.0)
  state, metrics = make_step()(fresh(), next(batches(5)))
  gradient = 2 * (2 - 5) / 3
  np.testing.assert_allclose(state.params["w"], 2 - RATE * gradient, rtol=1e-6)
  np.testing.assert_allclose(metrics["gradient_norm"].compute(), math.sqrt(3) * 2, rtol=1e-6)
  np.testing.assert_allclose(metrics["loss"].compute(), 9.0, rtol=1e-6)


def test_only_params_are_differentiated_and_updates_reach_their_collection():
  state, step = fresh(), make_step()
  for batch in itertools.islice(batches(), 3):
    state, _ = step(state, batch)
  assert int(state.collections["steps"]["seen"]) == 3
  np.testing.assert_array_equal(state.collections["fixed"]["table"], np.arange(4.0))
  assert set(state.collections) == {"steps", "fixed"}
  assert jax.tree.structure(state.ema_params) == jax.tree.structure(state.params)


def test_ema_follows_its_formula():
  state, step = fresh(), make_step()
  average = np.full(3, 2.0)
  for i, batch in enumerate(itertools.islice(batches(), 6)):
    state, _ = step(state, batch)
    decay = min(DECAY, (i + 1) / (i + 10))
    average = decay * average + (1 - decay) * np.asarray(state.params["w"])
    np.testing.assert_allclose(state.ema_params["w"], average, rtol=1e-5)
  np.testing.assert_array_equal(state.ema_variables["params"]["w"], state.ema_params["w"])
  assert not np.allclose(state.ema_params["w"], state.params["w"])


def test_the_key_of_a_step_depends_on_seed_and_step_alone():
  step = make_step(Shift(noise=1.0))
  losses = []
  for _ in range(2):
    state = fresh()
    for batch in itertools.islice(batches(2), 3):  # the same batch thrice, w stays at 2
      state, metrics = step(state, {**batch, "value": np.full(4, 2, np.float32)})
      losses.append(float(metrics["loss"].compute()))
  assert losses[:3] == losses[3:]
  assert len(set(losses[:3])) == 3
  _, metrics = make_step(Shift(noise=1.0), seed=1)(fresh(), next(batches(2)))
  assert float(metrics["loss"].compute()) != losses[0]


def test_a_step_on_a_cpu_keeps_less_than_xla_would_by_itself():
  model = modules.tokenizer(vqvae.get_config("vqgan").model.to_dict(), 64)
  x = jnp.zeros((2, 64, 64, 3))
  variables = jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))
  loss = lambda variables, x: jnp.mean(model.apply(variables, x, train=False).image ** 2)
  plain = jax.jit(jax.grad(loss))
  ours = jit_step(jax.grad(loss), make_mesh(1))
  memory = [f.lower(variables, x).compile().memory_analysis() for f in (plain, ours)]
  assert memory[1].temp_size_in_bytes < 0.8 * memory[0].temp_size_in_bytes


def test_the_given_state_is_donated():
  state = fresh()
  make_step()(state, next(batches(3)))
  assert state.params["w"].is_deleted()
  assert state.ema_params["w"].is_deleted()


def test_state_at_the_start_shares_no_buffer():
  # Two donated leaves in one buffer would be an error of XLA, in the first step only.
  state = fresh()
  assert state.params["w"].unsafe_buffer_pointer is not None
  pointers = [
    shard.data.unsafe_buffer_pointer()
    for leaf in (state.params["w"], state.ema_params["w"])
    for shard in leaf.addressable_shards
  ]
  assert len(set(pointers)) == len(pointers)


# --- the loop ---


def test_windows_are_weighted_means_over_their_steps():
  state, lines, _ = run()
  assert int(state.step) == 7
  values = value_of("value", lines)
  assert sorted(values) == [2, 4, 6, 7]
  weights = np.minimum(np.arange(7) + 1, 4)  # of batch i
  for end, (a, b) in {2: (0, 2), 4: (2, 4), 6: (4, 6), 7: (6, 7)}.items():
    expected = np.average(np.arange(a, b), weights=weights[a:b])
    assert values[end] == pytest.approx(expected, rel=1e-6)
  assert values[2] != pytest.approx(0.5)  # the mean of the means
  assert set(value_of("gradient_norm", lines)) == {2, 4, 6, 7}


def test_evaluators_run_when_due_and_once_at_the_end():
  calls = []

  def evaluator(state):
    calls.append(int(state.step))
    return {"w": float(state.ema_params["w"][0])}

  state, lines, _ = run(evaluators={"val": evaluator, "silent": lambda state: {}})
  assert calls == [3, 6, 7]
  values = value_of("val/w", lines)
  assert sorted(values) == [3, 6, 7]
  assert values[7] == float(state.ema_params["w"][0])
  assert values[3] != values[6]
  calls.clear()
  run(evaluators={"val": evaluator}, options=options(num_steps=6))
  assert calls == [3, 6]


def test_states_are_saved_when_due_and_once_at_the_end():
  assert run()[2] == [4, 7]
  assert run(options=options(num_steps=8))[2] == [4, 8]


def test_pictures_and_histograms_of_evaluators_go_to_the_writer_and_numbers_to_the_log():
  picture, counts = np.zeros((1, 2, 2, 3), np.uint8), np.arange(5)
  values = {"psnr": 3.0, "pairs": picture, "codes": counts}
  lines = Lines()
  run(evaluators={"val": lambda state: values}, writer=lines)
  assert [line["val/psnr"] for _, line in lines.lines if "val/psnr" in line] == [3.0] * 3
  assert all(set(line) & {"val/pairs", "val/codes"} == set() for _, line in lines.lines)
  assert [(step, list(shown)) for step, shown in lines.shown] == [
    (step, [name]) for step in (3, 6, 7) for name in ("val/pairs", "val/codes")
  ]
  assert lines.shown[0][1]["val/pairs"] is picture


def test_a_step_is_logged_before_it_is_saved():
  order = []
  run(writer=Lines(order), checkpoints=Notes(order))
  assert order == [("flush", None), ("save", 4), ("flush", None), ("save", 7)]


def test_the_best_state_is_whole_before_a_step_is_saved_that_counts_on_it(tmp_path):
  class Saved(Notes):
    def save(self, step, state, under_way=None):
      super().save(step, state, under_way)
      assert stored.complete_steps(tmp_path / "best" / "checkpoints") == [step]

  evaluators = {"val": lambda state: {"nll": -float(state.step)}}
  chosen = options(eval_every=2, checkpoint_every=2, watch="val/nll", patience=2)
  saved = Saved()
  with Best(tmp_path, metric="val/nll", patience=2, start_step=0) as best:
    run(checkpoints=saved, evaluators=evaluators, best=best, options=chosen)
  assert saved.saved == [2, 4, 6, 7]


def test_a_finished_state_is_left_alone():
  lines, notes = Lines(), Notes()
  state = fresh().replace(step=jnp.asarray(7, jnp.int32))
  called = pytest.fail
  after = loop(
    lambda state, batch: called("trained"),
    state,
    batches(),
    evaluators={"val": lambda state: called("evaluated")},
    writer=lines,
    checkpoints=notes,
    options=options(),
  )
  assert int(after.step) == 7
  assert lines.lines == []
  assert notes.saved == []


def test_saved_states_are_those_of_their_step(tmp_path):
  # The save is asynchronous and the next step reuses the buffers of the saved state.
  seen = {}
  step = make_step()

  def remembering(state, batch):
    state, metrics = step(state, batch)
    seen[int(state.step)] = jax.tree.map(lambda x: np.array(x), state.params)
    return state, metrics

  with Checkpoints(tmp_path, keep=10) as saved:
    loop(
      remembering,
      fresh(),
      batches(),
      evaluators={},
      writer=Lines(),
      checkpoints=saved,
      options=options(log_every=1, checkpoint_every=1),
    )
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), fresh())
    for number in range(1, 8):
      state = saved.restore(abstract, number)
      assert int(state.step) == number
      np.testing.assert_array_equal(state.params["w"], seen[number]["w"])


def test_progress_says_compiling_and_time_left(caplog):
  with caplog.at_level(logging.INFO, logger="jaxt2i.train"):
    run()
  text = caplog.text
  assert text.index("compiling the training step") < text.index("compiled in")
  assert re.search(r"step 7/7  loss \S+  \d+ ms/step  0:00 left", text)


# --- losses that are no numbers ---


def broken_from(step: int, value: float = math.nan) -> Iterator[dict[str, np.ndarray]]:
  for i, batch in enumerate(batches()):
    yield {**batch, "value": np.full(4, value, np.float32)} if i >= step else batch


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(tmp_path, value):
  lines = Lines()
  with pytest.raises(UserError) as error, Checkpoints(tmp_path, keep=2) as saved:
    loop(
      make_step(),
      fresh(),
      broken_from(5, value),
      evaluators={},
      writer=lines,
      checkpoints=saved,
      options=options(),
    )
  message = str(error.value)
  assert "\n" not in message
  assert re.search(r"The loss is (nan|inf) at step 6\b.*learning_rate", message)
  assert lines.lines[-1][0] == 4
  step, arrays = read_arrays(tmp_path, ("params",))
  assert step == 4
  assert np.isfinite(arrays["params"]["w"]).all()


@dataclasses.dataclass(frozen=True)
class Cliff(Shift):
  """From value 3 on the loss is finite and its gradient is not: sqrt at 0."""

  def loss(self, variables, batch, key, *, train):
    output = super().loss(variables, batch, key, train=train)
    zero = jnp.sum(variables["params"]["w"]) * 0.0
    edge = jnp.sqrt(jnp.where(batch["value"][0] >= 3, zero, zero + 1.0))
    return output.replace(loss=output.loss + edge)


def test_a_gradient_that_is_no_number_is_not_saved(tmp_path):
  # Step 4 sees a finite loss, leaves NaN weights, and is the one to be saved.
  with pytest.raises(UserError, match="step 4"), Checkpoints(tmp_path, keep=2) as saved:
    loop(
      make_step(Cliff()),
      fresh(Cliff()),
      batches(),
      evaluators={},
      writer=Lines(),
      checkpoints=saved,
      options=options(num_steps=8, log_every=1, checkpoint_every=1),
    )
  step, arrays = read_arrays(tmp_path, ("params",))
  assert step == 3
  assert np.isfinite(arrays["params"]["w"]).all()


def test_a_discriminator_that_is_no_number_stops_the_run_before_it_teaches():
  # While it warms up, nothing else of the run is touched by it.
  plain = make_step()

  def step(state, batch):
    state, metrics = plain(state, batch)
    broken = jnp.where(state.step >= 3, jnp.nan, 1.0)
    return state, {**metrics, "d_loss": Mean.of(broken)}

  notes = Notes()
  arguments = {"evaluators": {}, "writer": Lines(), "checkpoints": notes}
  with pytest.raises(UserError, match="The d_loss is nan at step 3"):
    loop(step, fresh(), batches(), **arguments, options=options())
  assert notes.saved == []


# --- options ---


@pytest.mark.parametrize("name", ["num_steps", "log_every", "eval_every", "checkpoint_every"])
@pytest.mark.parametrize("value", [0, -1])
def test_options_below_one_are_refused(name, value):
  with pytest.raises(UserError, match=rf"^{name} is {value}: must be at least 1\.$"):
    options(**{name: value})


def test_a_checkpoint_within_a_window_is_refused():
  with pytest.raises(UserError, match=r"checkpoint_every is 5: must be a multiple of log_every"):
    options(checkpoint_every=5)


# --- devices ---


def mesh_of(count: int):
  return make_mesh(count, MeshOptions(data=count))


def losses_of(what, rows, mesh, steps=3) -> list[float]:
  task, optimizer = what.task, optax.sgd(1e-2)
  variables = what.init(jax.random.key(0))
  state = jax.device_put(TrainState.create(variables, optimizer), replicated(mesh))
  step = make_train_step(task, optimizer, ema_decay=0.9, seed=0, mesh=mesh)
  losses = []
  for _, batch in zip(range(steps), rows, strict=False):
    state, metrics = step(state, batch)
    losses.append(float(metrics["loss"].compute()))
  return losses


def test_two_devices_learn_the_tokenizer_that_one_learns():
  # EMA couples the examples of a batch: counts, sums and revival go across devices.
  source = data.load("train", **config("vqvae:shapes,tiny")["data"])
  image = np.stack([source[i].image for i in range(4)])
  rows = itertools.repeat({"image": image, "weight": np.ones(4, np.float32)})
  what = experiment.make(config("vqvae:ema,vit,shapes,tiny"))
  one, two = (losses_of(what, rows, mesh_of(count)) for count in (1, 2))
  np.testing.assert_allclose(two, one, rtol=1e-5)
  assert len(set(one)) == 3  # it moves


def test_two_devices_learn_the_prior_that_one_learns(tokenizer_run):
  # Dropout and dropped captions come from the step's key, wherever an example is computed.
  changes = {"tokenizer": str(tokenizer_run), "model.dropout": 0.1, "loss.condition_dropout": 0.5}
  what = experiment.make(config("prior:shapes,tiny", **changes))
  tokens = np.random.default_rng(0).integers(0, 512, (4, 8, 8)).astype(np.int32)
  text = what._text(["large red star", "", "small blue heart", "green"])
  rows = itertools.repeat({"tokens": tokens, "text": text, "weight": np.ones(4, np.float32)})
  one, two = (losses_of(what, rows, mesh_of(count)) for count in (1, 2))
  np.testing.assert_allclose(two, one, rtol=1e-5)
  assert len(set(one)) == 3


@pytest.mark.parametrize(("batch_size", "devices"), [(4, 2), (3, 1), (1, 1), (2, 2)])
def test_mesh_takes_as_many_devices_as_divide_the_batch(batch_size, devices):
  mesh = make_mesh(batch_size)
  assert mesh.devices.shape == (devices, 1, 1)
