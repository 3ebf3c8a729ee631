"""The prior's loss by hand from its logits; which captions it sees; what it leaves alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i import metrics
from jaxt2i.models.prior import PAD, Prior
from jaxt2i.tasks.prior import PriorTask
from tests.arrays import integers, random_params

K, GRID, VOCAB = 13, (2, 2), 9
MODEL = Prior(K, GRID, VOCAB, width=16, layers=1, heads=2, text_layers=1, dropout=0.0)
TOKENS = integers(0, 0, K, 4, *GRID)
TEXT = jnp.array([[3, 5, PAD], [7, PAD, PAD], [2, 4, 8], [1, 1, PAD]])
BATCH = {"tokens": TOKENS, "text": TEXT}


@functools.cache
def variables():
  return {"params": random_params(MODEL, TOKENS.reshape(4, -1), TEXT, train=False)}


@functools.partial(jax.jit, static_argnums=0, static_argnames="train")
def loss_of(task, variables, batch, key=None, *, train=True):
  return task.loss(variables, batch, jax.random.key(0) if key is None else key, train=train)


@functools.cache
def nll_of(empty):
  """−log p of every token [4, 4], from the logits, in float64."""
  text = jnp.zeros_like(TEXT) if empty else TEXT
  forward = jax.jit(lambda text: MODEL.apply(variables(), TOKENS.reshape(4, -1), text, train=False))
  logits = np.asarray(forward(text), np.float64)
  log_p = logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
  picked = [
    [-log_p[b, n, token] for n, token in enumerate(row)]
    for b, row in enumerate(np.asarray(TOKENS.reshape(4, -1)))
  ]
  return np.array(picked), -log_p


def test_init_makes_parameters_only():
  batch = {name: np.asarray(value) for name, value in BATCH.items()}
  shapes = jax.eval_shape(lambda: PriorTask(MODEL, 0.1, 0.0).init(jax.random.key(0), batch))
  assert set(shapes) == {"params"}
  assert jax.tree.map(lambda x: x.shape, shapes["params"]) == jax.tree.map(
    lambda x: x.shape, variables()["params"]
  )


@pytest.mark.parametrize("train", [False, True])
def test_loss_is_the_mean_of_minus_log_p_in_nats(train):
  out = loss_of(PriorTask(MODEL, 0.0, 0.0), variables(), BATCH, train=train)
  expected = np.mean(nll_of(empty=False)[0])
  assert out.loss.shape == ()
  np.testing.assert_allclose(out.loss, expected, rtol=1e-5)
  means = metrics.compute(out.metrics)
  np.testing.assert_allclose([means["loss"], means["nll"]], expected, rtol=1e-5)
  assert out.updates == {}


def test_label_smoothing_is_the_mixture_with_the_uniform_distribution():
  smoothing = 0.2
  out = loss_of(PriorTask(MODEL, 0.0, smoothing), variables(), BATCH, train=True)
  nll, all_nll = nll_of(empty=False)
  # Cross-entropy against the smoothed target itself, written out.
  target = np.full((4, 4, K), smoothing / K)
  for (b, n), token in np.ndenumerate(np.asarray(TOKENS.reshape(4, -1))):
    target[b, n, token] += 1 - smoothing
  np.testing.assert_allclose(out.loss, np.mean(np.sum(target * all_nll, axis=-1)), rtol=1e-5)
  # The metric stays comparable, and evaluation does not smooth.
  np.testing.assert_allclose(metrics.compute(out.metrics)["nll"], np.mean(nll), rtol=1e-5)
  evaluated = loss_of(PriorTask(MODEL, 0.0, smoothing), variables(), BATCH, train=False)
  np.testing.assert_allclose(evaluated.loss, np.mean(nll), rtol=1e-5)


def test_condition_dropout_of_1_is_the_empty_caption():
  out = loss_of(PriorTask(MODEL, 1.0, 0.0), variables(), BATCH, train=True)
  np.testing.assert_allclose(out.loss, np.mean(nll_of(empty=True)[0]), rtol=1e-5)
  assert abs(np.mean(nll_of(empty=True)[0]) - np.mean(nll_of(empty=False)[0])) > 1e-3
  # Not in evaluation.
  evaluated = loss_of(PriorTask(MODEL, 1.0, 0.0), variables(), BATCH, train=False)
  np.testing.assert_allclose(evaluated.loss, np.mean(nll_of(empty=False)[0]), rtol=1e-5)


def test_condition_dropout_drops_whole_captions_as_often_as_asked():
  with_words, without = (np.mean(nll_of(empty)[0], axis=1) for empty in (False, True))
  task = PriorTask(MODEL, 0.3, 0.0)

  @jax.jit
  def per_image(key):
    """The loss of each image: a weight of 1 for it alone, with the same key."""
    return jax.vmap(
      lambda weight: task.loss(variables(), BATCH | {"weight": weight}, key, train=True).loss
    )(jnp.eye(4))

  keys = jax.random.split(jax.random.key(0), 100)
  losses = np.asarray(jax.lax.map(per_image, keys))  # [100, 4]
  dropped = np.abs(losses - without) < 1e-4
  kept = np.abs(losses - with_words) < 1e-4
  assert np.all(dropped ^ kept)  # all of a caption or nothing of it
  # 400 draws: 3.5 standard deviations are 0.08.
  assert abs(np.mean(dropped) - 0.3) < 0.08
  assert len({tuple(row) for row in dropped}) > 5  # each image for itself
  np.testing.assert_array_equal(losses[:2], [per_image(key) for key in keys[:2]])


def test_rows_of_weight_0_do_not_count_and_weights_weigh():
  task = PriorTask(MODEL, 0.0, 0.0)
  per_image = np.mean(nll_of(empty=False)[0], axis=1)
  weight = np.array([1.0, 0.5, 0.0, 0.0], np.float32)
  out = loss_of(task, variables(), BATCH | {"weight": jnp.asarray(weight)}, train=False)
  expected = np.sum(weight * per_image) / 1.5
  np.testing.assert_allclose(out.loss, expected, rtol=1e-5)
  for mean in out.metrics.values():
    np.testing.assert_allclose(mean.weight, 1.5)
    np.testing.assert_allclose(mean.compute(), expected, rtol=1e-5)


def test_padding_gives_no_gradient():
  task = PriorTask(MODEL, 0.0, 0.0)
  gradient = jax.jit(
    jax.grad(lambda v, batch: task.loss(v, batch, jax.random.key(0), train=False).loss)
  )
  padded = gradient(variables(), BATCH | {"weight": jnp.array([1.0, 1.0, 0.0, 0.0])})
  alone = gradient(variables(), {"tokens": TOKENS[:2], "text": TEXT[:2]})
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), padded, alone)


def test_metrics_of_batches_add_up_to_those_of_the_whole():
  task = PriorTask(MODEL, 0.0, 0.0)
  parts = [
    loss_of(
      task,
      variables(),
      {"tokens": TOKENS[rows], "text": TEXT[rows], "weight": jnp.asarray(weight)},
      train=False,
    ).metrics
    # 3 images, then 1 with padding: a mean of the two means would be another number.
    for rows, weight in ((np.array([0, 1, 2]), np.ones(3)), (np.array([3, 3, 3]), np.eye(3)[0]))
  ]
  merged = metrics.compute(metrics.merge(*parts))
  expected = np.mean(nll_of(empty=False)[0])
  np.testing.assert_allclose([merged["nll"], merged["loss"]], expected, rtol=1e-5)


def test_frozen_collections_are_neither_used_nor_learnt():
  task = PriorTask(MODEL, 0.1, 0.0)
  frozen = {"params": {"decoder": jnp.full((2, 2), jnp.nan)}}

  @jax.jit
  @functools.partial(jax.value_and_grad, has_aux=True)
  def run(v):
    out = task.loss(v, BATCH, jax.random.key(0), train=True)
    return out.loss, out.updates

  (loss, updates), gradient = run({**variables(), "frozen": frozen})
  (without, _), _ = run(variables())
  assert updates == {}
  np.testing.assert_array_equal(loss, without)
  assert np.all(gradient["frozen"]["params"]["decoder"] == 0)


def test_dropout_and_dropped_captions_follow_the_key():
  task = PriorTask(MODEL.copy(dropout=0.5), 0.0, 0.0)
  first, again, other = (
    float(loss_of(task, variables(), BATCH, jax.random.key(seed), train=True).loss)
    for seed in (0, 0, 1)
  )
  assert first == again
  assert first != other
  evaluated = [
    float(loss_of(task, variables(), BATCH, jax.random.key(seed), train=False).loss)
    for seed in (0, 1)
  ]
  assert evaluated[0] == evaluated[1]
