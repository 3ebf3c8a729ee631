"""The training step and the only training loop."""

import dataclasses
import functools
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxt2i import metrics as metrics_lib
from jaxt2i import summary
from jaxt2i.best import Best
from jaxt2i.checkpoints import Checkpoints
from jaxt2i.errors import UserError
from jaxt2i.metrics import Mean, Metric
from jaxt2i.optim import descend
from jaxt2i.sharding import replicated
from jaxt2i.state import TrainState, ema
from jaxt2i.tasks.base import Task
from jaxt2i.types import Batch, Key

logger = logging.getLogger(__name__)

_LEAST_MEMORY = "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"

StepFn = Callable[[TrainState, Batch], tuple[TrainState, Mapping[str, Metric]]]
# Values by name: numbers, images uint8 [N, H, W, 3], or arrays [n] to be shown as a histogram.
Evaluator = Callable[[TrainState], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class LoopOptions:
  """When the loop does what, in steps.

  Attributes:
    num_steps: length of the run.
    log_every: means over this window are written.
    eval_every: evaluators run, and after the last step.
    checkpoint_every: the state is saved, and after the last step; a multiple of log_every, so
      that a run that goes on from a checkpoint logs the same windows.
    watch: a number of the evaluation, such as "val/nll", of which less is better.
    patience: evaluations without a better one after which the run stops; the best state is kept
      beside (see `jaxt2i.best`). 0: the run has its length, and nothing is watched.
  """

  num_steps: int
  log_every: int
  eval_every: int
  checkpoint_every: int
  watch: str
  patience: int

  def __post_init__(self) -> None:
    for name in ("num_steps", "log_every", "eval_every", "checkpoint_every"):
      if getattr(self, name) < 1:
        raise UserError(f"{name} is {getattr(self, name)}: must be at least 1.")
    if self.patience < 0 or (self.patience > 0 and not self.watch):
      raise UserError(
        f"patience is {self.patience} and watch is {self.watch!r}: must be 0, or 1 or more with a "
        "number to watch, such as val/nll."
      )
    if self.checkpoint_every % self.log_every:
      raise UserError(
        f"checkpoint_every is {self.checkpoint_every}: must be a multiple of log_every "
        f"({self.log_every}), so that a resumed run logs the same windows."
      )


def make_train_step(
  task: Task, optimizer: optax.GradientTransformation, *, ema_decay: float, seed: int, mesh: Mesh
) -> StepFn:
  """The jitted step: (state, batch) → (state, metrics). The given state's buffers are reused."""

  def step(state: TrainState, batch: Batch) -> tuple[TrainState, Mapping[str, Metric]]:
    key = step_key(seed, state)

    def loss_fn(params: Any) -> tuple[jax.Array, Any]:
      output = task.loss({"params": params, **state.collections}, batch, key, train=True)
      return output.loss, output

    gradients, output = jax.grad(loss_fn, has_aux=True)(state.params)
    new_state = advance(state, optimizer, gradients, output.updates, ema_decay)
    gradient_norm = Mean.of(optax.tree.norm(gradients))
    return new_state, {**output.metrics, "gradient_norm": gradient_norm}

  return jit_step(step, mesh)


def step_key(seed: int, state: TrainState) -> Key:
  """The key of the state's next step."""
  return jax.random.fold_in(jax.random.key(seed), state.step)


def advance(
  state: TrainState,
  optimizer: optax.GradientTransformation,
  gradients: Any,
  updates: Mapping[str, Any],
  ema_decay: float,
) -> TrainState:
  """The state after a step, given the gradients of its params and new values of collections."""
  params, opt_state = descend(optimizer, gradients, state.opt_state, state.params)
  return state.replace(
    step=state.step + 1,
    params=params,
    ema_params=ema(state.ema_params, params, ema_decay, state.step),
    collections={**state.collections, **updates},
    opt_state=opt_state,
  )


def jit_step(step: StepFn, mesh: Mesh) -> StepFn:
  """Compiles a step: the batch cut over the mesh, the state on all of it and its buffers reused."""
  on_cpu = mesh.devices.flat[0].platform == "cpu"
  return jax.jit(
    step,
    in_shardings=(replicated(mesh), NamedSharding(mesh, PartitionSpec("data"))),
    out_shardings=replicated(mesh),
    donate_argnums=0,
    # XLA's default order on a CPU runs apart what may run at once, at the price of memory: 60 %
    # more for a convolutional tokenizer, to be 10 % faster at most. It also undoes `nn.remat`.
    compiler_options={"xla_cpu_scheduler_type": _LEAST_MEMORY} if on_cpu else None,
  )


def train(
  step_fn: StepFn,
  state: TrainState,
  batches: Iterator[Batch],
  *,
  evaluators: Mapping[str, Evaluator],
  writer: Any,
  checkpoints: Checkpoints,
  options: LoopOptions,
  best: Best | None = None,
  on_save: Callable[[int], None] | None = None,
) -> TrainState:
  """Runs the steps from `state.step` to the end and returns the last state.

  Args:
    step_fn: from `make_train_step`, or one of your own.
    state: fresh or restored.
    batches: starts with the batch of the state's next step.
    evaluators: {name: state → {metric: value}}; written as `name/metric`.
    writer: a CLU metric writer.
    checkpoints: where the state is saved.
    options: when to do what.
    best: keeps the best state and says when to stop, where `options` have a patience.
    on_save: is told the step of each save.

  Raises:
    UserError: the loss is not finite; the last checkpoint is kept.
  """
  step = first = int(state.step)
  progress = _Progress(first, options.num_steps)
  window: list[Mapping[str, Metric]] = []
  while step < options.num_steps and not (best and best.is_over):
    batch = next(batches)
    if step == first:
      summary.log_parameters(state)
      logger.info("compiling the training step (once; up to a minute on a small machine) …")
      step_fn = summary.compile_step(step_fn, state, batch)
    state, step_metrics = step_fn(state, batch)
    window.append(step_metrics)
    step += 1
    if step == first + 1:
      jax.block_until_ready(state.step)
      progress.compiled()
      summary.log_cost(step_fn, batch)
    last = step == options.num_steps
    scalars: dict[str, float] = {}
    if step % options.log_every == 0 or last:
      scalars |= _mean_over(window)
      window = []
      progress.report(step, scalars["loss"])
    evaluated = step % options.eval_every == 0 or last
    if evaluated:
      scalars |= _evaluate(evaluators, state, step, writer)
    if scalars:
      writer.write_scalars(step, scalars)
      _require_finite(step, scalars)
    if best and evaluated:
      best.update(step, scalars, state)
      last = last or best.is_over
    if step % options.checkpoint_every == 0 or last:
      writer.flush()  # first: a step that is saved is a step that is logged
      checkpoints.save(step, state)
      if on_save:
        on_save(step)
  return state


def _mean_over(window: list[Mapping[str, Metric]]) -> dict[str, float]:
  return metrics_lib.compute(functools.reduce(metrics_lib.merge, jax.device_get(window)))


def _require_finite(step: int, scalars: Mapping[str, float]) -> None:
  for name in ("loss", "gradient_norm", "d_loss"):  # the weights are no better than their gradients
    value = scalars.get(name, 0.0)
    if math.isfinite(value):
      continue
    raise UserError(
      f"The {name} is {value} at step {step}. The last checkpoint is kept; lower "
      "config.optimizer.learning_rate, or check the data, and start again."
    )


def _evaluate(
  evaluators: Mapping[str, Evaluator], state: TrainState, step: int, writer: Any
) -> dict[str, float]:
  """Runs evaluators; writes pictures and histograms, returns the numbers."""
  values = {
    f"{name}/{metric}": value
    for name, evaluator in evaluators.items()
    for metric, value in evaluator(state).items()
  }
  rank = {name: np.ndim(value) for name, value in values.items()}
  scalars = {name: value for name, value in values.items() if rank[name] == 0}
  logger.info("  " + "  ".join(f"{name} {value:.4g}" for name, value in scalars.items()))
  for write, wanted in ((writer.write_images, 4), (writer.write_histograms, 1)):
    chosen = {name: value for name, value in values.items() if rank[name] == wanted}
    if chosen:
      write(step, chosen)
  return scalars


class _Progress:
  """Lines for a person: how far, how fast, how long still."""

  def __init__(self, step: int, num_steps: int):
    self._num_steps = num_steps
    self._start = self._reported = time.monotonic()
    self._first = step

  def compiled(self) -> None:
    """Starts the clock again after the first step."""
    logger.info("compiled in %.0f s", time.monotonic() - self._start)
    self._start = time.monotonic()
    self._first += 1

  def report(self, step: int, loss: float) -> None:
    """One line, at most every 10 seconds, and at the end."""
    now = time.monotonic()
    if now - self._reported < 10 and step < self._num_steps:
      return
    self._reported = now
    seconds = (now - self._start) / max(1, step - self._first)
    left = seconds * (self._num_steps - step)
    logger.info(
      f"step {step}/{self._num_steps}  loss {loss:.4g}  "
      f"{1000 * seconds:.0f} ms/step  {int(left // 60)}:{int(left % 60):02d} left"
    )
