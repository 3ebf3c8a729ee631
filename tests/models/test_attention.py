"""Attention and its own gradient, against NumPy and against plain differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i.models.attention import attend
from tests.arrays import normal
from tests.models.numpy_attention import numpy_attend

MASKS = [(1, 1, 5), (1, 3, 5), (2, 1, 5), (2, 3, 5)]


def plain(q, k, v, mask):
  """The same by JAX's operations alone, which it differentiates by itself."""
  scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(q.shape[-1]).astype(np.float32)
  weights = jax.nn.softmax(scores, axis=-1, where=mask[:, None])
  return jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(*q.shape[:2], -1)


def inputs(mask_shape):
  """Three queries of five keys, two examples, four heads of six features."""
  q, k, v = 2 * normal(0, 2, 3, 4, 6), normal(1, 2, 5, 4, 6), normal(2, 2, 5, 4, 6)
  mask = np.array(normal(3, *mask_shape)) > 0
  mask[..., 2] = True  # something to look at
  return q, k, v, jnp.asarray(mask)


@pytest.mark.parametrize("mask_shape", MASKS)
def test_attend_equals_numpy(mask_shape):
  q, k, v, mask = inputs(mask_shape)
  expected = numpy_attend(*(np.asarray(x, np.float64) for x in (q, k, v)), np.asarray(mask))
  np.testing.assert_allclose(jax.jit(attend)(q, k, v, mask), expected, atol=1e-5)


@pytest.mark.parametrize("mask_shape", MASKS)
def test_gradients_are_those_of_plain_differentiation(mask_shape):
  *qkv, mask = inputs(mask_shape)
  loss = lambda f: lambda q, k, v: jnp.sum(jnp.sin(3 * f(q, k, v, mask)))
  ours, theirs = (jax.jit(jax.grad(loss(f), (0, 1, 2)))(*qkv) for f in (attend, plain))
  for one, other in zip(ours, theirs, strict=True):
    np.testing.assert_allclose(one, other, atol=2e-5)


def test_weights_are_computed_again_for_the_gradient():
  *qkv, mask = inputs((2, 3, 5))
  loss = lambda f: lambda q, k, v: jnp.sum(jnp.sin(f(q, k, v, mask)))
  compiled = lambda f: jax.jit(jax.grad(loss(f))).lower(*qkv).compile().as_text()
  # As compiled: where the program says so, XLA may still find them the same, and keep them.
  assert [compiled(f).count(" exponential(") for f in (attend, plain)] == [2, 1]


def test_gradients_keep_the_dtype():
  qkv = [x.astype(jnp.bfloat16) for x in inputs((1, 3, 5))[:3]]
  mask = inputs((1, 3, 5))[3]
  loss = lambda q, k, v: jnp.sum(attend(q, k, v, mask).astype(jnp.float32) ** 2)
  exact = jax.jit(jax.grad(loss, (0, 1, 2)))(*(x.astype(jnp.float32) for x in qkv))
  for gradient, other in zip(jax.jit(jax.grad(loss, (0, 1, 2)))(*qkv), exact, strict=True):
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_allclose(gradient.astype(jnp.float32), other, atol=0.1)


def test_attend_gives_masked_keys_no_weight_and_no_gradient():
  q, k, v = normal(0, 1, 2, 2, 4), normal(1, 1, 3, 2, 4), normal(2, 1, 3, 2, 4)
  mask = jnp.array([[[True, False, True], [True, True, False]]])
  query_0 = lambda k, v: jnp.sum(jnp.sin(attend(q, k, v, mask)[:, 0]))
  gradients = jax.jit(jax.grad(query_0, (0, 1)))(k, v)
  for gradient in gradients:  # of query 0, which may not see key 1
    assert np.all(gradient[0, 1] == 0)
    assert np.all(np.abs(gradient[0, ::2]).max(axis=-1) > 1e-6)
  loud = attend(q, k.at[0, 1].set(1e6), v.at[0, 1].set(-1e6), mask)
  np.testing.assert_array_equal(loud[:, 0], attend(q, k, v, mask)[:, 0])


def test_attend_survives_huge_scores_and_keeps_the_dtype():
  q = jnp.full((1, 1, 1, 4), 1e3, jnp.bfloat16)
  k = jnp.stack([jnp.full(4, 1e3), jnp.full(4, -1e3)]).reshape(1, 2, 1, 4).astype(jnp.bfloat16)
  v = jnp.array([1.0, 2.0], jnp.bfloat16).reshape(1, 2, 1, 1) * jnp.ones((1, 2, 1, 4), jnp.bfloat16)
  out = attend(q, k, v, jnp.ones((1, 1, 2), bool))
  assert out.dtype == jnp.bfloat16
  np.testing.assert_array_equal(out.astype(jnp.float32), np.ones((1, 1, 4)))
