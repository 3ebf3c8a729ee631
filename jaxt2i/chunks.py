"""Compiled functions over any number of rows: pieces of one size, so that each compiles once."""

from collections.abc import Callable

import jax
import numpy as np


def in_chunks(run: Callable[..., jax.Array], size: int, *arrays: np.ndarray) -> np.ndarray:
  """Applies `run` to pieces of `size` rows, the last filled up with zeros."""
  pieces = []
  for start in range(0, max(1, len(arrays[0])), size):
    piece = [array[start : start + size] for array in arrays]
    rows = len(piece[0])
    padding = [(0, size - rows)]
    padded = [np.pad(p, padding + [(0, 0)] * (p.ndim - 1)) for p in piece]
    pieces.append(np.asarray(run(*padded))[:rows])
  return np.concatenate(pieces)
