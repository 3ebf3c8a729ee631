"""How well pictures fit their captions by CLIP (CLIPScore, Hessel et al., arXiv 2104.08718)."""

import numpy as np
from jaxtyping import Float, Float32

WEIGHT = 100.0


def clip_score(
  images: Float32[np.ndarray, "n D"], captions: Float32[np.ndarray, "n D"]
) -> Float[np.ndarray, " n"]:
  """100 · max(cos, 0) of each picture and its caption, 0 to 100; a score of a set is the mean.

  That is equation 1 with w = 100, the scale on which papers on text to image and torchmetrics give
  it, instead of 2.5, the authors'. (torchmetrics takes the maximum after the mean: another number
  only where a cosine is negative.)

  Args:
    images, captions: points of length 1, as `jaxt2i.clip.Clip` gives them.
  """
  cosines = np.sum(images.astype(np.float64) * captions, axis=1)
  return WEIGHT * np.maximum(cosines, 0)
