"""Learning the image tokenizer against a discriminator (VQGAN, arXiv 2012.09841)."""

import dataclasses
import math
from collections.abc import Mapping
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float

from jaxt2i.errors import UsageError
from jaxt2i.metrics import Mean
from jaxt2i.models import discriminator as losses
from jaxt2i.models.diffaugment import DiffAugment
from jaxt2i.models.discriminator import Discriminator
from jaxt2i.models.vqvae import VQVAE, to_float
from jaxt2i.optim import descend
from jaxt2i.state import ADVERSARY
from jaxt2i.tasks.base import LossOutput
from jaxt2i.tasks.tokenizer import TokenizerTask
from jaxt2i.types import Array, Batch, Key, Variables


@dataclasses.dataclass(frozen=True)
class AdversarialTask:
  """A tokenizer and the discriminator that it has to deceive; wants the step of its own.

  Two numbers are the schedule: before step `start_step - discriminator_warmup` the discriminator
  rests and the tokenizer learns as it does alone; from there on the discriminator learns, and from
  `start_step` on the tokenizer minimises its own loss − weight · λ · E[D(x̂)].

  The collection "adversary" holds the discriminator's `params`, its `opt_state`, and `lecam`, the
  moving averages of its logits, all of them replaced together. It is nothing to the tokenizer.

  Attributes:
    tokenizer: the task without a discriminator.
    discriminator, optimizer: what judges, and what trains it.
    augment: changes images before they are judged.
    weight: of the adversarial term, above 0, beside λ.
    start_step: first step (from 0) whose tokenizer is trained against the discriminator.
    discriminator_warmup: steps before it that train the discriminator alone.
    max_adaptive_weight: bound on λ.
    lecam_weight: of LeCam regularisation; 0 is off.
    lecam_decay: of its moving averages, a step.

  Raises:
    UsageError: for a number that has no meaning.
  """

  tokenizer: TokenizerTask
  discriminator: Discriminator
  optimizer: optax.GradientTransformation
  augment: DiffAugment
  weight: float
  start_step: int
  discriminator_warmup: int
  max_adaptive_weight: float
  lecam_weight: float
  lecam_decay: float

  def __post_init__(self) -> None:
    for name in ("weight", "max_adaptive_weight"):
      _require(name, getattr(self, name), lambda x: 0 < x < math.inf, "above 0")
    _require("lecam_weight", self.lecam_weight, lambda x: 0 <= x < math.inf, "0 or more")
    _require("lecam_decay", self.lecam_decay, lambda x: 0 <= x < 1, "from 0 to below 1")
    _require(
      "discriminator_warmup",
      self.discriminator_warmup,
      lambda x: 0 <= x <= self.start_step,
      f"from 0 to start_step ({self.start_step})",
    )

  @property
  def model(self) -> VQVAE:
    return self.tokenizer.model

  @property
  def first_step(self) -> int:
    """The first step (from 0) that trains the discriminator."""
    return self.start_step - self.discriminator_warmup

  def init(self, key: Key, batch: Batch) -> Variables:
    """The tokenizer's variables, as without a discriminator, and the adversary's."""
    image = to_float(jnp.asarray(batch["image"]))
    params = self.discriminator.init(jax.random.fold_in(key, 1), image)["params"]
    adversary = {
      "params": params,
      "opt_state": self.optimizer.init(params),
      # At 0, where an untrained discriminator's logits lie.
      "lecam": {"real": jnp.zeros((), jnp.float32), "fake": jnp.zeros((), jnp.float32)},
    }
    return {**self.tokenizer.init(key, batch), ADVERSARY: adversary}

  def loss(self, variables: Variables, batch: Batch, key: Key, *, train: bool) -> LossOutput:
    """The tokenizer's loss, without the adversarial term."""
    return self.tokenizer.loss(variables, batch, key, train=train)

  def adaptive_weight(self, of_loss: Any, of_adversarial: Any) -> Float[Array, ""]:
    """λ from two gradients of the tokenizer's parameters."""
    at_last_layer = partial(reduce, lambda tree, name: tree[name], self.model.last_layer)
    return losses.adaptive_weight(
      at_last_layer(of_loss), at_last_layer(of_adversarial), self.max_adaptive_weight
    )

  def deceive(
    self,
    adversary: Mapping[str, Any],
    image: Float[Array, "B H W 3"],
    weight: Float[Array, "B"],
    key: Key,
  ) -> tuple[Float[Array, "B H W 3"], Mean]:
    """Gradient of the mean of −D(x̂) at the reconstructions, and the mean."""

    def adversarial(image: Array) -> tuple[Array, Mean]:
      mean = Mean.of(losses.generator_loss(self._judge(adversary["params"], image, key)), weight)
      return mean.compute(), mean

    return jax.grad(adversarial, has_aux=True)(image)

  def discriminate(
    self,
    adversary: Mapping[str, Any],
    real: Float[Array, "B H W 3"],
    fake: Float[Array, "B H W 3"],
    weight: Float[Array, "B"],
    key: Key,
  ) -> tuple[Mapping[str, Any], Mapping[str, Mean]]:
    """Trains the discriminator by one step; the adversary after it, and metrics."""
    fake = jax.lax.stop_gradient(fake)
    lecam = adversary["lecam"]

    def loss_fn(params: Any) -> tuple[Array, Any]:
      # One key: an image and its reconstruction differ in what the tokenizer lost, not in draws.
      logits = self._judge(params, real, key), self._judge(params, fake, key)
      hinge = Mean.of(losses.hinge_loss(*logits), weight)
      regularisation = Mean.of(losses.lecam_loss(*logits, lecam["real"], lecam["fake"]), weight)
      loss = hinge.compute() + self.lecam_weight * regularisation.compute()
      return loss, (logits, {"d_loss": hinge, "lecam": regularisation})

    gradients, (logits, metrics) = jax.grad(loss_fn, has_aux=True)(adversary["params"])
    params, opt_state = descend(
      self.optimizer, gradients, adversary["opt_state"], adversary["params"]
    )
    means = {
      name: Mean.of(jnp.mean(patches, axis=(1, 2)), weight)
      for name, patches in zip(("real", "fake"), logits, strict=True)
    }
    d = self.lecam_decay
    lecam = {name: d * lecam[name] + (1 - d) * mean.compute() for name, mean in means.items()}
    metrics |= {f"d_{name}": mean for name, mean in means.items()}
    metrics["d_accuracy"] = Mean.of(losses.accuracy(*logits), weight)
    return {"params": params, "opt_state": opt_state, "lecam": lecam}, metrics

  def _judge(self, params: Any, image: Array, key: Key) -> Float[Array, "B h w"]:
    logits: Any = self.discriminator.apply({"params": params}, self.augment(key, image))
    return logits


def _require(name: str, value: Any, holds: Any, expected: str) -> None:
  if not holds(value):
    raise UsageError(f"config.adversarial.{name} is {value}: must be {expected}.")
