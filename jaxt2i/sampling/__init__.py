"""Drawing tokens from a prior: options, conditions, and a sampler for each kind."""

from typing import Any

from jaxtyping import Int, Key

from jaxt2i.models.masked import MaskedPrior
from jaxt2i.models.prior import Prior
from jaxt2i.sampling.autoregressive import sample_autoregressive
from jaxt2i.sampling.conditions import Conditions, guide
from jaxt2i.sampling.masked import sample_masked
from jaxt2i.sampling.options import SCHEDULES, SamplingOptions, draw, image_key, restrict
from jaxt2i.types import Array

__all__ = [
  "SCHEDULES",
  "Conditions",
  "SamplingOptions",
  "draw",
  "guide",
  "image_key",
  "restrict",
  "sample",
  "sample_autoregressive",
  "sample_masked",
]


def sample(
  prior: Prior,
  variables: Any,
  conditions: Conditions,
  keys: Key[Array, " B"],
  options: SamplingOptions,
  given: Int[Array, "B N"],
) -> Int[Array, "B h w"]:
  """Draws a grid of tokens for each caption; arguments as of the kind's own sampler."""
  sampler: Any = sample_masked if isinstance(prior, MaskedPrior) else sample_autoregressive
  return sampler(prior, variables, conditions, keys, options, given)
