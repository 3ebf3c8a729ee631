"""Are drawings like images of the data, and are all kinds of images drawn? By nearest neighbours.

Precision and recall: Kynkäänniemi et al., arXiv 1904.06991, eqs. 1–2. Density and coverage, which
single odd images sway less: Naeem et al., arXiv 2002.09797, eqs. 4–5. Balls about images reach to
their k-th nearest other image.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Float64

from jaxt2i.evaluators.pairwise import squared_distances

NEIGHBOURS = 5  # k of density and coverage as in their paper; of precision and recall it is 3 there
_AT_ONCE = 1024  # rows of distances


@dataclasses.dataclass(frozen=True)
class Overlap:
  """What the four figures are means of, an entry an image.

  Attributes:
    precise: whether a drawing lies in the ball of a real image.
    recalled: whether a real image lies in the ball of a drawing.
    dense: balls of real images that a drawing lies in, divided by k.
    covered: whether a real image's ball holds a drawing.
  """

  precise: Bool[np.ndarray, " m"]
  recalled: Bool[np.ndarray, " n"]
  dense: Float64[np.ndarray, " m"]
  covered: Bool[np.ndarray, " n"]

  @classmethod
  def of(
    cls, real: Float[np.ndarray, "n D"], fake: Float[np.ndarray, "m D"], k: int = NEIGHBOURS
  ) -> "Overlap":
    """Of two sets of features, more than k images each; memory grows with n + m."""
    of_real, of_fake = _reach(real, k), _reach(fake, k)
    balls = np.zeros(len(fake))
    recalled, covered = np.zeros((2, len(real)), bool)
    for start in range(0, len(real), _AT_ONCE):
      some = slice(start, start + _AT_ONCE)
      distances = squared_distances(real[some], fake)
      inside = distances < of_real[some, None]
      balls += inside.sum(axis=0)
      covered[some] = inside.any(axis=1)
      recalled[some] = (distances < of_fake).any(axis=1)
    return cls(balls > 0, recalled, balls / k, covered)

  def values(
    self, of_real: Float64[np.ndarray, "n R"], of_fake: Float64[np.ndarray, "m R"]
  ) -> dict[str, Float64[np.ndarray, " R"]]:
    """The figures for each column of weights of the images; balls stay those of all images."""
    mean = lambda x, w: x @ w / w.sum(axis=0)
    return {
      "precision": mean(self.precise, of_fake),
      "recall": mean(self.recalled, of_real),
      "density": mean(self.dense, of_fake),
      "coverage": mean(self.covered, of_real),
    }


def _reach(x: np.ndarray, k: int) -> np.ndarray:
  """Squared distance of each image to its k-th nearest other one, [n]."""
  reach = np.empty(len(x))
  for start in range(0, len(x), _AT_ONCE):
    distances = squared_distances(x[start : start + _AT_ONCE], x)  # the nearest is itself, at 0
    reach[start : start + _AT_ONCE] = np.partition(distances, k, axis=1)[:, k]
  return reach
