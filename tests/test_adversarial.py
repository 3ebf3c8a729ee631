"""The adversarial step: its phases, who moves by what, the same run after a restart, one config."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxt2i
from jaxt2i import checkpoints, experiment, metrics
from jaxt2i.adversarial import make_adversarial_step
from jaxt2i.checkpoints import Checkpoints
from jaxt2i.errors import UsageError
from jaxt2i.models.discriminator import adaptive_weight
from jaxt2i.models.vqvae import to_float
from jaxt2i.sharding import MeshOptions, make_mesh, replicated
from jaxt2i.state import TrainState
from jaxt2i.step import make_train_step
from jaxt2i.tasks.adversarial import AdversarialTask
from jaxt2i.tasks.tokenizer import TokenizerTask
from jaxt2i.window import NORMS
from tests.arrays import integers
from tests.runs import config, metrics_of, train
from tests.tasks.test_adversarial import IMAGE, WEIGHT, task_of

ADAM = optax.adam(1e-2)
OPTIONS = {"ema_decay": 0.9, "seed": 5}
OF_THE_DISCRIMINATOR = {"d_loss", "d_real", "d_fake", "d_accuracy", "lecam"}
OF_THE_TERM = {"adversarial", "adaptive_weight"}


def batch_of(number):
  image = np.asarray(integers(10 + number, 0, 256, *IMAGE.shape), np.uint8)
  return {"image": image, "weight": np.asarray(WEIGHT)}


def numbers_of(line) -> dict[str, float]:
  return metrics.compute({name: metric for name, metric in line.items() if name != NORMS})


@functools.cache
def task(start_step=2, discriminator_warmup=1):
  return task_of(
    start_step=start_step, discriminator_warmup=discriminator_warmup, optimizer=optax.adam(1e-2)
  )


def fresh(task, optimizer=ADAM, mesh=None):
  variables = jax.jit(task.init)(jax.random.key(0), batch_of(0))
  state = TrainState.create(variables, optimizer)
  return jax.device_put(state, replicated(mesh or make_mesh(4)))


@functools.cache
def step_of(start_step=2, discriminator_warmup=1):
  return make_adversarial_step(
    task(start_step, discriminator_warmup), ADAM, mesh=make_mesh(4), **OPTIONS
  )


@functools.cache
def plain_step():
  return make_train_step(task().tokenizer, ADAM, mesh=make_mesh(4), **OPTIONS)


def on_host(tree):
  return jax.tree.map(lambda x: np.array(x), tree)


@functools.cache
def history(steps=4):
  """States on the host after 0, 1, … steps, and the metrics of each step."""
  state, step = fresh(task()), step_of()
  states, lines = [on_host(state)], []
  for number in range(steps):
    state, line = step(state, batch_of(number))
    states.append(on_host(state))
    lines.append(numbers_of(line))
  return states, lines


def equal(a, b):
  """Bit for bit, signs of zeros included."""
  leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  return all(x.tobytes() == y.tobytes() for x, y in leaves)


def moved(before, after):
  leaves = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
  return [not np.array_equal(x, y) for x, y in leaves]


# --- the schedule ---


def test_phases_log_what_they_train():
  _, lines = history()
  assert not (OF_THE_DISCRIMINATOR | OF_THE_TERM) & lines[0].keys()
  assert lines[1].keys() >= OF_THE_DISCRIMINATOR
  assert not OF_THE_TERM & lines[1].keys()
  for line in lines[2:]:
    assert line.keys() >= OF_THE_DISCRIMINATOR | OF_THE_TERM
  assert all(np.isfinite(value) for line in lines for value in line.values())


def test_the_adversary_rests_until_its_first_step_and_moves_as_a_whole_after():
  states, _ = history()
  of = [state.collections["adversary"] for state in states]
  assert equal(of[0], of[1])
  for before, after in itertools.pairwise(of[1:]):
    assert all(moved(before["params"], after["params"]))
    assert all(moved(before["lecam"], after["lecam"]))
  counts = [int(optax.tree.get(adversary["opt_state"], "count")) for adversary in of]
  assert counts == [0, 0, 1, 2, 3]  # its own steps


def test_before_the_start_the_tokenizer_learns_as_it_does_alone_bit_for_bit():
  states, lines = history()
  plain, step = fresh(task().tokenizer), plain_step()
  for number in range(3):
    plain, line = step(plain, batch_of(number))
    ours, alone = states[number + 1], on_host(plain)
    same = [
      equal(getattr(ours, name), getattr(alone, name))
      for name in ("params", "ema_params", "opt_state")
    ]
    # Step 0 rests, step 1 warms up, step 2 is the first with the term.
    assert same == [number < 2] * 3
    if number < 2:
      alone = numbers_of(line)
      assert {name: lines[number][name] for name in alone} == alone


def test_without_a_warm_up_both_sides_begin_at_once():
  state, line = step_of(0, 0)(fresh(task(0, 0)), batch_of(0))
  assert line.keys() >= OF_THE_DISCRIMINATOR | OF_THE_TERM
  assert int(state.step) == 1


# --- who moves by what ---


def by_hand(state, batch, key, generator_key):
  """Gradient of reconstruction + weight · λ · adversarial, by two plain backward passes."""
  what = task()
  adversary = state.collections["adversary"]
  x = to_float(jnp.asarray(batch["image"]))

  def reconstruction(params):
    return what.tokenizer.loss({"params": params}, batch, key, train=True).loss

  def adversarial(params):
    image = what.model.apply({"params": params}, x, train=True).image
    judged = what.augment(generator_key, image)
    logits = what.discriminator.apply({"params": adversary["params"]}, judged)
    return -jnp.sum(WEIGHT * jnp.mean(logits, axis=(1, 2))) / jnp.sum(WEIGHT)

  of_loss, of_term = jax.grad(reconstruction)(state.params), jax.grad(adversarial)(state.params)
  ends = [tree["decoder"]["stem"]["kernel"] for tree in (of_loss, of_term)]
  scale = adaptive_weight(*ends, what.max_adaptive_weight)
  total = jax.tree.map(lambda a, b: a + what.weight * scale * b, of_loss, of_term)
  return total, scale, adversarial(state.params)


def gradients_in(before, after):
  """What Adam was given, from its first moment m ← 0.9 m + 0.1 g."""
  mu = [optax.tree.get(state.opt_state, "mu") for state in (before, after)]
  return jax.tree.map(lambda m, n: (n - 0.9 * m) / 0.1, *mu)


def test_the_tokenizer_descends_its_loss_and_the_weighted_term():
  states, lines = history()
  before, after, found = states[2], states[3], lines[2]  # the first step with the term
  key = jax.random.fold_in(jax.random.key(OPTIONS["seed"]), 2)
  gradients, scale, term = jax.jit(by_hand)(before, batch_of(2), key, jax.random.split(key)[0])
  np.testing.assert_allclose(found["adaptive_weight"], scale, rtol=1e-3)
  np.testing.assert_allclose(found["adversarial"], term, rtol=1e-3)
  np.testing.assert_allclose(found["gradient_norm"], optax.tree.norm(gradients), rtol=1e-3)
  assert 0.01 < float(scale) < 10  # not capped: the ratio itself
  largest = max(np.abs(g).max() for g in jax.tree.leaves(gradients))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3 * largest),
    gradients_in(before, after),
    gradients,
  )
  assert all(moved(before.params, after.params))


def test_the_discriminator_descends_its_own_loss_of_what_the_tokenizer_made():
  states, _ = history()
  what, before = task(), states[2]
  key = jax.random.fold_in(jax.random.key(OPTIONS["seed"]), 2)

  @jax.jit
  def alone(state, batch):
    real = to_float(batch["image"])
    fake = what.model.apply({"params": state.params}, real, train=True).image
    adversary = state.collections["adversary"]
    return what.discriminate(adversary, real, fake, batch["weight"], jax.random.split(key)[1])[0]

  # The step's adversary is that of a program that knows no term of the tokenizer's.
  expected, ours = alone(before, batch_of(2)), states[3].collections["adversary"]
  for name in ("params", "lecam"):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), ours[name], expected[name]
    )


def test_a_discriminator_that_says_nothing_leaves_numbers_finite():
  # Its last layer at 0 gives the image no gradient: λ divides by 0 + ε.
  state = fresh(task(0, 0))
  adversary = dict(state.collections["adversary"])
  adversary["params"] = jax.tree.map(jnp.zeros_like, adversary["params"])
  state = state.replace(collections={**state.collections, "adversary": adversary})
  state, line = step_of(0, 0)(state, batch_of(0))
  found = numbers_of(line)
  assert found["adaptive_weight"] == task().max_adaptive_weight
  assert found["adversarial"] == found["d_real"] == found["d_fake"] == 0
  assert found["d_loss"] == 2
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(on_host(state)))


def test_the_given_state_is_donated():
  state = fresh(task(0, 0))
  step_of(0, 0)(state, batch_of(0))
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.collections["adversary"]))


def test_two_devices_learn_what_one_learns():
  mesh = make_mesh(1, MeshOptions(data=1))
  one = make_adversarial_step(task(0, 0), ADAM, mesh=mesh, **OPTIONS)
  results = []
  for step, where in ((one, mesh), (step_of(0, 0), make_mesh(4))):
    state = fresh(task(0, 0), mesh=where)
    before = on_host(state)
    state, line = step(state, batch_of(0))
    after = on_host(state)
    adversary = after.collections["adversary"]
    moments = optax.tree.get(adversary["opt_state"], "mu")
    results.append((numbers_of(line), gradients_in(before, after), moments, adversary["lecam"]))
  close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5)
  jax.tree.map(close, results[1], results[0])


# --- on disk ---


def test_a_restart_in_every_phase_ends_in_the_same_bits(tmp_path):
  expected = history()[0][4]
  abstract = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated(make_mesh(4))),
    fresh(task()),
  )
  state = fresh(task())
  for number in range(4):
    state, _ = step_of()(state, batch_of(number))
    with Checkpoints(tmp_path, keep=1) as saved:
      saved.save(number + 1, state)
    with Checkpoints(tmp_path, keep=1) as saved:
      state = saved.restore(abstract)
  assert jax.tree.structure(state) == jax.tree.structure(expected)
  assert equal(on_host(state), expected)


@pytest.fixture(scope="module")
def adversarial_run(tmp_path_factory):
  """The workdir of a tokenizer after two steps against a discriminator."""
  changes = {"adversarial.weight": 0.5}
  return train(tmp_path_factory.mktemp("adversarial"), "vqvae:ema,shapes,tiny", **changes)


def test_a_tiny_run_logs_both_sides_and_saves_them(adversarial_run):
  lines = [line for line in metrics_of(adversarial_run) if "loss" in line]
  assert [line["step"] for line in lines] == [1, 2]
  for line in lines:
    assert line.keys() >= OF_THE_DISCRIMINATOR | OF_THE_TERM
    assert 0 < line["adaptive_weight"] <= 1
  _, arrays = checkpoints.read_arrays(adversarial_run, ("collections",))
  assert set(arrays["collections"]) == {"codebook", "adversary"}
  train(adversarial_run, "vqvae:ema,shapes,tiny", **{"adversarial.weight": 0.5})  # restored


def test_the_discriminator_stays_with_its_run(adversarial_run):
  assert set(jaxt2i.load(adversarial_run).tokenizer_variables) == {"params", "codebook"}
  prior = experiment.make(config("prior:shapes,tiny", tokenizer=str(adversarial_run)))
  assert set(prior.init(jax.random.key(0))["frozen"]) == {"params", "codebook"}


# --- config ---


def test_weight_0_creates_nothing():
  what = experiment.make(config("vqvae:ema,shapes,tiny"))
  assert isinstance(what.task, TokenizerTask)
  shapes = jax.eval_shape(lambda: what.task.init(jax.random.key(0), what.example()))
  assert set(shapes) == {"params", "codebook"}
  on = experiment.make(config("vqvae:ema,shapes,tiny", **{"adversarial.weight": 0.1}))
  assert isinstance(on.task, AdversarialTask)
  assert on.task.tokenizer == what.task


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"weight": -1.0}, "config.adversarial.weight is -1.0: must be above 0."),
    ({"discriminator.layers": 3}, "layers is 3, which judges patches of 70 pixels a side"),
    ({"start_step": 2}, "config.adversarial.start_step is 2: must be below config.loop.num_steps"),
    ({"discriminator_warmup": 2}, "discriminator_warmup is 2: must be from 0 to start_step (0)."),
    ({"augment.cutout": 2.0}, "augment.cutout is 2.0: must be from 0 to 1."),
  ],
)
def test_options_that_cannot_work_are_refused_in_one_line(changes, message):
  changes = {f"adversarial.{name}": value for name, value in changes.items()}
  chosen = config("vqvae:shapes,tiny", **{"adversarial.weight": 0.5} | changes)
  with pytest.raises(UsageError) as error:
    experiment.make(chosen)
  assert message in str(error.value)
  assert "\n" not in str(error.value)
