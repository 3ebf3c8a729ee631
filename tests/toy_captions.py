"""Captions in which the words of a group are interchangeable."""

import numpy as np

GROUPS = (
  ("dog", "cat", "horse", "bird"),
  ("sees", "chases", "likes", "follows"),
  ("red", "blue", "green", "yellow"),
  ("ball", "kite", "car", "boat"),
)


def grouped_captions(n: int, seed: int = 0) -> list[str]:
  """One word of each group in turn, such as "dog sees red ball"."""
  chosen = np.random.default_rng(seed).integers(0, 4, (n, len(GROUPS)))
  return [" ".join(group[i] for group, i in zip(GROUPS, row, strict=True)) for row in chosen]
