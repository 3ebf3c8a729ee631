"""Autoregressive drawing against full passes by hand; given tokens; keys."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import softmax

from jaxt2i.errors import UsageError
from jaxt2i.models.autoregressive import AutoregressivePrior
from jaxt2i.models.text import PAD
from jaxt2i.sampling import SamplingOptions, draw, image_key
from tests.arrays import integers, random_params
from tests.drawing import sample_text
from tests.priors import small

K, GRID, N = 16, (2, 3), 6
PRIOR = small(AutoregressivePrior, K, GRID, 9, layers=2)
TEXT = jnp.array([[3, 5, PAD], [7, PAD, PAD], [PAD, PAD, PAD]])


@functools.cache
def variables():
  params = random_params(PRIOR, integers(0, 0, K, 1, N), TEXT[:1], train=False)
  return {"params": params}


def keys_of(*indices, seed=0):
  return jnp.stack([image_key(jnp.asarray(seed), jnp.asarray(index)) for index in indices])


def sample(text, keys, options):
  return np.asarray(sample_text(PRIOR, variables(), text, keys, options))


GREEDY = SamplingOptions(temperature=0.0)
GREEDY_GUIDED = SamplingOptions(guidance_scale=3.0, temperature=0.0)
GREEDY_FREE = SamplingOptions(guidance_scale=0.0, temperature=0.0)
PLAIN = SamplingOptions(temperature=0.8)
GUIDED = SamplingOptions(guidance_scale=2.0, temperature=0.9, top_k=12, top_p=0.95)


@jax.jit
def two_passes(tokens, text):
  whole = lambda text: PRIOR.apply(variables(), tokens, text, train=False)
  return whole(text), whole(jnp.full_like(text, PAD))


draw_one = jax.jit(draw, static_argnums=2)


def by_hand(text, keys, options):
  """Uncached, unrolled: two full passes a token, guidance written out, one draw at a time."""
  tokens = np.zeros((len(text), N), np.int32)
  for i in range(N):
    c, u = (np.asarray(x[:, i]) for x in two_passes(jnp.asarray(tokens), text))
    logits = u + np.float32(options.guidance_scale) * (c - u)
    for b in range(len(text)):
      if options.temperature == 0:
        tokens[b, i] = np.argmax(logits[b])
      else:
        key = jax.random.fold_in(keys[b], i)
        tokens[b, i] = draw_one(key, jnp.asarray(logits[b]), options)
  return tokens.reshape(-1, *GRID)


@pytest.mark.parametrize("options", [GREEDY, GREEDY_GUIDED, GREEDY_FREE, PLAIN, GUIDED], ids=str)
def test_sampling_equals_two_uncached_passes_by_hand(options):
  keys = keys_of(0, 1, 2)
  tokens = sample(TEXT, keys, options)
  assert (tokens.shape, tokens.dtype) == ((3, *GRID), np.int32)
  np.testing.assert_array_equal(tokens, by_hand(TEXT, keys, options))


def test_guidance_moves_away_from_the_caption_free_drawing():
  keys = keys_of(0, 1, 2)
  captioned = sample(TEXT, keys, GREEDY)
  free = sample(jnp.full_like(TEXT, PAD), keys, GREEDY)
  guided = sample(TEXT, keys, GREEDY_GUIDED)
  assert np.any(captioned[:2] != free[:2])
  np.testing.assert_array_equal(sample(TEXT, keys, GREEDY_FREE), free)  # a scale of 0
  # Without a caption there is nothing to be guided by.
  np.testing.assert_array_equal(guided[2], free[2])
  assert np.any(guided[:2] != captioned[:2])


@pytest.mark.parametrize("options", [PLAIN, GUIDED], ids=str)
def test_an_image_is_the_same_in_any_company(options):
  alone = sample(TEXT[:1], keys_of(4), options)[0]
  repeated = jnp.tile(TEXT[:1], (3, 1))
  siblings = sample(repeated, keys_of(3, 5, 4), options)
  np.testing.assert_array_equal(siblings[2], alone)  # in another slot
  others = sample(TEXT[jnp.array([1, 0, 2])], keys_of(9, 4, 4), options)
  np.testing.assert_array_equal(others[1], alone)  # beside other captions
  # Other indices and other captions give other images.
  assert len(np.unique(siblings.reshape(3, -1), axis=0)) == 3
  assert np.any(others[2] != alone)


def test_an_image_follows_its_seed():
  one, again, other = (sample(TEXT, keys_of(0, 1, 2, seed=seed), PLAIN) for seed in (5, 5, 6))
  np.testing.assert_array_equal(one, again)
  assert np.all(np.any(one != other, axis=(1, 2)))


def test_grids_follow_the_prior_from_the_first_token_to_the_last():
  """How often each grid of two tokens is drawn, against the chain rule."""
  tiny = small(AutoregressivePrior, 3, (1, 2), 9)
  params = random_params(tiny, jnp.zeros((1, 2), jnp.int32), TEXT[:1], train=False)
  number = 2000
  text = jnp.tile(TEXT[:1], (number, 1))
  keys = jax.vmap(image_key, (None, 0))(jnp.asarray(0), jnp.arange(number))
  drawn = np.asarray(sample_text(tiny, {"params": params}, text, keys, SamplingOptions()))
  pairs = np.array([[a, b] for a in range(3) for b in range(3)], np.int32)
  forward = jax.jit(lambda *inputs: tiny.apply({"params": params}, *inputs, train=False))
  logits = np.asarray(forward(jnp.asarray(pairs), jnp.tile(TEXT[:1], (9, 1))), np.float64)
  shares = [softmax(logits[i, 0])[a] * softmax(logits[i, 1])[b] for i, (a, b) in enumerate(pairs)]
  expected = number * np.array(shares)
  counts = np.bincount(drawn[:, 0, 0] * 3 + drawn[:, 0, 1], minlength=9)
  assert expected.min() > 5
  assert np.sum((counts - expected) ** 2 / expected) < stats.chi2.ppf(0.999, df=8)


# --- some tokens are there already ---

GIVEN = jnp.array([[-1, 3, -1, -1, 0, -1], [-1] * N, [5, 4, 3, 2, 1, 0]])


def test_given_tokens_stay_and_what_follows_fits_them():
  keys = keys_of(0, 1, 2)
  drawn = np.asarray(sample_text(PRIOR, variables(), TEXT, keys, GREEDY, GIVEN)).reshape(3, N)
  np.testing.assert_array_equal(np.where(GIVEN < 0, -1, drawn), GIVEN)
  free = sample(TEXT, keys, GREEDY).reshape(3, N)
  np.testing.assert_array_equal(drawn[1], free[1])
  assert drawn[0, 0] == free[0, 0]  # before the first given one nothing changes
  logits = np.asarray(two_passes(jnp.asarray(drawn), TEXT)[0])
  missing = np.asarray(GIVEN < 0)
  np.testing.assert_array_equal(drawn[missing], logits.argmax(-1)[missing])


def test_an_autoregressive_prior_takes_no_steps():
  with pytest.raises(UsageError, match="steps is 4: must be 0 for an autoregressive prior"):
    sample(TEXT, keys_of(0, 1, 2), SamplingOptions(steps=4))
