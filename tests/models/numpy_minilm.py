"""MiniLM in NumPy, straight from the weights' own names: the reference for ours.

Nothing is shared with `jaxt2i.models.minilm`: a caption at a time without padding, a head at a
time, float64, token types not folded, q, k and v apart.
"""

import functools
from collections.abc import Mapping

import numpy as np
from scipy.special import erf


@functools.cache
def random_weights() -> Mapping[str, np.ndarray]:
  """float32 of the names and shapes in the file, none at zero or one, where faults could hide."""
  rng = np.random.default_rng(0)
  weights = {}

  def add(name: str, *shape: int, scale: float) -> None:
    weights[name] = np.float32(scale) * rng.standard_normal(shape, np.float32)

  def dense(name: str, outputs: int, inputs: int) -> None:
    add(f"{name}.weight", outputs, inputs, scale=inputs**-0.5)
    add(f"{name}.bias", outputs, scale=0.3)

  def norm(name: str) -> None:
    add(f"{name}.weight", 384, scale=0.2)
    weights[f"{name}.weight"] += 1
    add(f"{name}.bias", 384, scale=0.3)

  for name, rows in (("word", 30522), ("position", 512), ("token_type", 2)):
    add(f"embeddings.{name}_embeddings.weight", rows, 384, scale=0.3)
  norm("embeddings.LayerNorm")
  for i in range(6):
    layer = f"encoder.layer.{i}"
    for part in ("self.query", "self.key", "self.value", "output.dense"):
      dense(f"{layer}.attention.{part}", 384, 384)
    norm(f"{layer}.attention.output.LayerNorm")
    dense(f"{layer}.intermediate.dense", 1536, 384)
    dense(f"{layer}.output.dense", 384, 1536)
    norm(f"{layer}.output.LayerNorm")
  return weights


def features(weights: Mapping[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
  """[T, 384] float64 of a caption's ids [T], none of which is padding."""
  w = lambda name: np.asarray(weights[name], np.float64)

  def dense(x: np.ndarray, name: str) -> np.ndarray:
    return x @ w(f"{name}.weight").T + w(f"{name}.bias")

  def norm(x: np.ndarray, name: str) -> np.ndarray:
    x = x - x.mean(axis=1, keepdims=True)
    x = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-12)
    return x * w(f"{name}.weight") + w(f"{name}.bias")

  words, positions, types = (
    w(f"embeddings.{name}_embeddings.weight") for name in ("word", "position", "token_type")
  )
  x = norm(words[ids] + positions[: len(ids)] + types[0], "embeddings.LayerNorm")
  for i in range(6):
    layer = f"encoder.layer.{i}"
    q, k, v = (dense(x, f"{layer}.attention.self.{part}") for part in ("query", "key", "value"))
    heads = []
    for start in range(0, 384, 32):
      cut = slice(start, start + 32)
      scores = q[:, cut] @ k[:, cut].T / np.sqrt(32)
      seen = np.exp(scores - scores.max(axis=1, keepdims=True))
      heads.append(seen / seen.sum(axis=1, keepdims=True) @ v[:, cut])
    y = dense(np.concatenate(heads, axis=1), f"{layer}.attention.output.dense")
    x = norm(x + y, f"{layer}.attention.output.LayerNorm")
    y = dense(x, f"{layer}.intermediate.dense")
    y = dense(y * (1 + erf(y / np.sqrt(2))) / 2, f"{layer}.output.dense")
    x = norm(x + y, f"{layer}.output.LayerNorm")
  return x
