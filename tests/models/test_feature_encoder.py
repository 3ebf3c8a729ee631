"""The encoder of frozen features: its values, and that padding reaches nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i.models.attention import attend
from jaxt2i.models.blocks import split_heads
from jaxt2i.models.text import FeatureEncoder
from tests.arrays import normal, random_params

WIDTH, F = 8, 6
ENCODER = FeatureEncoder(WIDTH, layers=0, heads=2)
LENGTHS = (3, 5, 0)
WORDS = np.arange(5) < np.array(LENGTHS)[:, None]
FEATURES = jnp.asarray(np.where(WORDS[..., None], normal(0, 3, 5, F), 0))
PADDED = jnp.pad(FEATURES, ((0, 0), (0, 4), (0, 0)))


@functools.cache
def params():
  return random_params(ENCODER, FEATURES)


@jax.jit
def encode(params, features):
  return ENCODER.apply({"params": params}, features)


@jax.jit
@functools.partial(jax.grad, argnums=(0, 1))
def gradients(params, features, weights):
  """Of what a reader sees, by parameters and features; weights [B] choose captions."""
  context = encode(params, features)
  keys = split_heads(context.features, 2)
  query = jnp.broadcast_to(normal(1, 1, 3, 2, WIDTH // 2), (len(features), 3, 2, WIDTH // 2))
  read = attend(query, keys, keys, context.mask[:, None, :])
  return jnp.sum(weights[:, None, None] * jnp.sin(read))


def norm(x):
  return (
    x / np.sqrt(np.mean(x**2, -1, keepdims=True) + 1e-6) * np.asarray(params()["norm"]["scale"])
  )


def test_projects_and_normalises_words_behind_the_slot():
  context = encode(params(), FEATURES)
  np.testing.assert_array_equal(context.mask, np.pad(WORDS, ((0, 0), (1, 0)), constant_values=True))
  slot = norm(np.asarray(params()["slot"][0, 0]))
  for i, length in enumerate(LENGTHS):
    words = norm(np.asarray(FEATURES[i, :length]) @ np.asarray(params()["project"]["kernel"]))
    np.testing.assert_allclose(context.features[i, 0], slot, atol=1e-6)
    np.testing.assert_allclose(context.features[i, 1 : 1 + length], words, atol=1e-5)


def test_padding_stays_zero_and_more_of_it_changes_nothing():
  short, long = encode(params(), FEATURES), encode(params(), PADDED)
  assert not np.asarray(short.features)[~np.asarray(short.mask)].any()
  assert not np.asarray(long.mask)[:, 6:].any()
  assert not np.asarray(long.features)[:, 6:].any()
  np.testing.assert_allclose(long.features[:, :6], short.features, atol=1e-6)


def test_padding_has_no_gradient_and_leaves_that_of_words_alone():
  everything = jnp.ones(3)
  short, long = (gradients(params(), x, everything) for x in (FEATURES, PADDED))
  assert np.all(np.abs(np.asarray(short[1])[WORDS]).max(axis=-1) > 0)
  assert not np.asarray(short[1])[~WORDS].any()
  assert not np.asarray(long[1])[:, 5:].any()
  close = functools.partial(np.testing.assert_allclose, atol=1e-5)
  jax.tree.map(close, long[0], short[0])
  close(long[1][:, :5], short[1])


@pytest.mark.parametrize("caption", range(3))
def test_an_empty_caption_teaches_the_slot_alone(caption):
  found, _ = gradients(params(), FEATURES, jnp.eye(3)[caption])
  assert np.any(found["slot"])
  assert np.any(found["project"]["kernel"]) == (LENGTHS[caption] > 0)


def test_layers_let_words_and_slot_read_each_other_but_no_padding():
  deep = FeatureEncoder(WIDTH, layers=1, heads=2)
  deep_params = random_params(deep, FEATURES)
  read = lambda features: np.asarray(deep.apply({"params": deep_params}, features).features)
  changed = FEATURES.at[0, 2].add(1.0)
  moved = np.abs(read(changed) - read(FEATURES)).max(axis=-1) > 1e-4
  np.testing.assert_array_equal(moved[0, :4], True)  # slot 0 and the three words
  assert not moved[1:].any()
  np.testing.assert_allclose(read(PADDED)[0, :4], read(FEATURES)[0, :4], atol=1e-5)
