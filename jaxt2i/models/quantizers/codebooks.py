"""Parts of quantizers that compare latents with every code of a codebook.

All `K` distances of all latents at once would be gigabytes at K = 16,384: above MEMORY_CAP, blocks
of latents are compared one after the other.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxt2i.types import Array, Key

MEMORY_CAP = 64 * 2**20  # bytes of float32 distances that are held at once


def nearest(z: Float[Array, "M D"], codes: Float[Array, "K D"]) -> Int[Array, " M"]:
  """Index of the nearest code by squared distance; of equally near ones the first."""
  squares = jnp.sum(jnp.square(codes), axis=-1)

  def one(z: Float[Array, " D"]) -> Int[Array, ""]:
    # ‖z‖² is the same for all codes, so left out.
    return jnp.argmax(2 * codes @ z - squares).astype(jnp.int32)

  return _map(one, z, len(codes))


def soft_assignments(
  z: Float[Array, "M D"], codes: Float[Array, "K D"], temperature: float
) -> tuple[Float[Array, " M"], Float[Array, " K"]]:
  """p(code | z) = softmax(−‖z − code‖² / temperature): its entropy for each z (nats), its mean."""
  squares = jnp.sum(jnp.square(codes), axis=-1)

  def one(z: Float[Array, " D"]) -> tuple[Float[Array, ""], Float[Array, " K"]]:
    log_p = jax.nn.log_softmax((2 * codes @ z - squares) / temperature)
    p = jnp.exp(log_p)
    return -jnp.sum(p * log_p), p

  def block(z: Float[Array, "m D"], counted: Float[Array, " m"]) -> tuple[Any, Any]:
    entropies, p = jax.vmap(one)(z)
    return entropies, counted @ p

  rows = _rows(len(codes))
  if len(z) <= rows:
    entropies, total = block(z, jnp.ones(len(z), z.dtype))
    return entropies, total / len(z)
  padded, counted = _in_blocks(z, rows), _in_blocks(jnp.ones(len(z), z.dtype), rows)
  # Distances are computed again for the gradient rather than kept.
  entropies, totals = jax.lax.map(lambda xs: jax.checkpoint(block)(*xs), (padded, counted))
  return entropies.reshape(-1)[: len(z)], totals.sum(axis=0) / len(z)


def entropy_penalty(
  z: Float[Array, "B h w D"], codes: Float[Array, "K D"], temperature: float
) -> Float[Array, " B"]:
  """Mean over positions of H(p(code | z)), minus H of the batch's mean p (arXiv 2310.05737, eq. 6).

  Low where each latent is sure of its code and all codes are used alike; at least −log K.
  """
  flat = z.reshape(-1, z.shape[-1]).astype(jnp.float32)
  entropies, mean = soft_assignments(flat, codes, temperature)
  of_mean = jnp.sum(jax.scipy.special.entr(mean))
  return entropies.reshape(z.shape[0], -1).mean(axis=1) - of_mean


def kmeans(
  z: Float[Array, "M D"], start: Float[Array, "K D"], iterations: int
) -> Float[Array, "K D"]:
  """Lloyd's algorithm; a centre that no z is nearest to stays."""

  def step(_: Any, centres: Float[Array, "K D"]) -> Float[Array, "K D"]:
    count, total = sums(z, nearest(z, centres), len(centres))
    moved = total / jnp.maximum(count, 1)[:, None]
    return jnp.where((count > 0)[:, None], moved, centres)

  return jax.lax.fori_loop(0, iterations, step, start)


def sums(
  z: Float[Array, "M D"], tokens: Int[Array, " M"], codebook_size: int
) -> tuple[Float[Array, " K"], Float[Array, "K D"]]:
  """How many z each code has, and their sum. No one-hot matrix: that would be [M, K]."""
  count = jnp.zeros(codebook_size, z.dtype).at[tokens].add(1.0)
  return count, jnp.zeros((codebook_size, z.shape[-1]), z.dtype).at[tokens].add(z)


def draws(z: Float[Array, "M D"], key: Key, count: int) -> Float[Array, "count D"]:
  """Some of the z, with repetition."""
  return z[jax.random.randint(key, (count,), 0, len(z))]


def _rows(codebook_size: int) -> int:
  return max(1, MEMORY_CAP // (4 * codebook_size))


def _map(one: Callable[[Any], Any], z: Float[Array, "M D"], codebook_size: int) -> Any:
  rows = _rows(codebook_size)
  return jax.vmap(one)(z) if len(z) <= rows else jax.lax.map(one, z, batch_size=rows)


def _in_blocks(x: Any, rows: int) -> Any:
  """[M, ...] as [blocks, rows, ...], the last padded with zeros."""
  missing = -len(x) % rows
  x = jnp.concatenate([x, jnp.zeros((missing, *x.shape[1:]), x.dtype)])
  return x.reshape(-1, rows, *x.shape[1:])
