"""The prior's loss by hand from its logits; which captions it sees; what it leaves alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxt2i import metrics
from jaxt2i.errors import UsageError
from jaxt2i.models.autoregressive import AutoregressivePrior
from jaxt2i.models.masked import MaskedPrior
from jaxt2i.models.text import PAD
from jaxt2i.tasks.prior import AutoregressiveTask, MaskedTask, blanked_evenly
from tests.arrays import integers, random_params
from tests.priors import small

K, GRID, VOCAB = 13, (2, 2), 9
MODEL = small(AutoregressivePrior, K, GRID, VOCAB)
TOKENS = integers(0, 0, K, 4, *GRID)
TEXT = jnp.array([[3, 5, PAD], [7, PAD, PAD], [2, 4, 8], [1, 1, PAD]])
BATCH = {"tokens": TOKENS, "text": TEXT}


def task_of(model=MODEL, condition_dropout=0.0, label_smoothing=0.0, **changes):
  options = {"token_dropout": 0.0, "token_replacement": 0.0, "random_order_steps": 0} | changes
  return AutoregressiveTask(model, condition_dropout, label_smoothing, **options)


PLAIN = task_of()
ALL = task_of(condition_dropout=1.0, label_smoothing=0.2, token_dropout=1.0, token_replacement=0.5)


@functools.cache
def variables():
  return {"params": random_params(MODEL, TOKENS.reshape(4, -1), TEXT, train=False)}


@functools.partial(jax.jit, static_argnums=0, static_argnames="train")
def _loss(task, variables, batch, key, *, train):
  return task.loss(variables, batch, key, train=train)


def loss_of(task, batch, *, seed=0, train):
  return _loss(task, variables(), batch, jax.random.key(seed), train=train)


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
  shapes = jax.eval_shape(lambda: PLAIN.init(jax.random.key(0), batch))
  assert set(shapes) == {"params"}
  assert jax.tree.map(lambda x: x.shape, shapes["params"]) == jax.tree.map(
    lambda x: x.shape, variables()["params"]
  )


def check(out, expected):
  assert out.loss.shape == ()
  np.testing.assert_allclose(out.loss, expected, rtol=1e-5)
  means = metrics.compute(out.metrics)
  np.testing.assert_allclose([means["loss"], means["nll"]], expected, rtol=1e-5)
  assert out.updates == {}


def test_loss_is_the_mean_of_minus_log_p_in_nats():
  check(loss_of(PLAIN, BATCH, train=True), np.mean(nll_of(empty=False)[0]))


def test_evaluation_neither_drops_nor_smooths():
  check(loss_of(ALL, BATCH, train=False), np.mean(nll_of(empty=False)[0]))


def test_condition_dropout_of_1_is_the_empty_caption():
  out = loss_of(task_of(condition_dropout=1.0), BATCH, train=True)
  check(out, np.mean(nll_of(empty=True)[0]))
  assert abs(np.mean(nll_of(empty=True)[0]) - np.mean(nll_of(empty=False)[0])) > 1e-3


def test_label_smoothing_is_the_mixture_with_the_uniform_distribution():
  smoothing = 0.2
  out = loss_of(task_of(label_smoothing=smoothing), BATCH, train=True)
  nll, all_nll = nll_of(empty=False)
  # Cross-entropy against the smoothed target itself, written out.
  target = np.full((4, 4, K), smoothing / K)
  for (b, n), token in np.ndenumerate(np.asarray(TOKENS.reshape(4, -1))):
    target[b, n, token] += 1 - smoothing
  np.testing.assert_allclose(out.loss, np.mean(np.sum(target * all_nll, axis=-1)), rtol=1e-5)
  # The metric stays comparable.
  np.testing.assert_allclose(metrics.compute(out.metrics)["nll"], np.mean(nll), rtol=1e-5)


def test_condition_dropout_drops_whole_captions_as_often_as_asked():
  with_words, without = (np.mean(nll_of(empty)[0], axis=1) for empty in (False, True))
  task = task_of(condition_dropout=0.3)

  def per_image(key):
    """The loss of each image: a weight of 1 for it alone, with the same key."""
    return jax.vmap(
      lambda weight: task.loss(variables(), BATCH | {"weight": weight}, key, train=True).loss
    )(jnp.eye(4))

  keys = jax.random.split(jax.random.key(0), 100)
  losses = np.asarray(jax.jit(jax.vmap(per_image))(keys))  # [100, 4]
  dropped = np.abs(losses - without) < 1e-4
  kept = np.abs(losses - with_words) < 1e-4
  assert np.all(dropped ^ kept)  # all of a caption or nothing of it
  # 400 draws: 3.5 standard deviations are 0.08.
  assert abs(np.mean(dropped) - 0.3) < 0.08
  assert len({tuple(row) for row in dropped}) > 5  # each image for itself


class Echo(AutoregressivePrior):
  """Sure of a token that it was shown; where one was blanked, says code 0 with probability 1/2."""

  def setup(self):
    pass

  def __call__(self, tokens, text, *, train):
    shown = 100 * jax.nn.one_hot(tokens, self.codebook_size)
    guess = jnp.log(self.codebook_size - 1.0) * jax.nn.one_hot(0, self.codebook_size)
    return jnp.where((tokens == self.blank)[..., None], guess[None, None], shown)


ECHO = small(Echo, K, GRID, VOCAB)


@pytest.mark.parametrize("share", [0.6, 1.0])
def test_token_dropout_blanks_any_number_of_tokens_and_predicts_them_all(share):
  task = task_of(ECHO, token_dropout=share)
  one = {"tokens": jnp.zeros((1, *GRID), jnp.int32), "text": TEXT[:1]}
  loss = lambda key, train: task.loss({"params": {}}, one, key, train=train).loss
  keys = jax.random.split(jax.random.key(0), 3000)
  losses = jax.jit(jax.vmap(lambda key: loss(key, True)))(keys)
  # Each blanked token costs log 2, as its target is still the 0 that it was.
  blanked = np.asarray(losses) * 4 / np.log(2)
  np.testing.assert_allclose(blanked, np.round(blanked), atol=1e-4)
  counts = np.bincount(np.round(blanked).astype(int), minlength=5)
  # A rate uniform in [0, 1] makes each number of 4 tokens equally probable.
  expected = 3000 * (share / 5 + (1 - share) * np.eye(5)[0])
  assert np.sum((counts - expected) ** 2 / expected) < stats.chi2.ppf(0.999, df=4)
  assert float(loss(keys[0], False)) == 0  # in training only


def test_token_dropout_blanks_each_image_for_itself():
  task = task_of(ECHO, token_dropout=1.0)
  run = lambda weight: task.loss(
    {"params": {}}, BATCH | {"weight": weight}, jax.random.key(0), train=True
  )
  losses = np.asarray(jax.jit(jax.vmap(lambda weight: run(weight).loss))(jnp.eye(4)))
  assert len(np.unique(np.round(losses, 3))) > 1


def test_token_replacement_shows_any_other_code():
  task = task_of(ECHO, token_replacement=0.3)
  one = {"tokens": jnp.zeros((1, *GRID), jnp.int32), "text": TEXT[:1]}
  loss = lambda key, train: task.loss({"params": {}}, one, key, train=train).loss
  keys = jax.random.split(jax.random.key(0), 3000)
  losses = np.asarray(jax.jit(jax.vmap(lambda key: loss(key, True)))(keys))
  replaced = losses * 4 / 100  # each costs the 100 nats by which another code is shown
  np.testing.assert_allclose(replaced, np.round(replaced), atol=1e-4)
  p = 0.3 * (K - 1) / K  # one in K is replaced by itself
  error = np.sqrt(p * (1 - p) / (4 * 3000))
  assert abs(np.mean(replaced) / 4 - p) < 4 * error
  assert len(np.unique(np.round(replaced))) > 3  # each token for itself
  assert float(loss(keys[0], False)) == 0  # in training only


def weighing(*weight):
  return {"weight": jnp.array(weight, jnp.float32)}


def test_rows_of_weight_0_do_not_count_and_weights_weigh():
  per_image = np.mean(nll_of(empty=False)[0], axis=1)
  out = loss_of(ALL, BATCH | weighing(1, 0.5, 0, 0), train=False)
  check(out, (per_image[0] + 0.5 * per_image[1]) / 1.5)
  for mean in out.metrics.values():
    np.testing.assert_allclose(mean.weight, 1.5)


def test_metrics_of_batches_add_up_to_those_of_the_whole():
  # 3 images, then 1 with padding: a mean of the two means would be another number.
  parts = []
  for rows, weight in (([0, 1, 2, 2], (1, 1, 1, 0)), ([3, 3, 3, 3], (1, 0, 0, 0))):
    batch = {name: value[np.array(rows)] for name, value in BATCH.items()}
    parts.append(loss_of(ALL, batch | weighing(*weight), train=False).metrics)
  merged = metrics.compute(metrics.merge(*parts))
  expected = np.mean(nll_of(empty=False)[0])
  np.testing.assert_allclose([merged["nll"], merged["loss"]], expected, rtol=1e-5)


@jax.jit
@functools.partial(jax.value_and_grad, has_aux=True)
def gradient_of(variables, batch):
  out = PLAIN.loss(variables, batch, jax.random.key(0), train=True)
  return out.loss, out.updates


FROZEN = {"params": {"decoder": jnp.full((2, 2), jnp.nan)}}


def test_padding_gives_no_gradient():
  everything = {**variables(), "frozen": FROZEN}
  gradient = lambda batch: jax.tree.map(np.asarray, gradient_of(everything, batch)[1]["params"])
  both, first, second = (
    gradient(BATCH | weighing(*w)) for w in ((1, 1, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0))
  )
  jax.tree.map(
    lambda ab, a, b: np.testing.assert_allclose(ab, (a + b) / 2, atol=1e-6), both, first, second
  )
  other = {"tokens": TOKENS.at[2:].set(0), "text": TEXT.at[2:].set(1)}
  changed = gradient(other | weighing(1, 1, 0, 0))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), both, changed)
  assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(both))


def test_frozen_collections_are_neither_used_nor_learnt():
  everything = {**variables(), "frozen": FROZEN}
  (loss, updates), gradient = gradient_of(everything, BATCH | weighing(1, 1, 1, 1))
  assert updates == {}
  np.testing.assert_allclose(loss, np.mean(nll_of(empty=False)[0]), rtol=1e-5)
  np.testing.assert_array_equal(gradient["frozen"]["params"]["decoder"], np.zeros((2, 2)))


def test_dropout_follows_the_key_and_is_off_in_evaluation():
  task = task_of(MODEL.copy(dropout=0.5))
  loss = lambda task, seed, train: float(loss_of(task, BATCH, seed=seed, train=train).loss)
  assert loss(task, 0, True) == loss(task, 0, True)
  assert loss(task, 0, True) != loss(task, 1, True)
  assert loss(ALL, 0, False) == loss(ALL, 1, False)


# --- masked ---

MASKED = small(MaskedPrior, K, GRID, VOCAB)


def masked_task(**options):
  return MaskedTask(MASKED, **(dict(condition_dropout=0.0, label_smoothing=0.0) | options))


class MaskedEcho(MaskedPrior):
  """Says the code that most visible tokens have, with probability 1/2; sure of what it is shown."""

  def setup(self):
    pass

  def __call__(self, tokens, text, *, train):
    blank = (tokens == self.blank)[..., None]
    shown = 100 * jax.nn.one_hot(tokens, self.codebook_size)
    guess = jnp.log(self.codebook_size - 1.0) * jax.nn.one_hot(0, self.codebook_size)
    return jnp.where(blank, guess[None, None], shown)


@pytest.mark.parametrize("train", [True, False])
def test_the_masked_loss_is_the_mean_over_what_is_to_be_guessed(train):
  echo = small(MaskedEcho, K, GRID, VOCAB)
  task = MaskedTask(echo, condition_dropout=0.0, label_smoothing=0.0)
  zeros = {"tokens": jnp.zeros((4, *GRID), jnp.int32), "text": TEXT}
  for seed in range(5):
    out = task.loss({"params": {}}, zeros, jax.random.key(seed), train=train)
    np.testing.assert_allclose(out.loss, np.log(2), rtol=1e-5)


def test_in_training_a_cosine_of_the_tokens_is_blanked():
  counts = jax.jit(lambda key: masked_task()._blanked(key, (4000, 8)).sum(axis=1))
  found = np.bincount(np.asarray(counts(jax.random.key(0))), minlength=9)
  # P(⌈8 cos(π u / 2)⌉ ≤ n) = 1 − (2/π) arccos(n / 8)
  below = 1 - 2 / np.pi * np.arccos(np.arange(9) / 8)
  expected = 4000 * np.diff(below)
  assert found[0] == 0
  assert np.sum((found[1:] - expected) ** 2 / expected) < stats.chi2.ppf(0.999, df=7)


def test_which_tokens_are_blanked_is_left_to_chance():
  blanked = np.asarray(
    jax.jit(lambda key: masked_task()._blanked(key, (4000, 8)))(jax.random.key(1))
  )
  share = blanked.mean(axis=0)
  np.testing.assert_allclose(share, share.mean(), atol=0.03)
  assert len(np.unique(blanked, axis=0)) > 200


def test_evaluation_blanks_every_number_of_tokens_equally_often():
  places = np.arange(10_000, 10_032, dtype=np.int32)
  batch = {"tokens": np.zeros((32, 1, 8), np.int32), "index": places}
  counts = np.asarray(
    blanked_evenly(jax.random.key(0), jax.tree.map(jnp.asarray, batch)).sum(axis=1)
  )
  for rows in (8, 16, 24, 32):  # so that few images have a mean of all numbers too
    found = np.bincount(counts[:rows], minlength=9)
    assert found[0] == 0
    assert np.all(np.abs(found[1:] - rows / 8) <= 1)


def test_what_is_blanked_in_evaluation_depends_on_the_image_alone():
  batch = {"tokens": np.zeros((9, 1, 8), np.int32), "index": np.arange(9, dtype=np.int32)}
  blank = np.asarray(blanked_evenly(jax.random.key(0), jax.tree.map(jnp.asarray, batch)))
  other = {name: x[5:] for name, x in batch.items()}
  np.testing.assert_array_equal(
    blank[5:], blanked_evenly(jax.random.key(0), jax.tree.map(jnp.asarray, other))
  )
  assert len(np.unique(blank, axis=0)) > 5


def test_masked_evaluation_is_the_nll_of_an_order_at_random():
  """The mean over numbers and sets of blanked tokens against all orders of two tokens by hand."""
  model = small(MaskedPrior, 3, (1, 2), VOCAB)
  tokens = jnp.array([[[2, 1]]])
  params = {"params": random_params(model, tokens.reshape(1, -1), TEXT[:1], train=False)}

  def log_p(seen):
    logits = np.asarray(model.apply(params, jnp.array([seen]), TEXT[:1], train=False), np.float64)
    return (logits - np.log(np.exp(logits).sum(-1, keepdims=True)))[0]

  nothing = log_p([3, 3])
  first_left = nothing[0, 2] + log_p([2, 3])[1, 1]
  first_right = nothing[1, 1] + log_p([3, 1])[0, 2]
  task = MaskedTask(model, condition_dropout=0.0, label_smoothing=0.0)
  batch = {"tokens": jnp.tile(tokens, (4000, 1, 1)), "text": jnp.tile(TEXT[:1], (4000, 1))}
  nll = task.loss(params, batch, jax.random.key(0), train=False).loss
  np.testing.assert_allclose(nll, -(first_left + first_right) / 4, rtol=0.03)


# --- random orders ---

ANY = MODEL.copy(any_order=True)


def any_task(steps=10):
  return task_of(ANY, random_order_steps=steps)


@pytest.mark.parametrize(("steps", "share"), [(0, 1.0), (3, 0.7), (10, 0.0), (99, 0.0)])
def test_orders_are_random_less_and_less(steps, share):
  orders = jax.jit(lambda key: any_task()._orders(key, 4000, jnp.asarray(steps)))
  found = np.asarray(orders(jax.random.key(0)))
  np.testing.assert_array_equal(np.sort(found, axis=1), np.tile(np.arange(4), (4000, 1)))
  # One in 24 random orders is raster order.
  assert np.mean(np.all(found == np.arange(4), axis=1)) == pytest.approx(
    1 - share * 23 / 24, abs=0.03
  )


def test_steps_are_counted_in_training_only():
  task = any_task()
  variables = task.init(jax.random.key(0), {k: np.asarray(v) for k, v in BATCH.items()})
  assert int(variables["order"]["steps"]) == 0
  run = jax.jit(
    lambda train: task.loss(variables, BATCH, jax.random.key(0), train=train), static_argnums=0
  )
  assert int(run(True).updates["order"]["steps"]) == 1
  evaluated = run(False)
  assert evaluated.updates == {}
  again = jax.jit(lambda: task.loss(variables, BATCH, jax.random.key(7), train=False))()
  np.testing.assert_array_equal(evaluated.loss, again.loss)  # raster order


def test_orders_want_a_model_that_knows_them():
  for model, steps in ((ANY, 0), (MODEL, 5)):
    with pytest.raises(UsageError, match=f"random_order_steps is {steps}: must be above 0 with"):
      task_of(model, random_order_steps=steps)
