"""Drawing tokens: distributions against NumPy, guidance by hand, a key for each image."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxt2i.errors import UsageError
from jaxt2i.sampling import SamplingOptions, draw, guide, image_key, restrict
from tests.arrays import normal

# --- options ---


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("guidance_scale", float("nan")),
    ("guidance_scale", float("inf")),
    ("guidance_scale", -0.1),
    ("temperature", float("nan")),
    ("temperature", float("inf")),
    ("temperature", -1.0),
    ("top_k", -1),
    ("top_p", 0.0),
    ("top_p", float("nan")),
    ("top_p", -0.5),
    ("top_p", 1.01),
    ("guidance_scale", 1000.1),
  ],
)
def test_options_without_a_meaning_are_refused_by_name_and_value(name, value):
  with pytest.raises(UsageError) as error:
    SamplingOptions(**{name: value})
  assert f"{name} is {value!r}" in str(error.value)
  assert "must be" in str(error.value)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("name", "value"),
  [("guidance_scale", True), ("temperature", "a"), ("temperature", None), ("top_k", 2.5)],
)
def test_options_that_are_no_numbers_are_refused(name, value):
  options = SamplingOptions()
  object.__setattr__(options, name, value)  # past the type checks that only tests have
  with pytest.raises(UsageError, match=f"{name} is {value!r}: must be a"):
    options.__post_init__()


def test_numbers_of_numpy_are_numbers():
  options = SamplingOptions()
  for name, value in (("temperature", np.float32(0.5)), ("top_k", np.int64(3))):
    object.__setattr__(options, name, value)  # past the type checks that only tests have
  options.__post_init__()
  assert (options.temperature, options.top_k) == (0.5, 3)


def test_options_accept_the_limits():
  lowest = SamplingOptions(guidance_scale=0.0, temperature=0.0, top_k=0, top_p=1e-6)
  highest = SamplingOptions(guidance_scale=30.0, temperature=100.0, top_k=10**6, top_p=1.0)
  assert lowest != highest


# --- guidance ---


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0, 7.5])
def test_guide_is_the_formula(scale):
  c, u = normal(0, 3, 8), normal(1, 3, 8)
  expected = (1 - scale) * np.asarray(u, np.float64) + scale * np.asarray(c, np.float64)
  np.testing.assert_allclose(guide(c, u, scale), expected, atol=1e-5)


def test_guide_at_0_and_1_is_one_side_alone():
  c, u = normal(0, 3, 8), normal(1, 3, 8)
  np.testing.assert_array_equal(guide(c, u, 0.0), u)
  np.testing.assert_allclose(guide(c, u, 1.0), c, atol=1e-6)


# --- temperature, top-k, top-p ---


def softmax(logits):
  exp = np.exp(logits - np.max(logits))
  return exp / exp.sum()


def numpy_restrict(logits, temperature=1.0, top_k=0, top_p=1.0):
  """Probabilities after all three, a token at a time; ties at the k-th place stay together."""
  logits = np.asarray(logits, np.float64) / temperature
  allowed = set(range(len(logits)))
  if top_k:
    kth = sorted(logits, reverse=True)[min(top_k, len(logits)) - 1]
    allowed = {i for i in allowed if logits[i] >= kth}
  masked = np.array([x if i in allowed else -np.inf for i, x in enumerate(logits)])
  probabilities = softmax(masked)
  kept, reached = set(), 0.0
  for i in sorted(allowed, key=lambda i: (-probabilities[i], i)):
    if kept and reached >= top_p:
      break
    kept.add(i)
    reached += probabilities[i]
  return softmax(np.array([x if i in kept else -np.inf for i, x in enumerate(logits)]))


@functools.partial(jax.jit, static_argnums=1)
def restricted(logits, options):
  return jax.nn.softmax(restrict(logits, options))


LOGITS = 2 * normal(0, 12)
RESTRICTIONS = [
  dict(),
  dict(temperature=0.5),
  dict(temperature=3.0),
  dict(top_k=1),
  dict(top_k=4),
  dict(top_k=12),
  dict(top_k=99),
  dict(top_p=0.3),
  dict(top_p=0.9),
  dict(top_p=0.9999),
  dict(top_p=1e-6),
  dict(temperature=2.0, top_k=6, top_p=0.7),
  dict(temperature=0.3, top_k=3, top_p=0.95),
]


@pytest.mark.parametrize("options", RESTRICTIONS, ids=str)
def test_restrict_equals_numpy(options):
  probabilities = np.asarray(restricted(LOGITS, SamplingOptions(**options)))
  expected = numpy_restrict(LOGITS, **options)
  np.testing.assert_array_equal(probabilities > 0, expected > 0)
  np.testing.assert_allclose(probabilities, expected, atol=1e-6)
  assert probabilities[np.argmax(LOGITS)] > 0


def test_restrict_keeps_all_tokens_that_tie_for_the_last_place():
  logits = jnp.array([0.0, 2.0, 1.0, 1.0, 1.0, -3.0])
  probabilities = np.asarray(restricted(logits, SamplingOptions(top_k=2)))
  np.testing.assert_array_equal(np.flatnonzero(probabilities), [1, 2, 3, 4])


def test_restrict_to_a_nucleus_is_exact_at_its_edge():
  # Powers of two: the sums are exact, so "reaches the probability" has one answer.
  logits = jnp.log(jnp.array([0.125, 0.5, 0.0625, 0.25, 0.0625]))
  kept = lambda p: np.flatnonzero(restricted(logits, SamplingOptions(top_p=p)))
  np.testing.assert_array_equal(kept(0.49), [1])
  np.testing.assert_array_equal(kept(0.51), [1, 3])
  np.testing.assert_array_equal(kept(0.74), [1, 3])
  np.testing.assert_array_equal(kept(0.76), [0, 1, 3])


def test_restrict_takes_the_nucleus_of_what_temperature_and_top_k_left():
  logits = jnp.log(jnp.array([0.4, 0.3, 0.2, 0.1]))
  # Of the two likeliest, 4/7 and 3/7, the first alone reaches 0.5; of all four it would not.
  kept = np.flatnonzero(restricted(logits, SamplingOptions(top_k=2, top_p=0.5)))
  np.testing.assert_array_equal(kept, [0])
  # Sharpened, 16/30 of the mass is on the first.
  kept = np.flatnonzero(restricted(logits, SamplingOptions(temperature=0.5, top_p=0.5)))
  np.testing.assert_array_equal(kept, [0])


@pytest.mark.parametrize("top_p", [1e-30, 1e-50])  # the second is 0 in float32
def test_restrict_never_rules_out_the_likeliest(top_p):
  probabilities = np.asarray(restricted(LOGITS, SamplingOptions(top_p=top_p)))
  np.testing.assert_array_equal(np.flatnonzero(probabilities), [np.argmax(LOGITS)])


@functools.partial(jax.jit, static_argnums=(1, 2))
def draws(logits, options, number):
  keys = jax.random.split(jax.random.key(0), number)
  return jax.vmap(lambda key: draw(key, logits, options))(keys)


@pytest.mark.parametrize(
  "options",
  [dict(), dict(temperature=0.6), dict(top_k=3), dict(temperature=1.5, top_k=7, top_p=0.8)],
  ids=str,
)
def test_draw_follows_the_distribution(options):
  number = 20_000
  tokens = draws(LOGITS, SamplingOptions(**options), number)
  assert tokens.dtype == jnp.int32
  counts = np.bincount(tokens, minlength=len(LOGITS))
  expected = number * numpy_restrict(LOGITS, **options)
  assert np.all(counts[expected == 0] == 0)
  # Tokens expected less than 5 times are counted together, as the approximation asks.
  common = expected >= 5
  rest = (counts[~common].sum(), expected[~common].sum())
  observed = np.append(counts[common], rest[0])
  expected = np.append(expected[common], rest[1])
  use = expected > 0
  statistic = np.sum((observed[use] - expected[use]) ** 2 / expected[use])
  assert statistic < stats.chi2.ppf(0.999, df=use.sum() - 1)
  # The test can tell: the same counts against the distribution without options.
  if options:
    plain = number * softmax(np.asarray(LOGITS, np.float64))
    assert np.sum((counts - plain) ** 2 / plain) > stats.chi2.ppf(0.999, df=len(LOGITS) - 1)


def test_draw_at_temperature_0_takes_the_likeliest():
  assert np.all(draws(LOGITS, SamplingOptions(temperature=0.0), 50) == np.argmax(LOGITS))
  # A low temperature comes to the same.
  assert np.all(draws(LOGITS, SamplingOptions(temperature=1e-4), 50) == np.argmax(LOGITS))


# --- keys ---


def test_image_keys_follow_seed_and_index_alone():
  seeds, indices = jnp.array([0, 0, 1, 1, 2**31 - 1]), jnp.array([0, 1, 0, 1, 7])
  keys = jax.vmap(image_key)(seeds, indices)
  data = np.asarray(jax.random.key_data(keys))
  assert len(np.unique(data, axis=0)) == 5
  alone = jax.random.fold_in(jax.random.key(2**31 - 1), 7)
  np.testing.assert_array_equal(data[4], jax.random.key_data(alone))


def test_image_keys_take_the_seeds_that_the_pipeline_gives():
  seed = jnp.asarray(2**32 - 1, jnp.uint32)
  keys = jax.vmap(image_key, (None, 0))(seed, jnp.arange(2))
  assert keys.shape == (2,)
