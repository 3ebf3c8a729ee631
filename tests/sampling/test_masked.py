"""Masked decoding against a loop by hand; given tokens; what the number of steps means."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxt2i.errors import UsageError
from jaxt2i.models.masked import MaskedPrior
from jaxt2i.models.text import PAD
from jaxt2i.sampling import SamplingOptions, draw, image_key
from jaxt2i.sampling.masked import STEPS
from tests.arrays import integers, random_params
from tests.drawing import sample_text
from tests.priors import small

K, GRID, N = 16, (2, 3), 6
PRIOR = small(MaskedPrior, K, GRID, 9, layers=2)
TEXT = jnp.array([[3, 5, PAD], [7, PAD, PAD], [PAD, PAD, PAD]])
NOTHING = jnp.full((3, N), -1)
SOME = jnp.array([[-1, 3, -1, -1, 0, -1], [-1] * N, [5, 4, 3, 2, 1, 0]])


@functools.cache
def variables():
  params = random_params(PRIOR, integers(0, 0, K, 1, N), TEXT[:1], train=False)
  return {"params": params}


def keys_of(*indices, seed=0):
  return jnp.stack([image_key(jnp.asarray(seed), jnp.asarray(index)) for index in indices])


def sample(options, text=TEXT, keys=None, given=None):
  keys = keys_of(*range(len(text))) if keys is None else keys
  return np.asarray(sample_text(PRIOR, variables(), text, keys, options, given))


@jax.jit
def _logits(variables, tokens, text):
  return PRIOR.apply(variables, tokens, text, train=False)


def logits_of(tokens, text):
  return np.asarray(_logits(variables(), tokens, text))


draw_one = jax.jit(draw, static_argnums=2)


def by_hand(options, steps, given):
  """Image by image, token by token; how many are missing after each step comes second."""
  done, counts = [], []
  for b in range(len(TEXT)):
    tokens = np.where(np.asarray(given[b]) < 0, K, np.asarray(given[b]))
    total = left = int(np.sum(tokens == K))
    counts.append([])
    for s in range(steps):
      c, u = (np.asarray(logits_of(tokens[None], t))[0] for t in (TEXT[b : b + 1], TEXT[2:]))
      logits = u + np.float32(options.guidance_scale) * (c - u)
      key, noise_key = jax.random.split(jax.random.fold_in(keys_of(b)[0], s))
      noise = np.asarray(jax.random.gumbel(noise_key, (N,)))
      guesses = {}
      for i, token_key in enumerate(jax.random.split(key, N)):
        if tokens[i] != K:
          continue
        token = int(draw_one(token_key, jnp.asarray(logits[i]), options))
        log_p = logits[i, token] - np.log(np.sum(np.exp(np.float64(logits[i]))))
        weight = options.choice_temperature * (1 - (s + 1) / steps)
        guesses[i] = (log_p + weight * noise[i], token)
      # The share that the paper's cosine leaves, but one a step at least, now and later.
      after = math.floor(total * math.cos(math.pi / 2 * (s + 1) / steps) + 1e-4)
      after = max(min(max(after, min(steps - 1 - s, left - 1)), left - 1), 0)
      surest = sorted(guesses, key=lambda i: -guesses[i][0])
      for i in surest[: left - after]:
        tokens[i] = guesses[i][1]
      left = after
      counts[-1].append(left)
    done.append(tokens)
  return np.array(done).reshape(-1, *GRID), counts


PLAIN = SamplingOptions(temperature=0.8)
GREEDY = SamplingOptions(temperature=0.0, choice_temperature=0.0)
GUIDED = SamplingOptions(guidance_scale=2.0, temperature=0.9, top_k=12, top_p=0.95)


@pytest.mark.parametrize(
  ("options", "steps", "given"),
  [
    *((options, 4, given) for options in (GREEDY, PLAIN, GUIDED) for given in (NOTHING, SOME)),
    *((GUIDED, steps, SOME) for steps in (1, 2, N)),
  ],
)
def test_sampling_equals_a_loop_by_hand(options, steps, given):
  expected, _ = by_hand(options, steps, given)
  tokens = sample(dataclasses.replace(options, steps=steps), given=given)
  assert (tokens.shape, tokens.dtype) == ((3, *GRID), np.int32)
  np.testing.assert_array_equal(tokens, expected)


def test_as_many_steps_as_tokens_draw_one_at_a_time():
  # The loop by hand that the sampler equals, above.
  _, counts = by_hand(PLAIN, N, NOTHING)
  assert counts == [[5, 4, 3, 2, 1, 0]] * 3
  _, counts = by_hand(PLAIN, 4, NOTHING)
  assert counts == [[5, 4, 2, 0]] * 3  # cos(π/8) 6 = 5.54, cos(π/4) 6 = 4.24, cos(3π/8) 6 = 2.30


def test_given_tokens_stay_bit_by_bit():
  for options in (GREEDY, PLAIN, GUIDED):
    drawn = sample(options, given=SOME).reshape(3, N)
    np.testing.assert_array_equal(np.where(SOME < 0, -1, drawn), SOME)
    assert np.all((drawn >= 0) & (drawn < K))
  # They are looked at: the rest is drawn to fit them.
  free, fitted = sample(PLAIN), sample(PLAIN, given=SOME)
  missing = np.asarray(SOME[0] < 0)
  assert np.any(free[0].reshape(N)[missing] != fitted[0].reshape(N)[missing])
  np.testing.assert_array_equal(free[1], fitted[1])


def test_an_image_is_the_same_in_any_company():
  alone = sample(PLAIN, TEXT[:1], keys_of(4))[0]
  beside = sample(PLAIN, TEXT[jnp.array([1, 0, 0])], keys_of(9, 4, 5))
  np.testing.assert_array_equal(beside[1], alone)
  assert np.any(beside[2] != alone)


def test_one_step_draws_each_token_for_itself():
  number = 2000
  text = jnp.tile(TEXT[:1], (number, 1))
  keys = jax.vmap(image_key, (None, 0))(jnp.asarray(0), jnp.arange(number))
  options = SamplingOptions(steps=1)
  drawn = sample(options, text, keys).reshape(number, N)
  logits = np.asarray(logits_of(jnp.full((1, N), K), TEXT[:1]), np.float64)[0]
  for i in (0, N - 1):
    p = np.exp(logits[i] - logits[i].max())
    expected = number * p / p.sum()
    counts = np.bincount(drawn[:, i], minlength=K)
    rare = expected < 5
    pool = lambda x, rare=rare: np.append(x[~rare], x[rare].sum())
    statistic = np.sum((pool(counts) - pool(expected)) ** 2 / np.maximum(pool(expected), 1e-9))
    assert statistic < stats.chi2.ppf(0.999, df=np.sum(~rare))


def test_steps_follow_the_options():
  default, eight = (sample(dataclasses.replace(PLAIN, steps=s)) for s in (0, min(STEPS, N)))
  np.testing.assert_array_equal(default, eight)
  with pytest.raises(UsageError, match="steps is 7: must be at most 6, one a token"):
    sample(SamplingOptions(steps=7))
