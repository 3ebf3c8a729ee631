"""Scaled dot-product attention, with a gradient that keeps no weights of pairs of positions."""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jaxt2i.types import Array


@jax.custom_vjp
def attend(
  q: Float[Array, "B N heads D"],
  k: Float[Array, "B M heads D"],
  v: Float[Array, "B M heads D"],
  mask: Bool[Array, "#B #N M"],
) -> Float[Array, "B N width"]:
  """Scaled dot-product attention (arXiv 1706.03762, eq. 1); softmax in float32.

  `mask` is True where a query may look. For the backward pass weights are computed once more from
  their largest score and their sum (FlashAttention, arXiv 2205.14135, §3.1): with 256 tokens, to
  fetch them from memory takes longer.
  """
  return _forward(q, k, v, mask)[0]


def _forward(q: Array, k: Array, v: Array, mask: Array) -> tuple[Array, tuple[Array, ...]]:
  # Heads before positions: XLA on a CPU turns products over inner axes into slow loops.
  q, k, v = (_swapped(x) for x in (q * q.shape[-1] ** -0.5, k, v))
  scores = _scores(q, k, mask)
  largest = jnp.max(scores, axis=-1, keepdims=True)
  weights = jnp.exp(scores - largest)
  total = jnp.sum(weights, axis=-1, keepdims=True)
  weights = (weights / total).astype(v.dtype)
  out = _swapped(jnp.einsum("bhqk,bhkd->bhqd", weights, v))
  out = out.reshape(*out.shape[:2], -1)
  return out, (q, k, v, mask, out, largest, total)


def _backward(kept: tuple[Array, ...], g: Float[Array, "B N width"]) -> tuple[Array | None, ...]:
  """Of weights P = softmax(S) and outputs O: dS = P ∘ (dO Vᵀ − rowsum(dO ∘ O)), §3.1 and B.4."""
  q, k, v, mask, out, largest, total = kept
  heads, size = q.shape[1], q.shape[3]
  g, out = (_swapped(x.reshape(*x.shape[:2], heads, size)) for x in (g, out))
  weights = jnp.exp(_scores(q, k, mask) - largest) / total
  mean = jnp.sum((g * out).astype(jnp.float32), axis=-1, keepdims=True)
  d_weights = jnp.einsum("bhqd,bhkd->bhqk", g, v)
  d_scores = (weights * (d_weights.astype(jnp.float32) - mean)).astype(q.dtype)
  d_q = jnp.einsum("bhqk,bhkd->bhqd", d_scores, k) * size**-0.5
  d_k = jnp.einsum("bhqk,bhqd->bhkd", d_scores, q)
  d_v = jnp.einsum("bhqk,bhqd->bhkd", weights.astype(g.dtype), g)
  return _swapped(d_q), _swapped(d_k), _swapped(d_v), None


attend.defvjp(_forward, _backward)


def _scores(
  q: Float[Array, "B heads N D"], k: Float[Array, "B heads M D"], mask: Bool[Array, "#B #N M"]
) -> Float[Array, "B heads N M"]:
  scores = jnp.einsum("bhqd,bhkd->bhqk", q, k).astype(jnp.float32)
  return jnp.where(mask[:, None], scores, jnp.finfo(jnp.float32).min)


def _swapped(x: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
  """Positions and heads the other way round."""
  return jnp.swapaxes(x, 1, 2)
