"""Drawing one caption an image with nothing given, as most tests do."""

from typing import Any

import jax.numpy as jnp

from jaxt2i.sampling import Conditions, sample


def sample_text(prior, variables, text, keys, options, given=None) -> Any:
  """`sample` for captions [B, T]; `given` [B, N] or None."""
  if given is None:
    given = jnp.full((len(text), prior.num_tokens), -1)
  return sample(prior, variables, Conditions.of(text), keys, options, given)
