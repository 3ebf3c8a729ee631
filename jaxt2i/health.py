"""Signs that a tokenizer goes wrong, while there is time to do something about it."""

import logging
import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int64

from jaxt2i.models.quantizers import (
  BSQ,
  FSQ,
  LFQ,
  GumbelQuantizer,
  Quantizer,
  ResidualQuantizer,
)

logger = logging.getLogger(__name__)

_LEAST_USAGE = 0.2  # of the codes that could be in use
_IN_A_ROW = 2  # evaluations: early on a codebook may shrink before revival acts
# Bits of all tokens of an image, for each bit that tells the training images apart. The default
# grid, 64 tokens of 1,000 codes, just passes with the 3,800 images of OpenMoji.
_BITS_A_BIT = 64


class CollapseAlarm:
  """Warns where few codes stay in use, and names what helps."""

  def __init__(self, quantizer: Quantizer):
    self._quantizer = quantizer
    self._low = 0

  def __call__(self, counts: Int64[np.ndarray, " K"]) -> bool:
    """Takes one evaluation's counts of codes; True if it warned."""
    possible = min(len(counts), int(counts.sum()))  # a small split cannot hit every code
    used = int(np.sum(counts > 0))
    self._low = self._low + 1 if used < _LEAST_USAGE * possible else 0
    if self._low < _IN_A_ROW:
      return False
    logger.warning(
      "CODEBOOK COLLAPSE: %d of %d codes are in use, in %d evaluations in a row. What helps: %s",
      used,
      len(counts),
      self._low,
      remedy(self._quantizer),
    )
    return True


def remedy(quantizer: Quantizer) -> str:
  """What helps against a collapse of this quantizer, as options of a config."""
  if isinstance(quantizer, ResidualQuantizer):
    quantizer = quantizer.inner
  where = "config.model.quantizer"
  own: Mapping[type, str] = {
    FSQ: f"fewer or smaller {where}.levels",
    LFQ: f"a greater {where}.entropy_weight, a smaller codebook_size",
    BSQ: f"a greater {where}.entropy_weight, a smaller codebook_size",
    GumbelQuantizer: f"a greater {where}.kl_weight or temperature_end",
  }
  lookup = f"a greater {where}.revival_threshold, a smaller code_dim, cosine=True"
  return f"{own.get(type(quantizer), lookup)}; a smaller config.optimizer.learning_rate"


def entropy_cliff(num_tokens: int, codebook_size: int, num_images: int) -> str | None:
  """A warning if a prior is bound to learn the training images by heart, else None.

  log2(images) bits are enough to name a training image; the tokens that follow those carry nothing
  but the memory of it (arXiv 2605.06207, "the entropy cliff").
  """
  bits = num_tokens * math.log2(codebook_size)
  names = math.log2(max(num_images, 2))
  if bits <= _BITS_A_BIT * names:
    return None
  return (
    f"{num_tokens} tokens of {codebook_size:,} codes are {bits:,.0f} bits an image, but "
    f"{names:.0f} bits tell {num_images:,} training images apart: a prior on such tokens will "
    f"learn them by heart. Fewer tokens or a smaller codebook (up to {_BITS_A_BIT * names:,.0f} "
    "bits) or more images help it more than better reconstructions do."
  )
