"""Distances of all pairs of two sets."""

import numpy as np
from jaxtyping import Float, Float64


def squared_distances(
  x: Float[np.ndarray, "n D"], y: Float[np.ndarray, "m D"]
) -> Float64[np.ndarray, "n m"]:
  """‖x_i − y_j‖² by one product of matrices, in float64; 0 where rounding would leave less."""
  x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
  squares = np.square(x).sum(axis=1)[:, None] + np.square(y).sum(axis=1)
  return (squares - 2 * x @ y.T).clip(0)
