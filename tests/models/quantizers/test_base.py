"""How gradients get past a quantizer."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxt2i.models.quantizers.base import rotation, straight_through, unit
from tests.arrays import assert_close, normal


def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other():
  z, z_q = jnp.array([0.3, -2.0]), jnp.array([1.0, -1.5])
  value, pull = jax.vjp(straight_through, z, z_q)
  assert_close(value, [1.0, -1.5], 1e-7)
  to_z, to_z_q = pull(jnp.array([5.0, 7.0]))
  assert_close(to_z, [5.0, 7.0], 0)
  assert_close(to_z_q, [0.0, 0.0], 0)


def test_rotation_has_the_value_of_the_code_to_the_last_bit():
  z, z_q = normal(0, 50, 6), 2 * normal(1, 50, 6)
  np.testing.assert_allclose(rotation(z, z_q), z_q, rtol=3e-7, atol=1e-7)


def test_rotation_has_the_gradient_of_the_rotation_that_takes_z_to_the_code():
  z, z_q, pull = normal(0, 6), 2 * normal(1, 6), normal(2, 6)
  to_z, to_z_q = jax.grad(lambda z, q: jnp.sum(pull * rotation(z, q)), (0, 1))(z, z_q)
  z64, q64 = np.asarray(z, np.float64), np.asarray(z_q, np.float64)
  a, b = z64 / np.linalg.norm(z64), q64 / np.linalg.norm(q64)
  # Independent of the formula in the paper: rotate in the plane of a and b, leave the rest.
  u = b - (b @ a) * a
  u /= np.linalg.norm(u)
  cos, sin = a @ b, np.sqrt(1 - (a @ b) ** 2)
  plane = np.stack([a, u])
  turn = np.eye(6) + plane.T @ (np.array([[cos, -sin], [sin, cos]]) - np.eye(2)) @ plane
  np.testing.assert_allclose(turn @ a, b, atol=1e-12)
  scale = np.linalg.norm(q64) / np.linalg.norm(z64)
  assert_close(to_z, scale * turn.T @ np.asarray(pull, np.float64), 1e-5)
  assert_close(to_z_q, np.zeros(6), 0)


def test_rotation_keeps_the_angle_between_gradient_and_code():
  z, z_q, pull = normal(0, 6), normal(1, 6), normal(2, 6)
  to_z = jax.grad(lambda z: jnp.sum(pull * rotation(z, z_q)))(z)
  cosine = lambda a, b: float(a @ b / (jnp.linalg.norm(a) * jnp.linalg.norm(b)))
  np.testing.assert_allclose(cosine(to_z, z), cosine(pull, z_q), atol=1e-5)


def test_rotation_stays_finite_where_no_rotation_is_defined():
  z = normal(0, 6)
  for z_q in (-z, jnp.zeros(6)):
    assert np.all(np.isfinite(jax.grad(lambda z, q=z_q: jnp.sum(rotation(z, q)))(z)))
  assert np.all(np.isfinite(jax.grad(lambda z: jnp.sum(rotation(z, normal(1, 6))))(jnp.zeros(6))))


def test_unit_has_length_one_and_a_finite_gradient_at_zero():
  x = 3 * normal(0, 5, 4)
  assert_close(np.linalg.norm(unit(x), axis=-1), np.ones(5), 1e-6)
  assert np.all(np.isfinite(jax.grad(lambda x: jnp.sum(unit(x)))(jnp.zeros((2, 4)))))
