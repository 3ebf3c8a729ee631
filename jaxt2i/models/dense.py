"""Dense layers as products of two matrices."""

import functools
from typing import Any

import flax.linen as nn
from jax import lax

from jaxt2i.models.precision import as_kernel
from jaxt2i.types import Array


def rows_dot(x: Array, kernel: Array, dimension_numbers: Any, **options: Any) -> Array:
  """`lax.dot_general` of `[…, D]` and `[D, F]`, as nn.Dense calls it, all leading axes made one.

  On a CPU XLA copies activations of three axes and more into another order for the gradient of the
  kernel, which takes longer than the product itself. The values are the same.

  Raises:
    ValueError: other axes are to be contracted than the last of x and the first of a matrix.
  """
  if dimension_numbers != (((x.ndim - 1,), (0,)), ((), ())) or kernel.ndim != 2:
    raise ValueError(f"a product of rows and a matrix was expected, not {dimension_numbers}")
  rows = x.reshape(-1, x.shape[-1])
  out = lax.dot_general(rows, kernel, (((1,), (0,)), ((), ())), **options)
  return out.reshape(*x.shape[:-1], kernel.shape[1])


Dense = functools.partial(nn.Dense, dot_general=rows_dot, promote_dtype=as_kernel)
