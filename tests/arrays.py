"""Random numbers for tests, from NumPy: JAX would compile a generator for every shape."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def normal(seed: int, *shape: int) -> jax.Array:
  """Standard normal float32."""
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def integers(seed: int, low: int, high: int, *shape: int) -> jax.Array:
  """Uniform int32 in [low, high)."""
  return jnp.asarray(np.random.default_rng(seed).integers(low, high, shape), jnp.int32)


def assert_close(actual: Any, expected: Any, atol: float) -> None:
  """Equal to so much, whatever the size."""
  np.testing.assert_allclose(np.asarray(actual, np.float64), expected, rtol=0, atol=atol)


def random_params(module: Any, *inputs: Any, seed: int = 0, **options: Any) -> Any:
  """Parameters of the module's shapes, none of them at zero or one, where faults could hide."""
  rng = np.random.default_rng(seed)

  def fill(path: Any, leaf: Any) -> jax.Array:
    values = rng.normal(size=leaf.shape)
    match path[-1].key:
      case "kernel":
        values /= np.sqrt(np.prod(leaf.shape[-4:-1] if leaf.ndim == 4 else leaf.shape[-2:-1]))
      case "scale":
        values = 1 + 0.2 * values
      case _:
        values *= 0.3
    return jnp.asarray(values, leaf.dtype)

  init = functools.partial(module.init, **options)
  shapes = jax.eval_shape(init, jax.random.key(0), *inputs)["params"]
  return jax.tree_util.tree_map_with_path(fill, shapes)
