"""Both kinds of prior recover a joint distribution of two tokens, and their samplers follow it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxt2i.models.autoregressive import AutoregressivePrior
from jaxt2i.models.masked import MaskedPrior
from jaxt2i.sampling import SamplingOptions, image_key
from jaxt2i.tasks.prior import AutoregressiveTask, MaskedTask
from tests.drawing import sample_text
from tests.priors import small

K = 4
PLAIN = dict(condition_dropout=0.0, label_smoothing=0.0)
TASKS = {
  "autoregressive": AutoregressiveTask(
    small(AutoregressivePrior, K, (1, 2), 3),
    token_dropout=0.0,
    token_replacement=0.0,
    random_order_steps=0,
    **PLAIN,
  ),
  "masked": MaskedTask(small(MaskedPrior, K, (1, 2), 3), **PLAIN),
}
# Of (first, second) under the captions 1 and 2: the one nearly diagonal, the other anything.
RNG = np.random.default_rng(0)
TRUTH = np.stack(
  [0.22 * np.eye(K) + 0.01 * (1 - np.eye(K)), RNG.dirichlet(np.ones(16)).reshape(4, 4)]
)
TRUTH /= TRUTH.sum(axis=(1, 2), keepdims=True)


def learn(task, steps=1500, batch=256):
  """Parameters after so many steps on draws from TRUTH, in one compiled loop."""
  optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, steps))
  logits = jnp.log(jnp.asarray(TRUTH, jnp.float32).reshape(2, -1))

  def batch_of(key):
    caption_key, pair_key = jax.random.split(key)
    caption = jax.random.bernoulli(caption_key, 0.5, (batch,)).astype(jnp.int32)
    pair = jax.random.categorical(pair_key, logits[caption]).astype(jnp.int32)
    tokens = jnp.stack([pair // K, pair % K], axis=1)[:, None]
    return {"tokens": tokens, "text": caption[:, None] + 1}

  def step(carry, key):
    params, state = carry
    data_key, loss_key = jax.random.split(key)
    loss = lambda p: task.loss({"params": p}, batch_of(data_key), loss_key, train=True).loss
    with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer power
      updates, state = optimizer.update(jax.grad(loss)(params), state, params)
    return (optax.apply_updates(params, updates), state), None

  @jax.jit
  def run():
    params = task.init(jax.random.key(0), batch_of(jax.random.key(1)))["params"]
    keys = jax.random.split(jax.random.key(2), steps)
    return jax.lax.scan(step, (params, optimizer.init(params)), keys)[0][0]

  return {"params": run()}


def conditional(task, variables, tokens, text):
  """log p at both positions [B, 2, K] of tokens as the prior sees them."""
  logits = jax.jit(lambda t, c: task.model.apply(variables, t, c, train=False))(tokens, text)
  return np.asarray(jax.nn.log_softmax(logits), np.float64)


@pytest.fixture(scope="module", params=TASKS)
def learnt(request):
  task = TASKS[request.param]
  return task, learn(task)


def joint(task, variables, caption, order=(0, 1)):
  """p [K, K] by the chain rule, in this order of positions."""
  text = jnp.full((K, 1), caption + 1, jnp.int32)
  first, second = order
  tokens = np.full((K, 2), task.model.blank)
  alone = conditional(task, variables, jnp.asarray(tokens[:1]), text[:1])[0, first]
  tokens[:, first] = np.arange(K)
  given = conditional(task, variables, jnp.asarray(tokens), text)[:, second]
  p = np.exp(alone[:, None] + given)
  return p if order == (0, 1) else p.T


def kl(truth, found):
  return float(np.sum(truth * np.log(truth / found)))


def test_the_true_joint_distribution_is_recovered(learnt):
  task, variables = learnt
  orders = [(0, 1), (1, 0)] if isinstance(task, MaskedTask) else [(0, 1)]
  for caption in (0, 1):
    for order in orders:
      assert kl(TRUTH[caption], joint(task, variables, caption, order)) < 0.01
  # It is the captions that make the difference.
  assert kl(TRUTH[0], TRUTH[1]) > 0.3


@pytest.mark.parametrize("steps", [1, 2])
def test_samples_follow_what_was_learnt(learnt, steps):
  task, variables = learnt
  masked = isinstance(task, MaskedTask)
  if not masked and steps == 1:
    return
  number = 4000
  keys = jax.vmap(image_key, (None, 0))(jnp.asarray(0), jnp.arange(number))
  text = jnp.full((number, 1), 1, jnp.int32)
  # With so much noise in the choice the order of the two is left to chance.
  options = SamplingOptions(steps=steps if masked else 0, choice_temperature=1e6)
  drawn = sample_text(task.model, variables, text, keys, options)
  pairs = np.asarray(drawn)[:, 0, 0] * K + np.asarray(drawn)[:, 0, 1]
  counts = np.bincount(pairs, minlength=K * K)
  p = joint(task, variables, 0)
  if masked and steps == 1:  # both at once: each for itself, however they belong together
    p = p.sum(axis=1)[:, None] * p.sum(axis=0)[None]
  elif masked:
    p = (p + joint(task, variables, 0, (1, 0))) / 2
  expected = number * p.reshape(-1) / p.sum()
  assert expected.min() > 5
  assert np.sum((counts - expected) ** 2 / expected) < stats.chi2.ppf(0.999, df=K * K - 1)
