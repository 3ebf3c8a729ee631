"""The two sides of the adversarial task, each by hand: who is trained by what, with what weight."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxt2i import metrics
from jaxt2i.errors import UsageError
from jaxt2i.models.autoencoders import ConvDecoder, ConvEncoder, ViTDecoder, ViTEncoder
from jaxt2i.models.diffaugment import DiffAugment
from jaxt2i.models.discriminator import Discriminator
from jaxt2i.models.quantizers import FSQ
from jaxt2i.models.vqvae import VQVAE, to_float
from jaxt2i.tasks.adversarial import AdversarialTask
from jaxt2i.tasks.tokenizer import TokenizerTask
from tests.arrays import integers, normal, random_params

SIZE, RATE, DECAY = 16, 0.1, 0.9
KEY = jax.random.key(3)
IMAGE = integers(0, 0, 256, 4, SIZE, SIZE, 3).astype(jnp.uint8)
REAL, FAKE = to_float(IMAGE), 0.5 * normal(1, 4, SIZE, SIZE, 3)
WEIGHT = jnp.array([1.0, 1.0, 1.0, 0.0])
NETWORKS = {
  "conv": (ConvEncoder((8,), 1, 4), ConvDecoder((8,), 1, 4)),
  "vit": (ViTEncoder(4, 16, 1, 2), ViTDecoder(4, 16, 1, 2)),
}


def task_of(network="conv", **changes):
  encoder, decoder = NETWORKS[network]
  options = {
    "tokenizer": TokenizerTask(VQVAE(encoder, FSQ((5, 4, 3)), decoder), 0.1, 0.0),
    "discriminator": Discriminator(width=4, layers=1),
    "optimizer": optax.sgd(RATE),
    "augment": DiffAugment(1.0, 0.125, 0.5),
    "weight": 0.5,
    "start_step": 4,
    "discriminator_warmup": 2,
    "max_adaptive_weight": 10.0,
    "lecam_weight": 0.3,
    "lecam_decay": DECAY,
  }
  return AdversarialTask(**options | changes)


@functools.cache
def adversary():
  params = random_params(task_of().discriminator, REAL)
  lecam = {"real": jnp.array(0.4), "fake": jnp.array(-0.2)}
  return {"params": params, "opt_state": optax.sgd(RATE).init(params), "lecam": lecam}


@functools.cache
def discriminated():
  run = jax.jit(task_of().discriminate)
  return run(adversary(), REAL, FAKE, WEIGHT, KEY)


@functools.cache
def logits():
  """Of the changed images, [4, h, w] float64."""
  task = task_of()
  judge = jax.jit(
    lambda params, x: task.discriminator.apply({"params": params}, task.augment(KEY, x))
  )
  return [np.asarray(judge(adversary()["params"], x), np.float64) for x in (REAL, FAKE)]


def test_init_adds_the_adversary_and_leaves_the_tokenizer_as_it_is_alone():
  task = task_of()
  batch = {"image": np.asarray(IMAGE)}
  variables = jax.jit(task.init)(KEY, batch)
  assert set(variables) == {"params", "adversary"}
  assert set(variables["adversary"]) == {"params", "opt_state", "lecam"}
  assert variables["adversary"]["lecam"] == {"real": 0.0, "fake": 0.0}
  alone = jax.jit(task.tokenizer.init)(KEY, batch)["params"]
  jax.tree.map(np.testing.assert_array_equal, variables["params"], alone)


@pytest.mark.parametrize("network", NETWORKS)
def test_loss_is_that_of_the_tokenizer_alone_and_the_image_its_reconstruction(network):
  task = task_of(network)
  params = {"params": random_params(task.model, REAL, train=False)}
  batch = {"image": IMAGE, "weight": WEIGHT}
  with_adversary = {**params, "adversary": adversary()}
  ours = jax.jit(lambda v: task.loss(v, batch, KEY, train=True))(with_adversary)
  alone = jax.jit(lambda v: task.tokenizer.loss(v, batch, KEY, train=True))(params)
  np.testing.assert_array_equal(ours.loss, alone.loss)
  np.testing.assert_array_equal(
    ours.image, jax.jit(lambda v: task.model.apply(v, REAL, train=True).image)(params)
  )


@pytest.mark.parametrize("network", NETWORKS)
def test_adaptive_weight_is_taken_at_the_layer_that_makes_the_pixels(network):
  task = task_of(network, max_adaptive_weight=1e3)
  zeros = jax.tree.map(jnp.zeros_like, random_params(task.model, REAL, train=False))
  stem = zeros["decoder"]["stem"]["kernel"]
  assert stem.shape[-1] == 3 * 4**2

  def with_stem(value, elsewhere):
    other = jax.tree.map(lambda x: x + elsewhere, zeros)
    return {**other, "decoder": {**other["decoder"], "stem": {"kernel": stem + value}}}

  weight = task.adaptive_weight(with_stem(6.0, 50.0), with_stem(2.0, 0.1))
  np.testing.assert_allclose(weight, 3.0, rtol=1e-5)


def test_deceive_is_the_gradient_of_the_mean_of_minus_the_logits():
  task = task_of()
  gradient, mean = jax.jit(task.deceive)(adversary(), FAKE, WEIGHT, KEY)
  expected = -np.mean(logits()[1], axis=(1, 2))
  np.testing.assert_allclose(mean.compute(), np.mean(expected[:3]), rtol=1e-5)
  assert np.all(gradient[3] == 0)  # padding
  assert np.all(np.abs(gradient[:3]).max(axis=(1, 2, 3)) > 1e-4)
  # A step along it, small enough for few leaky ReLUs to switch, changes the mean as it says.
  step = 1e-2 * gradient / jnp.max(jnp.abs(gradient))
  after, before = (
    float(jax.jit(task.deceive)(adversary(), FAKE + sign * step, WEIGHT, KEY)[1].compute())
    for sign in (0.5, -0.5)
  )
  np.testing.assert_allclose(after - before, np.vdot(gradient, step), rtol=0.02)


def test_metrics_of_the_discriminator_equal_numpy():
  real, fake = (x[:3] for x in logits())  # the fourth weighs nothing
  expected = {
    "d_loss": np.mean(np.maximum(0, 1 - real)) + np.mean(np.maximum(0, 1 + fake)),
    "lecam": np.mean((real + 0.2) ** 2) + np.mean((fake - 0.4) ** 2),
    "d_real": np.mean(real),
    "d_fake": np.mean(fake),
    "d_accuracy": (np.mean(real > 0) + np.mean(fake < 0)) / 2,
  }
  found = metrics.compute(discriminated()[1])
  assert found.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_allclose(found[name], value, rtol=1e-4, err_msg=name)


def test_lecam_averages_follow_their_formula():
  real, fake = (x[:3] for x in logits())
  lecam = discriminated()[0]["lecam"]
  np.testing.assert_allclose(lecam["real"], DECAY * 0.4 + (1 - DECAY) * real.mean(), rtol=1e-4)
  np.testing.assert_allclose(lecam["fake"], DECAY * -0.2 + (1 - DECAY) * fake.mean(), rtol=1e-4)


def test_the_discriminator_descends_hinge_and_lecam():
  task = task_of()

  def by_hand(params):
    real, fake = (
      task.discriminator.apply({"params": params}, task.augment(KEY, x))[:3] for x in (REAL, FAKE)
    )
    hinge = jnp.mean(jnp.maximum(0, 1 - real)) + jnp.mean(jnp.maximum(0, 1 + fake))
    return hinge + 0.3 * (jnp.mean((real + 0.2) ** 2) + jnp.mean((fake - 0.4) ** 2))

  before = adversary()["params"]
  gradients = jax.jit(jax.grad(by_hand))(before)
  expected = jax.tree.map(lambda p, g: p - RATE * g, before, gradients)
  after = discriminated()[0]["params"]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), after, expected)
  for path, g in jax.tree_util.tree_leaves_with_path(gradients):
    assert np.abs(g).max() > 1e-3, jax.tree_util.keystr(path)


def test_an_adversary_alone_with_a_fixed_tokenizer_learns_to_tell():
  task = task_of(optimizer=optax.adam(3e-3), augment=DiffAugment(0.0, 0.0, 0.0), lecam_weight=0.0)
  state = jax.jit(task.init)(KEY, {"image": np.asarray(IMAGE)})["adversary"]
  run = jax.jit(task.discriminate)
  for _ in range(40):
    state, means = run(state, REAL, FAKE, jnp.ones(4), KEY)
  found = metrics.compute(means)
  assert found["d_accuracy"] > 0.9
  assert found["d_real"] > 0 > found["d_fake"]


def test_fakes_get_no_gradient_from_the_discriminator():
  task = task_of()
  loss = lambda fake: task.discriminate(adversary(), REAL, fake, WEIGHT, KEY)[1]["d_loss"].compute()
  assert np.all(jax.jit(jax.grad(loss))(FAKE) == 0)


def test_a_task_is_hashable_as_static_arguments_have_to_be():
  optimizer = optax.sgd(RATE)
  one, other = task_of(optimizer=optimizer), task_of(optimizer=optimizer)
  assert len({one, other, task_of(optimizer=optimizer, weight=0.7)}) == 2


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"weight": -0.5}, "weight is -0.5: must be above 0"),
    ({"weight": float("nan")}, "weight is nan: must be above 0"),
    ({"max_adaptive_weight": 0.0}, "max_adaptive_weight is 0.0: must be above 0"),
    ({"lecam_weight": -1.0}, "lecam_weight is -1.0: must be 0 or more"),
    ({"lecam_decay": 1.0}, "lecam_decay is 1.0: must be from 0 to below 1"),
    ({"discriminator_warmup": 5}, "discriminator_warmup is 5: must be from 0 to start_step (4)"),
    ({"discriminator_warmup": -1}, "discriminator_warmup is -1: must be from 0 to start_step"),
  ],
)
def test_numbers_without_a_meaning_are_refused(changes, message):
  with pytest.raises(UsageError, match=re.escape(f"config.adversarial.{message}")):
    task_of(**changes)
