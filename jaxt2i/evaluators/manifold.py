"""Are drawings like images of the data, and are all kinds of images drawn? By nearest neighbours.

Precision and recall: Kynkäänniemi et al., arXiv 1904.06991, eqs. 1–2. Density and coverage, which
single odd images sway less: Naeem et al., arXiv 2002.09797, eqs. 4–5. Balls about images reach to
their k-th nearest other image.
"""

import numpy as np
from jaxtyping import Float, Float64

from jaxt2i.evaluators.pairwise import squared_distances

NEIGHBOURS = 5  # k of density and coverage as in their paper; of precision and recall it is 3 there
_AT_ONCE = 1024  # rows of distances


def overlap(
  real: Float[np.ndarray, "n D"],
  fake: Float[np.ndarray, "m D"],
  weights: tuple[Float64[np.ndarray, "n R"], Float64[np.ndarray, "m R"]],
  k: int = NEIGHBOURS,
) -> dict[str, Float64[np.ndarray, " R"]]:
  """`precision`, `recall`, `density` and `coverage` for each column of weights of the images.

  precision: share of drawings in the ball of a real image; recall: of real images in the ball of
  a drawing; density: balls of real images that a drawing lies in, divided by k; coverage: share of
  real images whose ball holds a drawing. A ball of an image of weight 0 is none, but balls are
  those of all images. Memory grows with n + m, not with n · m.

  Args:
    real, fake: features of two sets, more than k images each.
    weights: of the images of either set, see `intervals.resamples`.
    k: which nearest image balls reach to.
  """
  of_real, of_fake = weights
  reach_real, reach_fake = _reach(real, k), _reach(fake, k)
  balls = np.zeros_like(of_fake)  # of real images about each drawing
  recalled = covered = np.zeros(of_real.shape[1])
  for start in range(0, len(real), _AT_ONCE):
    some = slice(start, start + _AT_ONCE)
    distances = squared_distances(real[some], fake)
    inside = (distances < reach_real[some, None]).astype(np.float64)
    balls += inside.T @ of_real[some]
    covered = covered + np.sum(of_real[some] * (inside @ of_fake > 0), axis=0)
    found = (distances < reach_fake).astype(np.float64)
    recalled = recalled + np.sum(of_real[some] * (found @ of_fake > 0), axis=0)
  n, m = of_real.sum(axis=0), of_fake.sum(axis=0)
  return {
    "precision": np.sum(of_fake * (balls > 0), axis=0) / m,
    "recall": recalled / n,
    "density": np.sum(of_fake * balls, axis=0) / (k * m),
    "coverage": covered / n,
  }


def _reach(x: np.ndarray, k: int) -> np.ndarray:
  """Squared distance of each image to its k-th nearest other one, [n]."""
  reach = np.empty(len(x))
  for start in range(0, len(x), _AT_ONCE):
    distances = squared_distances(x[start : start + _AT_ONCE], x)  # the nearest is itself, at 0
    reach[start : start + _AT_ONCE] = np.partition(distances, k, axis=1)[:, k]
  return reach
