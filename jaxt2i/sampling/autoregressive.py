"""Drawing tokens from an autoregressive prior, one after the other."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Int, Key

from jaxt2i.errors import UsageError
from jaxt2i.models.prior import AutoregressivePrior
from jaxt2i.sampling.conditions import Conditions
from jaxt2i.sampling.options import SamplingOptions, draw
from jaxt2i.types import Array


@partial(jax.jit, static_argnames=("prior", "options"))
def sample_autoregressive(
  prior: AutoregressivePrior,
  variables: Any,
  conditions: Conditions,
  keys: Key[Array, " B"],
  options: SamplingOptions,
  given: Int[Array, "B N"],
) -> Int[Array, "B h w"]:
  """Draws a grid of tokens for each caption with a KV cache, in one compiled loop.

  Args:
    prior: the module (static).
    variables: its variables, `{"params": ...}`.
    conditions: captions as padded token ids.
    keys: one key an image; token i of an image uses fold_in(key, i).
    options: how to draw (static).
    given: tokens that are there already and stay, −1 where one is missing. Only what comes after a
      given token, in raster order, is drawn to fit it.

  Raises:
    UsageError: the options have `steps`.
  """
  if options.steps:
    raise UsageError(
      f"steps is {options.steps}: must be 0 for an autoregressive prior, which draws one token "
      "after the other."
    )
  batch, n = given.shape
  cache = prior.apply(variables, conditions.stacked(options), method="start")

  def body(carry: Any, inputs: tuple[Array, Array]) -> Any:
    (token, cache), (index, fixed) = carry, inputs
    tiled = conditions.repeated(token, options)
    logits: Any
    logits, cache = prior.apply(variables, tiled, index, cache, method="step")
    done = (index + 1).astype(jnp.float32) / n
    logits = conditions.combined(logits, options, done)
    token_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, index)
    drawn = jax.vmap(partial(draw, options=options))(token_keys, logits)
    token = jnp.where(fixed < 0, drawn, fixed)
    return (token, cache), token

  first = jnp.zeros((batch,), jnp.int32)  # not looked at: position 0 sees the blank
  _, tokens = jax.lax.scan(body, (first, cache), (jnp.arange(n), given.T))
  return tokens.T.reshape(batch, *prior.grid)
