"""Squared maximum mean discrepancy of two sets of features: KID and, with a Gaussian kernel, CMMD.

MMD² without bias (Gretton et al. 2012, JMLR 13, eq. 3): no image is paired with itself, so the mean
over many draws of two sets of one distribution is 0, at any number of images, and single values may
be below it. A Fréchet distance of a thousand images is mostly bias.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float64

from jaxt2i.evaluators.pairwise import squared_distances

# Of all pairs of rows: ([n, D], [m, D]) → [n, m], all float64.
Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]

CMMD_SIGMA = 10.0
_AT_ONCE = 1024  # rows of a kernel matrix


def polynomial(
  x: Float64[np.ndarray, "n D"], y: Float64[np.ndarray, "m D"]
) -> Float64[np.ndarray, "n m"]:
  """(x·y / D + 1)³, KID's kernel (Bińkowski et al., arXiv 1801.01401, §4)."""
  return (x @ y.T / x.shape[1] + 1) ** 3


def gaussian(
  x: Float64[np.ndarray, "n D"], y: Float64[np.ndarray, "m D"], sigma: float = CMMD_SIGMA
) -> Float64[np.ndarray, "n m"]:
  """exp(−‖x − y‖² / 2σ²), CMMD's kernel (Jayasumana et al., arXiv 2401.09603, §4).

  Of vectors of length 1, as there, it is nearly linear with σ 10: the distance is that of means,
  and says little of diversity.
  """
  return np.exp(-squared_distances(x, y) / (2 * sigma**2))


def mmd2(
  real: Float[np.ndarray, "n D"],
  fake: Float[np.ndarray, "m D"],
  kernel: Kernel,
  weights: tuple[Float64[np.ndarray, "n R"], Float64[np.ndarray, "m R"]],
  *,
  paired: bool = False,
) -> Float64[np.ndarray, " R"]:
  """MMD² of weighted sets, for each column of weights; memory grows with n + m, not with n · m.

  Args:
    real, fake: features of two sets, 2 images each at least.
    kernel: of pairs of images.
    weights: of the images of either set, see `intervals.resamples`; ones for the sets themselves.
    paired: image i of one set and image i of the other belong together, as a photo and what was
      drawn for its caption: they are not independent, and not compared. Left in, such pairs make
      what follows captions nearer than another sample of the same distribution is.
  """
  x, y = np.asarray(real, np.float64), np.asarray(fake, np.float64)
  of_x, of_y = weights
  within = _within(x, of_x, kernel) + _within(y, of_y, kernel)
  across = _total(x, of_x, y, of_y, kernel)
  pairs = of_x.sum(axis=0) * of_y.sum(axis=0)
  if paired:
    together = of_x * of_y
    across = across - _alike(x, y, kernel) @ together
    pairs = pairs - together.sum(axis=0)
  return within - 2 * across / pairs


def _within(x: np.ndarray, weights: np.ndarray, kernel: Kernel) -> np.ndarray:
  """Mean of k over pairs of different images, [R]."""
  total = _total(x, weights, x, weights, kernel) - _alike(x, x, kernel) @ np.square(weights)
  return total / (np.square(weights.sum(axis=0)) - np.square(weights).sum(axis=0))


def _alike(x: np.ndarray, y: np.ndarray, kernel: Kernel) -> np.ndarray:
  """k(x_i, y_i), [n]."""
  return np.array([kernel(a[None], b[None])[0, 0] for a, b in zip(x, y, strict=True)])


def _total(
  x: np.ndarray, of_x: np.ndarray, y: np.ndarray, of_y: np.ndarray, kernel: Kernel
) -> np.ndarray:
  """Σ w_i v_j k(x_i, y_j), [R]."""
  total = np.zeros(of_x.shape[1])
  for start in range(0, len(x), _AT_ONCE):
    some = slice(start, start + _AT_ONCE)
    total += np.sum(of_x[some] * (kernel(x[some], y) @ of_y), axis=0)
  return total
