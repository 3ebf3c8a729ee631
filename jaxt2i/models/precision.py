"""Layers that compute in the dtype of their parameters, and normalise in float32.

Whoever trains in bfloat16 casts the parameters, and activations follow: what comes in (an image,
a code, features) takes on the kernel's dtype in the first layer that it meets. With parameters in
float32 these layers are Flax's own, to the bit.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxt2i.types import Array


def as_kernel(*args: Array | None, dtype: Any = None, inexact: bool = True) -> list[Array | None]:
  """Input, kernel and bias in the kernel's dtype, where Flax would take the widest.

  An argument `promote_dtype` of Flax's layers, whose `dtype` is to be left out.
  """
  del dtype, inexact
  kernel = args[1]
  assert kernel is not None
  return [None if x is None else jnp.asarray(x, kernel.dtype) for x in args]


Conv = functools.partial(nn.Conv, promote_dtype=as_kernel)


class LayerNorm(nn.LayerNorm):
  """Flax's, in float32 whatever the dtype of x; the result has the dtype of x."""

  def __call__(self, x: Array) -> Array:  # type: ignore[override]
    """Mean 0 and variance 1 over the last axis, times a scale, plus a bias."""
    with jax.numpy_dtype_promotion("standard"):  # x is of fewer bits than its mean
      return super().__call__(x)


class RMSNorm(nn.RMSNorm):
  """Flax's, in float32 whatever the dtype of x; the result has the dtype of x."""

  def __call__(self, x: Array) -> Array:  # type: ignore[override]
    """Mean square 1 over the last axis, times a scale."""
    with jax.numpy_dtype_promotion("standard"):
      return super().__call__(x)
