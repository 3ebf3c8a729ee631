"""Vector quantisation: a latent becomes the nearest of K learnt codes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jaxt2i.models.quantizers.base import (
  Quantized,
  Quantizer,
  require,
  rotation,
  straight_through,
  unit,
)
from jaxt2i.models.quantizers.codebooks import draws, entropy_penalty, kmeans, nearest, sums
from jaxt2i.types import Array


class LookupQuantizer(Quantizer):
  """What the two kinds share: lookup, gradients, and the revival of dead codes.

  Collection "codebook" has `count [K]`, the exponential moving average of how many latents of a
  step each code got. A code whose count falls under `revival_threshold` of an even share of the
  step's latents is dead and set to a latent drawn from the batch. All counts start at 0, so the
  first batch initialises the codebook from data.

  Attributes:
    codebook_size: K.
    code_dim: D; a projection brings the encoder's features down to it.
    commitment_weight: β on ‖z − sg(z_q)‖².
    codebook_decay: γ of the moving averages.
    revival_threshold: share of the even share (latents a step / K), under which a code is dead.
    cosine: latents and codes have length 1 (ViT-VQGAN, arXiv 2110.04627, §3.2).
    rotate: gradients come by `rotation` instead of `straight_through`.
    kmeans_iterations: of Lloyd's algorithm on the first batch, from drawn latents; of use where
      that has many more latents than codes.
    entropy_weight: of `entropy_penalty`.
    entropy_temperature: of its softmax over squared distances.
  """

  codebook_size: int
  code_dim: int
  commitment_weight: float
  codebook_decay: float
  revival_threshold: float
  cosine: bool = False
  rotate: bool = False
  kmeans_iterations: int = 0
  entropy_weight: float = 0.0
  entropy_temperature: float = 1.0

  def __post_init__(self) -> None:
    for name, least in (("codebook_size", 2), ("code_dim", 1), ("kmeans_iterations", 0)):
      value = getattr(self, name)
      require(value >= least, f"quantizer.{name} is {value}: must be {least} or more.")
    for name in ("commitment_weight", "revival_threshold", "entropy_weight"):
      value = getattr(self, name)
      require(value >= 0, f"quantizer.{name} is {value}: must be 0 or more.")
    decay = self.codebook_decay
    require(0 <= decay <= 1, f"quantizer.codebook_decay is {decay}: must be from 0 to 1.")
    temperature = self.entropy_temperature
    require(temperature > 0, f"quantizer.entropy_temperature is {temperature}: must be above 0.")
    require(
      not (self.cosine and self.code_dim == 1),
      "quantizer.cosine with code_dim 1 leaves two directions: must be 2 dimensions or more.",
    )
    super().__post_init__()

  def setup(self) -> None:
    self.count = self.variable("codebook", "count", jnp.zeros, (self.codebook_size,), jnp.float32)

  def codes(self) -> Float[Array, "K D"]:
    """The codebook, differentiable where gradients move it."""
    raise NotImplementedError

  def _reseed(self, dead: Bool[Array, " K"], candidates: Float[Array, "K D"]) -> None:
    """Sets dead codes."""
    raise NotImplementedError

  def _move(self, count: Float[Array, " K"], total: Float[Array, "K D"]) -> None:
    """Follows the latents that each code got: how many, and their sum."""
    del total
    self.count.value = self.codebook_decay * self.count.value + (1 - self.codebook_decay) * count

  def _codebook_loss(
    self, z: Float[Array, "B h w D"], chosen: Float[Array, "B h w D"]
  ) -> dict[str, Float[Array, " B"]]:
    """The term that pulls codes to latents, where gradients do that."""
    return {}

  def __call__(self, z: Float[Array, "B h w D"], *, train: bool) -> Quantized:
    """See Quantizer."""
    z = unit(z) if self.cosine else z
    flat = jax.lax.stop_gradient(z).reshape(-1, self.code_dim).astype(jnp.float32)  # [B*h*w, D]
    moving = train and not self.is_initializing()
    # Revived before the lookup: a code is of use in the very step that re-seeds it.
    stats = {"dead_codes": self._revive(flat)} if moving else {}
    codes = self.codes()
    tokens = nearest(flat, jax.lax.stop_gradient(codes))
    chosen = codes[tokens].reshape(z.shape)
    if moving:
      self._move(*sums(flat, tokens, self.codebook_size))
    # β scales the term that pulls the encoder to the code, not the one that pulls the code to the
    # encoder (arXiv 1711.00937, eq. 3).
    losses = {"commitment": _distance(z, jax.lax.stop_gradient(chosen))}
    losses |= self._codebook_loss(z, chosen)
    loss = self.commitment_weight * losses["commitment"] + losses.get("codebook", 0.0)
    if self.entropy_weight:
      losses["entropy"] = entropy_penalty(z, codes, self.entropy_temperature)
      loss += self.entropy_weight * losses["entropy"]
    z_q = jax.lax.stop_gradient(chosen).astype(z.dtype)
    return Quantized(
      z_q=rotation(z, z_q) if self.rotate else straight_through(z, z_q),
      tokens=tokens.reshape(z.shape[:-1]),
      loss=loss,
      losses=losses,
      stats=stats,
    )

  def _revive(self, flat: Float[Array, "M D"]) -> Float[Array, ""]:
    """Re-seeds dead codes; says how many there were."""
    candidates = draws(flat, self.make_rng("codebook"), self.codebook_size)
    if self.kmeans_iterations:
      candidates = jax.lax.cond(
        jnp.all(self.count.value == 0),  # the first batch
        lambda: kmeans(flat, candidates, self.kmeans_iterations),
        lambda: candidates,
      )
    least = self.revival_threshold * len(flat) / self.codebook_size  # latents a step
    dead = self.count.value < least
    # As if the code had held this one latent at the threshold rate: it lives long enough to win
    # latents of its own, or dies again.
    self.count.value = jnp.where(dead, least, self.count.value)
    self._reseed(dead, candidates)
    return jnp.sum(dead).astype(jnp.float32)

  def lookup(self, tokens: Int[Array, "..."]) -> Float[Array, "... D"]:
    """Codes of tokens."""
    return self.codes()[tokens]


class EMAQuantizer(LookupQuantizer):
  """Vector quantisation with an EMA codebook (VQ-VAE, arXiv 1711.00937, appendix A.1).

  The codebook loss is replaced by moving averages: collection "codebook" also has `total [K, D]`,
  that of the sum of the latents of each code, and `codes = total / count`.
  """

  def setup(self) -> None:
    super().setup()
    shape = (self.codebook_size, self.code_dim)
    self.learnt = self.variable("codebook", "codes", jnp.zeros, shape, jnp.float32)
    self.total = self.variable("codebook", "total", jnp.zeros, shape, jnp.float32)

  def codes(self) -> Float[Array, "K D"]:
    """The codebook."""
    return self.learnt.value

  def _reseed(self, dead: Bool[Array, " K"], candidates: Float[Array, "K D"]) -> None:
    codes = jnp.where(dead[:, None], candidates, self.learnt.value)
    self.learnt.value = codes
    self.total.value = jnp.where(dead[:, None], codes * self.count.value[:, None], self.total.value)

  def _move(self, count: Float[Array, " K"], total: Float[Array, "K D"]) -> None:
    super()._move(count, total)
    gamma = self.codebook_decay
    self.total.value = gamma * self.total.value + (1 - gamma) * total
    mean = self.total.value / jnp.maximum(self.count.value, 1e-8)[:, None]
    self.learnt.value = unit(mean) if self.cosine else mean


class VectorQuantizer(LookupQuantizer):
  """Vector quantisation with a codebook that gradients move (VQ-VAE, arXiv 1711.00937, eq. 3).

  Parameter `codes [K, D]`. Revival must set what only the optimiser may change: it is kept as an
  `offset [K, D]` in collection "codebook", and a code is the sum of both.
  """

  def setup(self) -> None:
    super().setup()
    shape = (self.codebook_size, self.code_dim)
    # Zeros: the first batch sets every code.
    learnt = self.param("codes", nn.initializers.zeros, shape, jnp.float32)
    self.learnt = learnt.astype(jnp.float32)  # where training casts parameters, too
    self.offset = self.variable("codebook", "offset", jnp.zeros, shape, jnp.float32)

  def codes(self) -> Float[Array, "K D"]:
    """The codebook."""
    codes = self.learnt + self.offset.value
    return unit(codes) if self.cosine else codes

  def _reseed(self, dead: Bool[Array, " K"], candidates: Float[Array, "K D"]) -> None:
    moved = candidates - jax.lax.stop_gradient(self.learnt)
    self.offset.value = jnp.where(dead[:, None], moved, self.offset.value)

  def _codebook_loss(
    self, z: Float[Array, "B h w D"], chosen: Float[Array, "B h w D"]
  ) -> dict[str, Float[Array, " B"]]:
    return {"codebook": _distance(jax.lax.stop_gradient(z), chosen)}


def _distance(a: Float[Array, "B h w D"], b: Float[Array, "B h w D"]) -> Float[Array, " B"]:
  """Mean squared difference of each image, float32."""
  return jnp.mean(jnp.square(a.astype(jnp.float32) - b.astype(jnp.float32)), axis=(1, 2, 3))
