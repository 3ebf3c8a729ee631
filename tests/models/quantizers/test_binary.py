"""Quantisation to signs against NumPy: codes, entropies, gradients."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i.errors import UsageError
from jaxt2i.models.quantizers import BSQ, LFQ
from tests.arrays import assert_close, normal

SHAPE = (3, 2, 5, 4)
BETA = 0.25


def lfq(entropy_weight=0.1, temperature=1.0, beta=BETA):
  return LFQ(16, entropy_weight, temperature, beta)


def bsq(entropy_weight=0.1, temperature=0.3):
  return BSQ(16, entropy_weight, temperature)


def corners():
  """All codes of four bits, the first running fastest."""
  return np.array([bits[::-1] for bits in itertools.product([-1.0, 1.0], repeat=4)])


def probabilities(z, codes, temperature):
  """p(code | z) over all codes, written out, in float64."""
  distances = np.sum((np.asarray(z, np.float64)[..., None, :] - codes) ** 2, axis=-1)
  p = np.exp(-(distances - distances.min(axis=-1, keepdims=True)) / temperature)
  return p / p.sum(axis=-1, keepdims=True)


def entropy(p):
  return -np.sum(p * np.log(np.maximum(p, 1e-300)), axis=-1)


@pytest.mark.parametrize(("quantizer", "side"), [(lfq(), 1.0), (bsq(), 0.5)])
def test_codes_are_the_corners_and_tokens_their_bits(quantizer, side):
  tokens = jnp.arange(16, dtype=jnp.int32)
  assert quantizer.code_dim == 4
  assert_close(quantizer.lookup(tokens), side * corners(), 1e-7)
  out = quantizer.apply({}, jnp.asarray(0.3 * corners(), jnp.float32)[:, None, None], train=True)
  np.testing.assert_array_equal(out.tokens[:, 0, 0], tokens)
  assert out.tokens.dtype == jnp.int32


@pytest.mark.parametrize(("quantizer", "side"), [(lfq(), 1.0), (bsq(), 0.5)])
def test_the_token_is_that_of_the_nearest_corner(quantizer, side):
  z = 2 * normal(0, *SHAPE)
  out = quantizer.apply({}, z, train=True)
  assert_close(out.z_q, np.where(np.asarray(z) > 0, side, -side), 1e-6)
  assert_close(out.z_q, np.asarray(quantizer.lookup(out.tokens)), 1e-6)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
def test_lfq_losses_are_those_of_the_paper(temperature):
  z = normal(0, *SHAPE)
  out = lfq(0.1, temperature).apply({}, z, train=True)
  p = probabilities(z, corners(), temperature)
  expected = entropy(p).mean(axis=(1, 2)) - entropy(p.mean(axis=(0, 1, 2)))
  commitment = np.mean((np.asarray(z) - np.sign(z)) ** 2, axis=(1, 2, 3))
  assert_close(out.losses["entropy"], expected, 1e-5)
  assert_close(out.losses["commitment"], commitment, 1e-6)
  assert_close(out.loss, BETA * commitment + 0.1 * expected, 1e-5)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_bsq_entropies_are_exact_for_latents_and_by_bits_for_the_mean(temperature):
  z = normal(0, *SHAPE)
  out = bsq(0.1, temperature).apply({}, z, train=True)
  u = np.asarray(z) / np.linalg.norm(z, axis=-1, keepdims=True)
  p = probabilities(u, 0.5 * corners(), temperature)  # over all 16 codes, not bit by bit
  of_bits = (p.mean(axis=(0, 1, 2)) @ (corners() > 0))[:, None]  # marginals of the mean
  of_mean = entropy(np.concatenate([of_bits, 1 - of_bits], axis=1)).sum()
  assert of_mean >= entropy(p.mean(axis=(0, 1, 2))) - 1e-9  # of which it is an upper bound
  assert_close(out.losses["entropy"], entropy(p).mean(axis=(1, 2)) - of_mean, 1e-5)
  assert_close(out.loss, 0.1 * np.asarray(out.losses["entropy"]), 1e-7)


def test_lfq_who_receives_which_gradient():
  z, pull = normal(0, *SHAPE), normal(1, *SHAPE)
  run = lambda q, z: q.apply({}, z, train=True)
  to_z = jax.grad(lambda z: jnp.sum(pull * run(lfq(), z).z_q))(z)
  np.testing.assert_array_equal(to_z, pull)  # straight through
  own = jax.grad(lambda z: run(lfq(0.0), z).loss.mean())(z)
  assert_close(own, 2 * BETA * (np.asarray(z) - np.sign(z)) / z.size, 1e-7)
  doubled = jax.grad(lambda z: run(lfq(0.0, beta=2 * BETA), z).loss.mean())(z)
  assert_close(doubled, 2 * np.asarray(own), 1e-7)


def test_bsq_gradient_is_straight_through_and_then_that_of_the_normalisation():
  z, pull = normal(0, *SHAPE), normal(1, *SHAPE)
  to_z = jax.grad(lambda z: jnp.sum(pull * bsq().apply({}, z, train=True).z_q))(z)
  length = np.linalg.norm(z, axis=-1, keepdims=True)
  u = np.asarray(z) / length
  expected = (pull - u * np.sum(pull * u, axis=-1, keepdims=True)) / length
  assert_close(to_z, expected, 1e-4)


@pytest.mark.parametrize("quantizer", [lfq(1.0), bsq(1.0)])
def test_entropy_gradients_equal_finite_differences(quantizer):
  z, direction = normal(0, *SHAPE), normal(1, *SHAPE)
  loss = lambda z: quantizer.apply({}, z, train=True).losses["entropy"].mean()
  slope = (loss(z + 1e-2 * direction) - loss(z - 1e-2 * direction)) / 2e-2
  assert_close(jnp.sum(jax.grad(loss)(z) * direction), float(slope), 2e-3)


def test_nothing_is_learnt():
  for quantizer in (lfq(), bsq()):
    assert not quantizer.init(jax.random.key(0), normal(0, *SHAPE), train=True)


@pytest.mark.parametrize(
  ("make", "named"),
  [
    (lambda: BSQ(1000, 0.1, 1.0), "codebook_size is 1000: must be a power of two"),
    (lambda: LFQ(1, 0.1, 1.0, 0.25), "codebook_size is 1: must be a power of two"),
    (lambda: BSQ(16, -0.1, 1.0), "entropy_weight is -0.1"),
    (lambda: LFQ(16, 0.1, 0.0, 0.25), "entropy_temperature is 0.0"),
    (lambda: LFQ(16, 0.1, 1.0, -1.0), "commitment_weight is -1.0"),
  ],
)
def test_what_cannot_work_is_refused(make, named):
  with pytest.raises(UsageError, match=named):
    make()
