"""A discriminator that judges patches, and the losses between it and what it judges."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxt2i.models.precision import Conv, LayerNorm
from jaxt2i.types import Array


class Discriminator(nn.Module):
  """PatchGAN (pix2pix, arXiv 1611.07004, appendix 6.1.2; used as in VQGAN, arXiv 2012.09841).

  Convolutions 4×4, leaky ReLUs of slope 0.2. The paper's batch norm is a `LayerNorm` over the
  channels of each position here: statistics of a batch would let one example, and under data
  parallelism one device, change the judgement of another, and those of a whole image (group or
  instance norm) would let a logit see beyond its patch.

  Attributes:
    width: channels of the first layer; they double with each further one, up to 8 times.
    layers: convolutions that halve the resolution, 1 or more.
  """

  width: int
  layers: int

  @property
  def receptive_field(self) -> int:
    """Side in pixels of the patch that a logit judges: 16, 34, 70, … for 1, 2, 3, … layers."""
    side = 7  # of the two convolutions of stride 1
    for _ in range(self.layers):
      side = 2 * side + 2
    return side

  @nn.compact
  def __call__(self, x: Float[Array, "B H W 3"]) -> Float[Array, "B h w"]:
    """Float32 logits of patches of images around [-1, 1]: positive for real, negative for fake."""
    for i in range(self.layers + 1):
      stride = 2 if i < self.layers else 1
      channels = self.width * 2 ** min(i, 3)
      x = Conv(channels, (4, 4), stride, padding=1, name=f"conv{i}")(x)
      if i:  # as in the paper: the first layer sees pixels as they are
        x = LayerNorm(name=f"norm{i}")(x)
      x = nn.leaky_relu(x, 0.2)
    return Conv(1, (4, 4), padding=1, name="logit")(x)[..., 0].astype(jnp.float32)


def hinge_loss(real: Float[Array, "B h w"], fake: Float[Array, "B h w"]) -> Float[Array, "B"]:
  """What the discriminator minimises: max(0, 1 − D(x)) + max(0, 1 + D(x̂)), means over patches.

  Geometric GAN, arXiv 1705.02894, eq. 22.
  """
  return jnp.mean(nn.relu(1 - real) + nn.relu(1 + fake), axis=(1, 2))


def generator_loss(fake: Float[Array, "B h w"]) -> Float[Array, "B"]:
  """What the generator minimises: −D(x̂), mean over patches (arXiv 1705.02894, eq. 23)."""
  return -jnp.mean(fake, axis=(1, 2))


def lecam_loss(
  real: Float[Array, "B h w"],
  fake: Float[Array, "B h w"],
  mean_real: Float[Array, ""],
  mean_fake: Float[Array, ""],
) -> Float[Array, "B"]:
  """LeCam regularisation: (D(x) − α_fake)² + (D(x̂) − α_real)², means over patches.

  Holds the discriminator back where little data lets it know every image (arXiv 2104.03310,
  eq. 5). The anchors α are moving averages of earlier logits and get no gradient.
  """
  mean_real, mean_fake = jax.lax.stop_gradient((mean_real, mean_fake))
  return jnp.mean(jnp.square(real - mean_fake) + jnp.square(fake - mean_real), axis=(1, 2))


def accuracy(real: Float[Array, "B h w"], fake: Float[Array, "B h w"]) -> Float[Array, "B"]:
  """Share of patches that are told apart, real above 0 and fake below: 0.5 is a guess."""
  return (jnp.mean(real > 0, axis=(1, 2)) + jnp.mean(fake < 0, axis=(1, 2))) / 2


def adaptive_weight(
  of_loss: Float[Array, "..."], of_adversarial: Float[Array, "..."], maximum: float
) -> Float[Array, ""]:
  """λ = ‖∇ loss‖ / (‖∇ adversarial‖ + ε), at most `maximum` (VQGAN, arXiv 2012.09841, eq. 7).

  Brings the adversarial gradient to the size of the other one.

  Args:
    of_loss: gradient of the loss without the adversarial term at the last layer.
    of_adversarial: gradient of the adversarial term there.
    maximum: where the adversarial gradient vanishes, the ratio would be of the order of 1 / ε.

  Returns:
    float32 from 0 to `maximum`, without gradient; finite where a gradient is 0.
  """
  # float32 before squaring: float16 overflows at 65,504.
  norm = lambda x: jnp.sqrt(jnp.sum(jnp.square(x.astype(jnp.float32))))
  ratio = norm(of_loss) / (norm(of_adversarial) + 1e-6)
  return jax.lax.stop_gradient(jnp.minimum(ratio, maximum))
