"""A training state and how to save, restore and compare it, for the tests of checkpoints."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from jaxt2i.checkpoints import Checkpoints
from jaxt2i.errors import UserError


class State(struct.PyTreeNode):
  step: Any
  params: Any
  ema_params: Any
  collections: Any
  opt_state: Any
  key: Any


def make_state(step: int = 0, codes: int = 16) -> State:
  optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
  normal = jax.random.normal(jax.random.key(step), (codes, 4))
  params = {
    "encoder": {"kernel": normal, "bias": normal[0].astype(jnp.bfloat16)},
    "codebook": normal * 3,
  }
  collections = {
    "codebook": {"counts": jnp.arange(codes, dtype=jnp.int32), "rate": jnp.float32(0.1)},
    "empty": {},
  }
  return State(
    step=jnp.asarray(step, jnp.int32),
    params=params,
    ema_params=jax.tree.map(lambda x: x * jnp.asarray(2, x.dtype), params),
    collections=collections,
    opt_state=optimizer.init(params),
    key=jax.random.key(7),
  )


def abstract(state: Any) -> Any:
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)


def raw(leaf: Any) -> tuple:
  if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    leaf = jax.random.key_data(leaf)
  return np.dtype(leaf.dtype).name, leaf.shape, np.asarray(leaf).tobytes()


def assert_same_bits(actual: Any, expected: Any) -> None:
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  assert jax.tree.map(raw, actual) == jax.tree.map(raw, expected)


def save(workdir: Path, *steps: int, keep: int = 5) -> None:
  with Checkpoints(workdir, keep=keep) as checkpoints:
    for step in steps:
      checkpoints.save(step, make_state(step))


def restore(workdir: Path, step: int | None = None) -> State:
  with Checkpoints(workdir, keep=5) as checkpoints:
    return checkpoints.restore(abstract(make_state()), step)


def largest_file(workdir: Path, step: int) -> Path:
  folder = workdir / "checkpoints" / str(step)
  return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def assert_one_line(error: pytest.ExceptionInfo[UserError], *words: str) -> None:
  message = str(error.value)
  assert "\n" not in message
  for word in words:
    assert word in message
