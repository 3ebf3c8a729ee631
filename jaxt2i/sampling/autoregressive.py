"""Drawing tokens from an autoregressive prior, one after the other."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Int, Key

from jaxt2i.errors import UsageError
from jaxt2i.models.autoregressive import AutoregressivePrior
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
  (batch, n), depth = given.shape, prior.depth
  cache = prior.apply(variables, conditions.stacked(options), method="start")

  def body(carry: Any, inputs: tuple[Array, Array]) -> Any:
    (tokens, cache), (index, fixed) = carry, inputs
    tiled = conditions.repeated(tokens, options)
    features: Any
    features, cache = prior.apply(variables, tiled, index, cache, method="step")
    for level in range(depth):  # of a residual tokenizer; else there is one
      number = index * depth + level
      tiled = conditions.repeated(tokens, options)
      logits: Any = prior.apply(variables, features, tiled, level, method="code")
      logits = conditions.combined(logits, options, (number + 1).astype(jnp.float32) / n)
      token_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, number)
      drawn = jax.vmap(partial(draw, options=options))(token_keys, logits)
      tokens = tokens.at[:, level].set(jnp.where(fixed[:, level] < 0, drawn, fixed[:, level]))
    return (tokens, cache), tokens

  first = jnp.zeros((batch, depth), jnp.int32)  # not looked at: position 0 sees the blank
  count = n // depth
  places = given.reshape(batch, count, depth).swapaxes(0, 1)
  _, tokens = jax.lax.scan(body, (first, cache), (jnp.arange(count), places))
  return tokens.swapaxes(0, 1).reshape(batch, *prior.grid)
