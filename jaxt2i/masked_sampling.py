"""Drawing tokens from a masked prior, many at once (MaskGIT, arXiv 2202.04200, §3.2)."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, Key

from jaxt2i.errors import UsageError
from jaxt2i.models.prior import MaskedPrior
from jaxt2i.models.text import PAD
from jaxt2i.sampling import SamplingOptions, draw, guide
from jaxt2i.types import Array

STEPS = 8  # where the options say nothing


@partial(jax.jit, static_argnames=("prior", "options"))
def sample_masked(
  prior: MaskedPrior,
  variables: Any,
  text: Int[Array, "B T"],
  keys: Key[Array, " B"],
  options: SamplingOptions,
  given: Int[Array, "B N"] | None = None,
) -> Int[Array, "B h w"]:
  """Draws a grid of tokens for each caption, in `options.steps` passes through the network.

  Each step draws all tokens that are missing and keeps those that it is surest of: so many that
  after step s of S a share cos(π s / 2S) is still missing, and at least one. As many steps as
  tokens draw them one at a time, in the order of confidence.

  Args:
    prior: the module (static).
    variables: its variables, `{"params": ...}`.
    text: captions as padded token ids; a row of PAD draws without a caption.
    keys: one key an image; step s of an image uses fold_in(key, s).
    options: how to draw (static).
    given: tokens that are there already and stay, −1 where one is missing; None: all are missing.

  Raises:
    UsageError: more steps than tokens.
  """
  steps = options.steps or min(STEPS, prior.num_tokens)
  if steps > prior.num_tokens:
    raise UsageError(f"steps is {steps}: must be at most {prior.num_tokens}, one a token.")
  batch = text.shape[0]
  if given is None:
    given = jnp.full((batch, prior.num_tokens), -1)
  guided = options.guidance_scale != 1
  if guided:
    text = jnp.concatenate([text, jnp.full_like(text, PAD)])
  context = prior.apply(variables, text, method="read")
  tokens = jnp.where(given < 0, prior.blank, given)
  missing = jnp.sum(given < 0, axis=1)  # [B]

  def body(carry: tuple[Array, Array], step: Array) -> tuple[tuple[Array, Array], None]:
    tokens, left = carry
    tiled = jnp.concatenate([tokens, tokens]) if guided else tokens
    logits: Any = prior.apply(variables, tiled, context, method="guess")
    logits = logits.astype(jnp.float32)
    if guided:
      logits = guide(logits[:batch], logits[batch:], options.guidance_scale)
    done = (step + 1).astype(jnp.float32) / steps
    step_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, step)
    drawn, confidence = jax.vmap(partial(_guess, options=options, done=done))(step_keys, logits)
    # At least one token a step, as long as there are some, this one and the later ones.
    after = jnp.floor(missing * jnp.cos(0.5 * jnp.pi * done)).astype(left.dtype)
    after = jnp.maximum(jnp.clip(after, jnp.minimum(steps - 1 - step, left - 1), left - 1), 0)
    blank = tokens == prior.blank
    rank = _ranks(jnp.where(blank, confidence, jnp.inf))
    tokens = jnp.where(blank & (rank >= after[:, None]), drawn, tokens)
    return (tokens, after), None

  (tokens, _), _ = jax.lax.scan(body, (tokens, missing), jnp.arange(steps))
  return tokens.reshape(batch, *prior.grid)


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
