"""How a token is drawn from logits: temperature, top-k, top-p; and the key of each image."""

import dataclasses
import numbers

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, Integer, Key

from jaxt2i.errors import UsageError
from jaxt2i.types import Array

SCHEDULES = ("constant", "rising")


@dataclasses.dataclass(frozen=True)
class SamplingOptions:
  """How tokens are drawn.

  Attributes:
    guidance_scale: s in u + s(c − u), logits without and with the caption; 1 = off.
    guidance_schedule: "constant", or "rising" from 1 to guidance_scale, from the first token to the
      last (as in Muse, arXiv 2301.00704, §2.7): the first ones then stay varied.
    temperature: logits are divided by it; 0 = always the likeliest token.
    top_k: only the k likeliest tokens; 0 = off.
    top_p: only the likeliest tokens that together have this probability; 1 = off.
    steps: passes through a masked prior, each of which draws many tokens; 0 = 8 of them. An
      autoregressive one draws one token after the other and takes none.
    choice_temperature: of a masked prior; how much chance there is at first in which tokens are
      kept, rather than the surest (MaskGIT, arXiv 2202.04200, §3.2).

  Raises:
    UsageError: for values without a meaning.
  """

  guidance_scale: float = 1.0
  guidance_schedule: str = "constant"
  temperature: float = 1.0
  top_k: int = 0
  top_p: float = 1.0
  steps: int = 0
  choice_temperature: float = 4.5

  def __post_init__(self) -> None:
    if self.guidance_schedule not in SCHEDULES:
      raise UsageError(
        f"guidance_schedule is {self.guidance_schedule!r}: must be {' or '.join(SCHEDULES)}."
      )
    for field in dataclasses.fields(self):
      if field.name == "guidance_schedule":
        continue
      value = getattr(self, field.name)
      whole = field.name in ("top_k", "steps")
      kind = numbers.Integral if whole else numbers.Real  # NumPy's are among them
      if isinstance(value, bool) or not isinstance(value, kind):
        expected = "a whole number" if whole else "a number"
        raise UsageError(f"{field.name} is {value!r}: must be {expected}.")
    # Written so that NaN fails too.
    checks = {
      # Beyond, logits overflow; what helps is below 10.
      "guidance_scale": (0 <= self.guidance_scale <= 1000, "from 0 to 1000; 1 = off"),
      "temperature": (0 <= self.temperature < float("inf"), "0 or more; 1 = the learnt one"),
      "top_k": (self.top_k >= 0, "0 or more; 0 = off"),
      "top_p": (0 < self.top_p <= 1, "above 0, at most 1; 1 = off"),
      "steps": (self.steps >= 0, "0 or more; 0 = 8"),
      "choice_temperature": (0 <= self.choice_temperature < float("inf"), "0 or more"),
    }
    for name, (good, expected) in checks.items():
      if not good:
        raise UsageError(f"{name} is {getattr(self, name)}: must be {expected}.")


def restrict(logits: Float[Array, " K"], options: SamplingOptions) -> Float[Array, " K"]:
  """Logits after temperature, then top-k, then top-p; −inf where a token is ruled out.

  Top-p keeps the smallest set of likeliest tokens that reaches the probability (nucleus
  sampling, arXiv 1904.09751); the likeliest token always stays. `temperature` must not be 0.
  """
  logits = logits / options.temperature
  if options.top_k and options.top_k < logits.shape[-1]:
    kth = jax.lax.top_k(logits, options.top_k)[0][-1]
    logits = jnp.where(logits < kth, -jnp.inf, logits)
  if options.top_p < 1:
    order = jnp.argsort(logits, descending=True)
    probabilities = jax.nn.softmax(logits[order])
    before = jnp.cumsum(probabilities) - probabilities  # of all likelier tokens
    kept = (before < options.top_p).at[0].set(True)
    keep = jnp.zeros(logits.shape, bool).at[order].set(kept)
    logits = jnp.where(keep, logits, -jnp.inf)
  return logits


def draw(
  key: Key[Array, ""], logits: Float[Array, " K"], options: SamplingOptions
) -> Int[Array, ""]:
  """One token from logits."""
  if options.temperature == 0:
    return jnp.argmax(logits).astype(jnp.int32)
  return jax.random.categorical(key, restrict(logits, options)).astype(jnp.int32)


def image_key(seed: Integer[Array, ""], index: Int[Array, ""]) -> Key[Array, ""]:
  """Key of image `index` of a prompt: it depends on the seed and nothing around it."""
  return jax.random.fold_in(jax.random.key(seed), index)
