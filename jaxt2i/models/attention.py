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

  `mask` is True where a query may look, somewhere at least. For the backward pass weights are
  computed once more from their largest score and their sum (FlashAttention, arXiv 2205.14135,
  §3.1).
  """
  return _forward(q, k, v, mask)[0]


def _forward(q: Array, k: Array, v: Array, mask: Array) -> tuple[Array, tuple[Array, ...]]:
  # Heads before positions: on a CPU a training step is a fifth faster than with XLA's own order.
  q, k, v = (_swapped(x) for x in (q * q.shape[-1] ** -0.5, k, v))
  scores = _float32_sums("bhqd,bhkd->bhqk", q, k)
  scores = jnp.where(mask[:, None], scores, jnp.finfo(jnp.float32).min)
  largest = jnp.max(scores, axis=-1)  # [B, heads, N]
  weights = jnp.exp(scores - largest[..., None])
  total = jnp.sum(weights, axis=-1)  # [B, heads, N]
  weights = (weights / total[..., None]).astype(v.dtype)
  out = _swapped(jnp.einsum("bhqk,bhkd->bhqd", weights, v))
  out = out.reshape(*out.shape[:2], -1)
  return out, (q, k, v, mask, out, largest, total)


def _backward(kept: tuple[Array, ...], g: Float[Array, "B N width"]) -> tuple[Array | None, ...]:
  """Of weights P = softmax(S) and outputs O: dS = P ∘ (dO Vᵀ − rowsum(dO ∘ O)), §3.1 and B.4.

  All of it transposed, keys before queries. Otherwise XLA finds that the forward pass has computed
  the same scores, and keeps those.
  """
  q, k, v, mask, out, largest, total = kept
  heads, size = q.shape[1], q.shape[3]
  g, out = (_swapped(x.reshape(*x.shape[:2], heads, size)) for x in (g, out))
  seen = jnp.swapaxes(mask, 1, 2)[:, None]
  scores = _float32_sums("bhkd,bhqd->bhkq", k, q)
  weights = jnp.where(seen, jnp.exp(scores - _row(largest)) / _row(total), 0)
  mean = jnp.sum(g.astype(jnp.float32) * out.astype(jnp.float32), axis=-1)
  d_weights = _float32_sums("bhkd,bhqd->bhkq", v, g)
  d_scores = (weights * (d_weights - _row(mean))).astype(q.dtype)
  d_q = jnp.einsum("bhkq,bhkd->bhqd", d_scores, k) * size**-0.5
  d_k = jnp.einsum("bhkq,bhqd->bhkd", d_scores, q)
  d_v = jnp.einsum("bhkq,bhqd->bhkd", weights.astype(g.dtype), g)
  return _swapped(d_q), _swapped(d_k), _swapped(d_v), None


attend.defvjp(_forward, _backward)


def _swapped(x: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
  """Positions and heads the other way round."""
  return jnp.swapaxes(x, 1, 2)


def _row(x: Float[Array, "B heads N"]) -> Float[Array, "B heads 1 N"]:
  """What each query has, beside its scores of all keys."""
  return x[:, :, None]


def _float32_sums(axes: str, a: Array, b: Array) -> Array:
  """A product whose sums stay float32: bfloat16 is for what is multiplied."""
  return jnp.einsum(axes, a, b, preferred_element_type=jnp.float32)
