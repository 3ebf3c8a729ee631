"""A dense layer by rows is Flax's own, in values, gradients and parameters."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxt2i.models.dense import Dense, rows_dot
from tests.arrays import normal


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 3, 4, 5), (0, 3, 5)])
def test_it_computes_what_flax_s_does(shape):
  x = normal(0, *shape)

  def run(module):
    params = module.init(jax.random.key(0), x)
    loss = lambda params, x: jnp.sum(jnp.sin(module.apply(params, x)))
    return module.apply(params, x), jax.grad(loss, (0, 1))(params, x)

  ours, theirs = map(jax.tree_util.tree_flatten_with_path, map(run, (Dense(7), nn.Dense(7))))
  for (path, one), (other_path, other) in zip(ours[0], theirs[0], strict=True):
    assert path == other_path
    assert one.dtype == other.dtype
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_no_activation_is_laid_out_anew_for_the_gradient_of_the_kernel():
  x, g = normal(0, 4, 64, 16), normal(1, 4, 64, 24)

  def program(dot):
    product = lambda kernel: jnp.vdot(g, dot(x, kernel, (((2,), (0,)), ((), ()))))
    return jax.jit(jax.grad(product)).lower(normal(2, 16, 24)).as_text()

  # One axis of rows is contracted, where plain products contract two.
  assert "contracting_dims = [0] x [0]" in program(rows_dot)
  assert "contracting_dims = [0, 1] x [0, 1]" in program(lax.dot_general)


@pytest.mark.parametrize(
  ("kernel", "dims"),
  [((5, 5), (((1,), (1,)), ((), ()))), ((5, 5, 2), (((1,), (0,)), ((), ())))],
)
def test_other_products_are_refused(kernel, dims):
  with pytest.raises(ValueError, match="rows and a matrix was expected"):
    rows_dot(normal(0, 3, 5), normal(1, *kernel), dims)
