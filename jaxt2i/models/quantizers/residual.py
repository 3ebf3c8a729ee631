"""Residual quantisation: each further token says what the ones before it left over."""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxt2i.errors import UsageError
from jaxt2i.models.quantizers.base import Quantized, Quantizer, require, straight_through
from jaxt2i.models.quantizers.vector import LookupQuantizer
from jaxt2i.types import Array


class ResidualQuantizer(Quantizer):
  """A code is the sum of `depth` codes, each of a codebook of its own (RQ-VAE, arXiv 2203.01941).

  The tokens of a position stand beside each other, the coarsest first: `[B, h, w * depth]`. A
  prior reads them as a grid that is so much wider.

  Attributes:
    depth: codes a position.
    inner: the quantizer of one level.
  """

  depth: int
  inner: Quantizer

  def __post_init__(self) -> None:
    if not isinstance(self.inner, LookupQuantizer):
      raise UsageError(
        "quantizer.inner of a residual quantizer must be 'vq' or 'ema': what is left over has no "
        "fixed range."
      )
    require(
      not (self.inner.cosine or self.inner.rotate),
      "quantizer.inner.cosine and quantizer.inner.rotate must be False in a residual quantizer: "
      "the lengths of what is left over matter.",
    )
    require(2 <= self.depth <= 32, f"quantizer.depth is {self.depth}: must be from 2 to 32.")
    super().__post_init__()

  @property
  def codebook_size(self) -> int:
    """Codes of one level."""
    return self.inner.codebook_size

  @property
  def code_dim(self) -> int:
    """Features of a code."""
    return self.inner.code_dim

  @property
  def tokens_per_position(self) -> int:
    """One a level."""
    return self.depth

  def setup(self) -> None:
    self.levels = [self.inner.clone(parent=None, name=None) for _ in range(self.depth)]

  def __call__(self, z: Float[Array, "B h w D"], *, train: bool) -> Quantized:
    """See Quantizer; losses are the sums over the levels."""
    left, z_q = z, jnp.zeros_like(z)
    parts = []
    for level in self.levels:
      part = level(left, train=train)
      code = jax.lax.stop_gradient(part.z_q)
      # The commitment of each level reaches the encoder; codes of other levels are constants.
      left, z_q = left - code, z_q + code
      parts.append(part)
    total = lambda trees: jax.tree.map(lambda *terms: sum(terms), *trees)
    return Quantized(
      z_q=straight_through(z, z_q),
      tokens=jnp.stack([part.tokens for part in parts], axis=-1).reshape(*z.shape[:2], -1),
      loss=total([part.loss for part in parts]),
      losses=total([part.losses for part in parts]),
      stats=total([part.stats for part in parts]),
    )

  def lookup(self, tokens: Int[Array, "... w"]) -> Float[Array, "... v D"]:
    """Codes of positions, from `depth` tokens each."""
    tokens = tokens.reshape(*tokens.shape[:-1], -1, self.depth)
    codes = [level.lookup(tokens[..., i]) for i, level in enumerate(self.levels)]
    return jnp.sum(jnp.stack(codes), axis=0)
