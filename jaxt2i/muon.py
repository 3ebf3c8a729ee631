"""Muon: momentum, orthogonalised (K. Jordan et al., 2024, github.com/KellerJordan/Muon).

`optax.contrib.muon` iterates on the kernel, this one on its small Gram matrix, with the same
result: on a CPU a training step of the tokenizer takes a quarter less time.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float

from jaxt2i.types import Array

# Of the quintic whose slope at 0 is the steepest that ends near 1: singular values of 0.7 to 1.2.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
_RMS = 0.2  # of AdamW's typical update


def scale_by_muon(decay: float = 0.95) -> optax.GradientTransformation:
  """Gradients to orthogonal directions, with Nesterov's momentum.

  Each is as long as AdamW's would be (arXiv 2502.16982, §2.2), so that one learning rate serves
  both.

  Args:
    decay: of the momentum.
  """
  return optax.chain(
    optax.trace(decay, nesterov=True),
    optax.stateless_with_tree_map(lambda momentum, _: _direction(momentum)),
  )


def _direction(momentum: Float[Array, "..."]) -> Float[Array, "..."]:
  """The last axis is the output. A convolution's other three are the input; a dense layer's kernels
  may be stacked over layers along the first."""
  shape = momentum.shape
  matrices = momentum.reshape(-1, shape[-1])[None] if momentum.ndim == 4 else momentum
  if matrices.ndim == 2:
    matrices = matrices[None]
  scale = _RMS * max(matrices.shape[1:]) ** 0.5
  return (scale * jax.vmap(orthogonalise)(matrices)).reshape(shape)


def orthogonalise(x: Float[Array, "M N"]) -> Float[Array, "M N"]:
  """Moves all singular values near 1: x (xᵀx)^(-½), nearly, by Newton–Schulz iterations.

  An iteration x ← x p(xᵀx), p(g) = a + b g + c g², changes g = xᵀx to p g p. So both are known from
  g alone, and x is multiplied once, at the end.

  Args:
    x: any matrix; the Gram matrix is taken along its longer side.
  """
  wide = x.shape[0] < x.shape[1]
  x = x / (jnp.linalg.norm(x) + 1e-8)
  # Errors of g grow by a² each time: half precision, a TPU's default, would end in noise.
  with jax.default_matmul_precision("highest"):
    g = x @ x.T if wide else x.T @ x
    a, b, c = COEFFICIENTS
    identity = jnp.eye(g.shape[0], dtype=g.dtype)
    total: Any = identity
    for _ in range(ITERATIONS):
      p = a * identity + b * g + c * (g @ g)
      total, g = p @ total, p @ g @ p
    return total @ x if wide else x @ total
