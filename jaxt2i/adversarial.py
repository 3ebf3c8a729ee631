"""The step of a tokenizer that learns against a discriminator: two optimisers, one state."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jaxt2i import config as config_lib
from jaxt2i import modules
from jaxt2i.errors import UsageError
from jaxt2i.metrics import Mean, Metric
from jaxt2i.models.diffaugment import DiffAugment
from jaxt2i.models.vqvae import to_float
from jaxt2i.optim import Optimizer
from jaxt2i.state import ADVERSARY, TrainState
from jaxt2i.step import (
  PLAIN,
  StepFn,
  StepOptions,
  advance,
  as_computed,
  gradient_metrics,
  guarded,
  jit_step,
  make_train_step,
  step_key,
)
from jaxt2i.tasks.adversarial import AdversarialTask
from jaxt2i.tasks.tokenizer import TokenizerTask
from jaxt2i.types import Array, Batch


def adversarial(config: Mapping[str, Any], tokenizer: TokenizerTask) -> AdversarialTask:
  """The task of `config.adversarial`, whose weight is not 0.

  Raises:
    UsageError: for options that cannot work, a term that would never be on among them.
  """
  section, num_steps = config["adversarial"], config["loop"]["num_steps"]
  where = "config.adversarial"
  parts = ("discriminator", "augment", "optimizer")
  if missing := [name for name in parts if name not in section]:
    raise UsageError(f"{where} lacks {', '.join(missing)}.")
  rule = config_lib.build(Optimizer, section["optimizer"], f"{where}.optimizer")
  task = config_lib.build(
    AdversarialTask,
    {name: value for name, value in section.items() if name not in parts},
    where,
    tokenizer=tokenizer,
    discriminator=modules.discriminator(section["discriminator"], config["data"]["image_size"]),
    augment=config_lib.build(DiffAugment, section["augment"], f"{where}.augment"),
    optimizer=optax.identity(),
  )
  if task.start_step >= num_steps:
    raise UsageError(
      f"{where}.start_step is {task.start_step}: must be below config.loop.num_steps "
      f"({num_steps}), or the term is never on; {where}.weight=0 is without it."
    )
  # The rule's schedule counts the discriminator's own steps, which begin late.
  return dataclasses.replace(task, optimizer=rule.build(num_steps - task.first_step))


def make_adversarial_step(
  task: AdversarialTask,
  optimizer: optax.GradientTransformation,
  *,
  ema_decay: float,
  seed: int,
  mesh: Mesh,
  options: StepOptions = PLAIN,
  state_sharding: Any = None,
) -> StepFn:
  """Like `make_train_step`, with a discriminator in the state's collection "adversary".

  Three programs, each compiled when its phase of the schedule begins: the plain step, one that
  trains the discriminator too, one that also trains the tokenizer against it. (One program with
  `lax.cond` would be many times slower on CPU, where XLA's fast convolutions stay out of branches.)
  Which one it is, the host reads off the state: it waits for the step before, with the next batch
  in hand.
  """
  resting = make_train_step(
    task,
    optimizer,
    ema_decay=ema_decay,
    seed=seed,
    mesh=mesh,
    options=options,
    state_sharding=state_sharding,
  )
  warming_up, against = (
    jit_step(
      guarded(partial(_step, task, optimizer, ema_decay, seed, options, deceive), options),
      mesh,
      state_sharding,
    )
    for deceive in (False, True)
  )

  def step(state: TrainState, batch: Batch) -> tuple[TrainState, Mapping[str, Metric]]:
    number = int(state.step)
    if number < task.first_step:
      return resting(state, batch)
    return (warming_up if number < task.start_step else against)(state, batch)

  return step


def _step(
  task: AdversarialTask,
  optimizer: optax.GradientTransformation,
  ema_decay: float,
  seed: int,
  options: StepOptions,
  deceive: bool,
  state: TrainState,
  batch: Batch,
) -> tuple[TrainState, Mapping[str, Metric]]:
  """Both sides move at once: each sees the other as it was before the step."""
  key = step_key(seed, state)
  generator_key, discriminator_key = jax.random.split(key)
  adversary = state.collections[ADVERSARY]

  def loss_fn(params: Any) -> tuple[tuple[Array, Array], Any]:
    variables = {"params": as_computed(params, options), **state.collections}
    output = task.loss(variables, batch, key, train=True)
    return (output.loss, output.image), output

  (loss, image), pull_back, output = jax.vjp(loss_fn, state.params, has_aux=True)
  weight = batch.get("weight", jnp.ones(image.shape[0], jnp.float32))
  one, zero, push = jnp.ones_like(loss), jnp.zeros_like(loss), jnp.zeros_like(image)
  metrics: dict[str, Mean] = {}
  if deceive:
    of_image, metrics["adversarial"] = task.deceive(adversary, image, weight, generator_key)
    # Of these two gradients all but the last layer's is dead code to the compiler.
    (of_loss,), (of_adversarial,) = pull_back((one, push)), pull_back((zero, of_image))
    scale = task.adaptive_weight(of_loss, of_adversarial)
    push = task.weight * scale * of_image
    metrics["adaptive_weight"] = Mean.of(scale)
  (gradients,) = pull_back((one, push))
  adversary, d_metrics = task.discriminate(
    adversary, to_float(batch["image"]), image, weight, discriminator_key
  )
  updates = {**output.updates, ADVERSARY: adversary}
  new_state = advance(state, optimizer, gradients, updates, ema_decay)
  return new_state, {**output.metrics, **d_metrics, **metrics, **gradient_metrics(gradients)}
