"""Finite scalar quantisation against NumPy: values, order, gradients."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i.models.quantizers import FSQ
from tests.arrays import assert_close, normal

LEVELS = [(8, 5, 5, 5), (3,), (6, 2, 7)]


def all_tokens(levels):
  return jnp.arange(np.prod(levels), dtype=jnp.int32)


def grid_of(levels):
  """Every code as integers [K, D], the first dimension running fastest; independent of the code."""
  ranges = [range(-(level // 2), level - level // 2) for level in reversed(levels)]
  return np.array([code[::-1] for code in itertools.product(*ranges)])


def numpy_bound(z, levels):
  """Mentzer et al., appendix A, in float64."""
  levels = np.asarray(levels)
  half_range = (levels - 1) * 1.001 / 2
  offset = np.where(levels % 2 == 0, 0.5, 0.0)
  return np.tanh(np.asarray(z, np.float64) + np.arctanh(offset / half_range)) * half_range - offset


def numpy_bound_inverse(bounded, levels):
  levels = np.asarray(levels)
  half_range = (levels - 1) * 1.001 / 2
  offset = np.where(levels % 2 == 0, 0.5, 0.0)
  return np.arctanh((bounded + offset) / half_range) - np.arctanh(offset / half_range)


@functools.partial(jax.jit, static_argnums=0)
def fsq(levels, z):
  return FSQ(levels).apply({}, z, train=True)


@functools.partial(jax.jit, static_argnums=0)
def lookup(levels, tokens):
  return FSQ(levels).lookup(tokens)


def fsq_scalar(level, values):
  """Codes of single numbers, in units of one level."""
  z = jnp.asarray(values, jnp.float32).reshape(-1, 1, 1, 1)
  integers = np.asarray(fsq((level,), z).z_q).ravel() * (level // 2)
  np.testing.assert_allclose(integers, np.round(integers), atol=1e-5)
  return np.round(integers)


@pytest.mark.parametrize("levels", LEVELS)
def test_fsq_codes_are_the_grid_of_levels(levels):
  quantizer = FSQ(levels)
  assert quantizer.codebook_size == np.prod(levels)
  assert quantizer.code_dim == len(levels)
  half_width = np.array(levels) // 2
  assert_close(lookup(levels, all_tokens(levels)), grid_of(levels) / half_width, 1e-7)


@pytest.mark.parametrize("levels", LEVELS)
def test_fsq_every_code_can_be_reached_and_keeps_its_token(levels):
  # Latents that the bound maps onto the integers, worked out without the code under test.
  z = numpy_bound_inverse(grid_of(levels), levels).astype(np.float32)
  out = fsq(levels, jnp.asarray(z[:, None, None]))
  assert out.tokens.dtype == jnp.int32
  np.testing.assert_array_equal(out.tokens[:, 0, 0], all_tokens(levels))
  assert_close(out.z_q, lookup(levels, out.tokens), 1e-6)


@pytest.mark.parametrize("levels", LEVELS)
def test_fsq_tokens_and_codes_agree_exactly_and_equal_numpy(levels):
  z = 2 * normal(0, 4, 50, 50, len(levels))
  out = fsq(levels, z)
  assert_close(out.z_q, lookup(levels, out.tokens), 1e-6)
  bounded = numpy_bound(z, levels)
  places = np.cumprod((1, *levels[:-1]))
  expected = (np.round(bounded) + np.array(levels) // 2) @ places
  # Where float32 may round to either side, both are right.
  clear = np.all(np.abs(bounded - np.floor(bounded) - 0.5) > 1e-4, axis=-1)
  assert clear.mean() > 0.99
  np.testing.assert_array_equal(np.asarray(out.tokens)[clear], expected[clear])


@pytest.mark.parametrize("level", [2, 3, 4, 5, 8, 15, 16])
def test_fsq_reaches_exactly_its_levels_in_order(level):
  integers = fsq_scalar(level, [-1e30, -1e4, *np.linspace(-12, 12, 4001), 1e4, 1e30])
  assert np.all(np.diff(integers) >= 0)
  np.testing.assert_array_equal(np.unique(integers), np.arange(level) - level // 2)


@pytest.mark.parametrize("level", [3, 4, 5, 8])
def test_fsq_keeps_zero_in_the_middle_of_the_code_zero(level):
  # The bound keeps 0 at 0: an even number of levels is not rounded to one side.
  np.testing.assert_array_equal(fsq_scalar(level, [0.0, 0.1, -0.1]), [0, 0, 0])
  low, high = numpy_bound_inverse(np.array([-0.5, 0.5]), [level])
  around = [1.01 * low, 0.99 * low, 0.99 * high, 1.01 * high]
  np.testing.assert_array_equal(fsq_scalar(level, around), [-1, 0, 0, 1])


def test_fsq_with_odd_levels_is_odd():
  z = normal(0, 3, 4, 4, 2)
  np.testing.assert_array_equal(fsq((5, 7), -z).z_q, -fsq((5, 7), z).z_q)


@pytest.mark.parametrize("levels", LEVELS)
def test_fsq_gradient_is_that_of_the_bound(levels):
  z = normal(0, 2, 3, 3, len(levels))
  weights = normal(1, *z.shape)
  gradient = jax.jit(jax.grad(lambda z: jnp.sum(weights * fsq(levels, z).z_q)))(z)
  half_width = np.array(levels) // 2
  step = 1e-5
  z64 = np.asarray(z, np.float64)
  slope = (numpy_bound(z64 + step, levels) - numpy_bound(z64 - step, levels)) / (2 * step)
  assert_close(gradient, np.asarray(weights) * slope / half_width, 1e-4)
  half_range = (np.array(levels) - 1) * 1.001 / 2
  offset = np.where(np.array(levels) % 2 == 0, 0.5, 0)
  closed = half_range * (1 - np.tanh(z64 + np.arctanh(offset / half_range)) ** 2)
  assert_close(gradient, np.asarray(weights) * closed / half_width, 1e-4)


def test_fsq_has_nothing_to_learn():
  z = normal(0, 1, 2, 2, 4)
  init = lambda: FSQ((8, 5, 5, 5)).init(jax.random.key(0), z, train=True)
  assert not jax.tree.leaves(jax.eval_shape(init))
  value, gradient = jax.jit(jax.value_and_grad(lambda z: fsq((8, 5, 5, 5), z).loss.sum()))(z)
  assert value == 0
  assert np.all(gradient == 0)
  assert fsq((8, 5, 5, 5), z).losses == {}
