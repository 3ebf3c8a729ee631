"""Drawing tokens from a masked prior, many at once (MaskGIT, arXiv 2202.04200, §3.2)."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, Key

from jaxt2i.errors import UsageError
from jaxt2i.models.masked import MaskedPrior
from jaxt2i.sampling.conditions import Conditions
from jaxt2i.sampling.options import SamplingOptions, draw
from jaxt2i.types import Array

STEPS = 8  # where the options say nothing


@partial(jax.jit, static_argnames=("prior", "options"))
def sample_masked(
  prior: MaskedPrior,
  variables: Any,
  conditions: Conditions,
  keys: Key[Array, " B"],
  options: SamplingOptions,
  given: Int[Array, "B N"],
) -> Int[Array, "B h w"]:
  """Draws a grid of tokens for each caption, in `options.steps` passes through the network.

  Each step draws all tokens that are missing and keeps those that it is surest of: so many that
  after step s of S a share cos(π s / 2S) is still missing, and at least one. As many steps as
  tokens draw them one at a time, in the order of confidence.

  Args:
    prior: the module (static).
    variables: its variables, `{"params": ...}`.
    conditions: captions as padded token ids.
    keys: one key an image; step s of an image uses fold_in(key, s).
    options: how to draw (static).
    given: tokens that are there already and stay, −1 where one is missing.

  Raises:
    UsageError: more steps than tokens.
  """
  steps = options.steps or min(STEPS, prior.num_tokens)
  if steps > prior.num_tokens:
    raise UsageError(f"steps is {steps}: must be at most {prior.num_tokens}, one a token.")
  context = prior.apply(variables, conditions.stacked(options), method="read")
  tokens = jnp.where(given < 0, prior.blank, given)
  missing = jnp.sum(given < 0, axis=1)  # [B]

  def body(carry: tuple[Array, Array], step: Array) -> tuple[tuple[Array, Array], None]:
    tokens, left = carry
    tiled = conditions.repeated(tokens, options)
    logits: Any = prior.apply(variables, tiled, context, method="guess")
    done = (step + 1).astype(jnp.float32) / steps
    logits = conditions.combined(logits, options, done)
    step_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, step)
    drawn, confidence = jax.vmap(partial(_guess, options=options, done=done))(step_keys, logits)
    # At least one token a step, as long as there are some, this one and the later ones.
    # (The small number: whether cos(π/3) is a half, rounding must not decide.)
    share = jnp.cos(0.5 * jnp.pi * done)
    after = jnp.floor(missing.astype(jnp.float32) * share + 1e-4).astype(left.dtype)
    after = jnp.maximum(jnp.clip(after, jnp.minimum(steps - 1 - step, left - 1), left - 1), 0)
    blank = tokens == prior.blank
    rank = _ranks(jnp.where(blank, confidence, jnp.inf))
    tokens = jnp.where(blank & (rank >= after[:, None]), drawn, tokens)
    return (tokens, after), None

  (tokens, _), _ = jax.lax.scan(body, (tokens, missing), jnp.arange(steps))
  return tokens.reshape(-1, *prior.grid)


def _guess(
  key: Key[Array, ""], logits: Float[Array, "N K"], options: SamplingOptions, done: Array
) -> tuple[Int[Array, " N"], Float[Array, " N"]]:
  """A token for each position, and how sure of it one is: log p, at first with much noise."""
  token_key, noise_key = jax.random.split(key)
  n = logits.shape[0]
  drawn = jax.vmap(partial(draw, options=options))(jax.random.split(token_key, n), logits)
  log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), drawn[:, None], axis=1)[:, 0]
  noise = jax.random.gumbel(noise_key, (n,))
  return drawn, log_p + options.choice_temperature * (1 - done) * noise


def _ranks(values: Float[Array, "B N"]) -> Int[Array, "B N"]:
  """0 for the least of a row, N − 1 for the greatest."""
  return jnp.argsort(jnp.argsort(values, axis=1), axis=1)
