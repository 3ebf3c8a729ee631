"""Weights of jaxt2i's networks to those of their PyTorch twins, by name."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

STACKED = "blocks"  # of the prior: one set of parameters with a leading axis over layers


def state_dict(params: Mapping[str, Any]) -> dict[str, torch.Tensor]:
  """Flax parameters (or gradients of them) as a state dict of the same network in PyTorch."""
  return {name: torch.from_numpy(array.copy()) for name, array in _named(params, "")}


def _named(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, np.ndarray]]:
  for name, value in tree.items():
    if name == STACKED and not prefix:
      for layer in range(_length(value)):
        yield from _named(_take(value, layer), f"{STACKED}.{layer}.")
    elif isinstance(value, Mapping):
      yield from _named(value, prefix + re.sub(r"^block(\d+)$", r"blocks.\1", name) + ".")
    else:
      yield _leaf(name, np.asarray(value), prefix)


def _leaf(name: str, array: np.ndarray, prefix: str) -> tuple[str, np.ndarray]:
  if name == "kernel":  # [in, out] or [h, w, in, out]; PyTorch: [out, in] or [out, in, h, w]
    return f"{prefix}weight", array.T if array.ndim == 2 else array.transpose(3, 2, 0, 1)
  if name in ("scale", "embedding"):
    return f"{prefix}weight", array
  return prefix + name, array


def _length(tree: Any) -> int:
  while isinstance(tree, Mapping):
    tree = next(iter(tree.values()))
  return len(tree)


def _take(tree: Any, layer: int) -> Any:
  if isinstance(tree, Mapping):
    return {name: _take(value, layer) for name, value in tree.items()}
  return tree[layer]
