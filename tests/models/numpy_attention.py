"""Attention in NumPy, one query and one head at a time."""

import numpy as np


def numpy_attend(q, k, v, mask):
  """[B, N, heads D] of q [B, N, heads, D], k and v [B, M, heads, D] and a mask [#B, #N, M]."""
  out = np.zeros(q.shape)
  for b, n, h in np.ndindex(q.shape[:3]):
    scores = np.array([q[b, n, h] @ k[b, m, h] for m in range(k.shape[1])]) / np.sqrt(q.shape[3])
    seen = mask[b if len(mask) > 1 else 0, n if mask.shape[1] > 1 else 0]
    weights = np.where(seen, np.exp(scores - scores[seen].max()), 0)
    out[b, n, h] = (weights / weights.sum()) @ v[b, :, h]
  return out.reshape(*q.shape[:2], -1)
