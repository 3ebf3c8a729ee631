"""Gumbel-softmax quantisation: the encoder names a code, by sampling while it learns."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxt2i.models.quantizers.base import Quantized, Quantizer, require
from jaxt2i.types import Array


class GumbelQuantizer(Quantizer):
  """The encoder's features are logits over the codes (DALL·E, arXiv 2102.12092, §2.1).

  In training a code is sampled, p = softmax((z + Gumbel noise) / τ), by its greatest entry; the
  gradient is that of the mixture p · codes (straight-through Gumbel-softmax, arXiv 1611.01144).
  In evaluation it is the code of the greatest logit. τ falls exponentially over `anneal_steps`;
  collection "codebook" counts the steps.

  Attributes:
    codebook_size: K, also the features wanted of the encoder.
    code_dim: D.
    kl_weight: of KL(softmax(z) ‖ uniform), which keeps codes in use.
    temperature_start: τ of the first step.
    temperature_end: τ after `anneal_steps`.
    anneal_steps: training steps.
  """

  codebook_size: int
  code_dim: int
  kl_weight: float
  temperature_start: float
  temperature_end: float
  anneal_steps: int

  def __post_init__(self) -> None:
    least = {"codebook_size": 2, "code_dim": 1, "kl_weight": 0, "anneal_steps": 1}
    for name, bound in least.items():
      value = getattr(self, name)
      require(value >= bound, f"quantizer.{name} is {value}: must be {bound} or more.")
    start, end = self.temperature_start, self.temperature_end
    require(
      0 < end <= start,
      f"quantizer.temperature_end is {end}: must be above 0, and at most temperature_start "
      f"({start}).",
    )
    super().__post_init__()

  @property
  def latent_dim(self) -> int:
    """A logit for each code."""
    return self.codebook_size

  def setup(self) -> None:
    shape = (self.codebook_size, self.code_dim)
    codes = self.param("codes", nn.initializers.normal(1.0), shape, jnp.float32)
    self.codes = codes.astype(jnp.float32)  # where training casts parameters, too
    self.steps = self.variable("codebook", "steps", jnp.zeros, (), jnp.int32)

  def __call__(self, z: Float[Array, "B h w K"], *, train: bool) -> Quantized:
    """See Quantizer; z are logits."""
    logits = z.astype(jnp.float32)
    log_p = jax.nn.log_softmax(logits)
    kl = jnp.sum(jnp.exp(log_p) * (log_p + jnp.log(self.codebook_size)), axis=-1)
    kl = kl.mean(axis=(1, 2))  # [B]
    stats = {}
    if train:
      temperature = self._temperature()
      stats["temperature"] = temperature
      logits += jax.random.gumbel(self.make_rng("codebook"), z.shape)
      if not self.is_initializing():
        self.steps.value += 1
    tokens = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    z_q = self.codes[tokens]
    if train:
      mixture = jax.nn.softmax(logits / temperature) @ self.codes
      z_q = mixture + jax.lax.stop_gradient(z_q - mixture)
    return Quantized(z_q.astype(z.dtype), tokens, self.kl_weight * kl, {"kl": kl}, stats)

  def _temperature(self) -> Float[Array, ""]:
    share = jnp.minimum(self.steps.value.astype(jnp.float32) / self.anneal_steps, 1.0)
    return self.temperature_start * (self.temperature_end / self.temperature_start) ** share

  def lookup(self, tokens: Int[Array, "..."]) -> Float[Array, "... D"]:
    """Codes of tokens."""
    return self.codes[tokens]
