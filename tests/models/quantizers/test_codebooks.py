"""Comparing latents with codes, against NumPy and in bounded memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i.models.quantizers import codebooks
from jaxt2i.models.quantizers.codebooks import (
  draws,
  entropy_penalty,
  kmeans,
  nearest,
  soft_assignments,
  sums,
)
from tests.arrays import assert_close, integers, normal


def brute_force(z, codes):
  z, codes = np.asarray(z, np.float64), np.asarray(codes, np.float64)
  return np.argmin(np.sum((z[..., None, :] - codes) ** 2, axis=-1), axis=-1)


def softmax(x):
  e = np.exp(x - x.max(axis=-1, keepdims=True))
  return e / e.sum(axis=-1, keepdims=True)


@pytest.fixture
def in_blocks(monkeypatch):
  """Room for seven rows of 40 codes at once."""
  monkeypatch.setattr(codebooks, "MEMORY_CAP", 7 * 40 * 4)


def test_nearest_is_the_nearest():
  z = 3 * normal(0, 500, 5)
  codes = normal(1, 40, 5) * jnp.linspace(0.1, 4, 40)[:, None]
  np.testing.assert_array_equal(nearest(z, codes), brute_force(z, codes))
  # Not the largest inner product: a long code must not win over a near one.
  codes = jnp.array([[10.0, 0.0], [1.0, 0.0]])
  np.testing.assert_array_equal(nearest(jnp.array([[1.2, 0.0], [9.0, 0.0]]), codes), [1, 0])


def test_nearest_of_equal_codes_is_the_first():
  codes = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
  np.testing.assert_array_equal(nearest(jnp.array([[2.0, 0.0]]), codes), [0])


@pytest.mark.parametrize("count", [3, 7, 14, 500])
def test_nearest_in_blocks_is_the_same(in_blocks, count):
  z, codes = 3 * normal(0, count, 5), normal(1, 40, 5)
  np.testing.assert_array_equal(nearest(z, codes), brute_force(z, codes))


@pytest.mark.parametrize("temperature", [0.1, 1.0, 20.0])
def test_soft_assignments_equal_numpy(temperature):
  z, codes = normal(0, 30, 5), normal(1, 40, 5)
  z64, codes64 = np.asarray(z, np.float64), np.asarray(codes, np.float64)
  p = softmax(-np.sum((z64[:, None] - codes64) ** 2, axis=-1) / temperature)
  entropies, mean = soft_assignments(z, codes, temperature)
  assert_close(mean, p.mean(axis=0), 1e-6)
  assert_close(entropies, -np.sum(p * np.log(np.maximum(p, 1e-300)), axis=-1), 1e-4)


def test_soft_assignments_in_blocks_have_the_same_values_and_gradients(monkeypatch):
  z, codes = normal(0, 30, 5), normal(1, 40, 5)

  def both(z, codes):
    entropies, mean = soft_assignments(z, codes, 0.7)
    return jnp.sum(normal(2, 30) * entropies) + jnp.sum(normal(3, 40) * mean)

  whole = jax.value_and_grad(both, (0, 1))(z, codes)
  monkeypatch.setattr(codebooks, "MEMORY_CAP", 7 * 40 * 4)
  blocks = jax.value_and_grad(both, (0, 1))(z, codes)
  jax.tree.map(lambda a, b: assert_close(a, np.asarray(b), 2e-5), blocks, whole)


def test_entropy_penalty_rewards_certainty_and_an_even_use():
  codes = 10 * jnp.eye(4)
  each = codes.reshape(1, 2, 2, 4)
  assert_close(entropy_penalty(each, codes, 1.0), [-np.log(4)], 1e-5)  # sure, and all used
  assert_close(entropy_penalty(each * 0 + codes[0].reshape(1, 1, 1, 4), codes, 1.0), [0.0], 1e-5)
  assert_close(entropy_penalty(each * 0, codes, 1.0), [0.0], 1e-5)  # all used, sure of nothing


def test_entropy_penalty_is_of_each_image_but_for_the_batch_mean():
  z, codes = normal(0, 3, 2, 2, 5), normal(1, 40, 5)
  p = softmax(
    -np.sum((np.asarray(z, np.float64)[..., None, :] - np.asarray(codes)) ** 2, axis=-1) / 2.0
  )
  entropy = lambda p: -np.sum(p * np.log(p), axis=-1)
  expected = entropy(p).mean(axis=(1, 2)) - entropy(p.mean(axis=(0, 1, 2)))
  assert_close(entropy_penalty(z, codes, 2.0), expected, 1e-5)


def test_entropy_penalty_has_the_gradient_of_finite_differences():
  z, codes = normal(0, 2, 2, 1, 3), normal(1, 6, 3)
  loss = lambda z: entropy_penalty(z, codes, 1.0).mean()
  gradient = jax.grad(loss)(z)
  direction = normal(2, *z.shape)
  slope = (loss(z + 1e-2 * direction) - loss(z - 1e-2 * direction)) / 2e-2
  assert_close(jnp.sum(gradient * direction), float(slope), 1e-3)


def test_memory_stays_below_a_multiple_of_the_cap_at_16384_codes():
  count, size = 8192, 16_384

  def work(z, codes):
    loss = lambda z: entropy_penalty(z.reshape(1, -1, 1, 8), codes, 1.0).mean()
    return nearest(z, codes), jax.grad(loss)(z)

  shapes = [jax.ShapeDtypeStruct((n, 8), jnp.float32) for n in (count, size)]
  compiled = jax.jit(work).lower(*shapes).compile()
  used = compiled.memory_analysis().temp_size_in_bytes
  assert 4 * count * size == 8 * codebooks.MEMORY_CAP  # of one array of all distances
  assert used < 4 * codebooks.MEMORY_CAP


def test_sums_count_and_add():
  z, tokens = normal(0, 50, 3), integers(1, 0, 5, 50)
  count, total = sums(z, tokens, 6)
  one_hot = np.eye(6)[np.asarray(tokens)]
  np.testing.assert_array_equal(count, one_hot.sum(axis=0))
  assert_close(total, one_hot.T @ np.asarray(z), 1e-5)


def test_kmeans_is_lloyds_algorithm():
  z, centres = np.asarray(normal(0, 200, 2)), np.array(normal(1, 5, 2))
  centres[4] = 99  # far from everything: it keeps its place
  expected = centres.astype(np.float64)
  for _ in range(7):
    tokens = brute_force(z, expected)
    for k in np.unique(tokens):
      expected[k] = z[tokens == k].mean(axis=0)
  assert_close(kmeans(jnp.asarray(z), jnp.asarray(centres), 7), expected, 1e-5)


def test_draws_are_rows_and_depend_on_the_key():
  z = normal(0, 20, 3)
  one, other = (np.asarray(draws(z, jax.random.key(key), 10)) for key in (0, 1))
  assert {tuple(row) for row in one} <= {tuple(row) for row in np.asarray(z)}
  assert np.any(one != other)
