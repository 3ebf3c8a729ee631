"""The training step: gradients, the optimiser, moving averages, as one compiled program."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding

from jaxt2i.errors import UsageError
from jaxt2i.metrics import Count, Mean
from jaxt2i.optim import descend
from jaxt2i.sharding import batch_spec, known_inside, replicated
from jaxt2i.state import TrainState, ema
from jaxt2i.tasks.base import LossOutput, Task
from jaxt2i.types import Batch, Key
from jaxt2i.window import NORMS, SKIPPED, WATCHED

_LEAST_MEMORY = "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"

COMPUTE_DTYPES = ("float32", "bfloat16")
STOP, SKIP = "stop", "skip"

# Metrics are `metrics.Metric` by name, and under NORMS the norm of each part's gradients.
StepFn = Callable[[TrainState, Batch], tuple[TrainState, Mapping[str, Any]]]


@dataclasses.dataclass(frozen=True)
class StepOptions:
  """How a step is computed.

  Attributes:
    accumulate: parts that a batch is cut into; their gradients are added up before the optimiser
      moves, so a batch needs the memory of a part. What follows the latents (an EMA codebook) moves
      with each part.
    compute_dtype: one of COMPUTE_DTYPES, of activations; parameters, gradients, their sums and the
      optimiser are float32.
    bad_gradient: what becomes of a step whose loss or gradient is no number. "stop": the run ends;
      "skip": the step changes nothing but its own count, and is counted in the log.
  """

  accumulate: int = 1
  compute_dtype: str = "float32"
  bad_gradient: str = STOP

  def __post_init__(self) -> None:
    if self.accumulate < 1:
      raise UsageError(f"config.step.accumulate is {self.accumulate}: must be 1 or more.")
    for name, choices in (
      ("compute_dtype", COMPUTE_DTYPES),
      ("bad_gradient", (STOP, SKIP)),
    ):
      if getattr(self, name) not in choices:
        raise UsageError(
          f"config.step.{name} is {getattr(self, name)!r}: must be {' or '.join(choices)}."
        )


PLAIN = StepOptions()


def make_train_step(
  task: Task,
  optimizer: optax.GradientTransformation,
  *,
  ema_decay: float,
  seed: int,
  mesh: Mesh,
  options: StepOptions = PLAIN,
  state_sharding: Any = None,
) -> StepFn:
  """The jitted step: (state, batch) → (state, metrics). The given state's buffers are reused.

  Args:
    task: what is learnt.
    optimizer: of its parameters.
    ema_decay: of the moving average of the parameters.
    seed: of the run.
    mesh: the batch is cut over it.
    options: see there.
    state_sharding: of `sharding.state_sharding`; None: the whole state on every device.
  """

  def step(state: TrainState, batch: Batch) -> tuple[TrainState, Mapping[str, Any]]:
    key = step_key(seed, state)
    gradients, output = _gradients(task, state, batch, key, options)
    new_state = advance(state, optimizer, gradients, output.updates, ema_decay)
    return new_state, {**output.metrics, **gradient_metrics(gradients)}

  return jit_step(guarded(step, options), mesh, state_sharding)


def step_key(seed: int, state: TrainState) -> Key:
  """The key of the state's next step."""
  return jax.random.fold_in(jax.random.key(seed), state.step)


def as_computed(params: Any, options: StepOptions) -> Any:
  """Parameters in the dtype that the step computes in; gradients through it are in their own."""
  if options.compute_dtype == "float32":
    return params
  dtype = jnp.dtype(options.compute_dtype)
  cast = lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x
  return jax.tree.map(cast, params)


def _gradients(
  task: Task, state: TrainState, batch: Batch, key: Key, options: StepOptions
) -> tuple[Any, LossOutput]:
  """Of a whole batch, at once or part by part."""

  def loss_fn(params: Any, collections: Any, batch: Batch, key: Key) -> tuple[Any, LossOutput]:
    variables = {"params": as_computed(params, options), **collections}
    output = task.loss(variables, batch, key, train=True)
    return output.loss, output.replace(image=None)

  gradient = jax.grad(loss_fn, has_aux=True)
  if options.accumulate == 1:
    return gradient(state.params, state.collections, batch, key)

  def part(carry: tuple[Any, Any], given: tuple[Batch, Any]) -> tuple[tuple[Any, Any], Any]:
    total, collections = carry
    rows, number = given
    gradients, output = gradient(state.params, collections, rows, jax.random.fold_in(key, number))
    total = jax.tree.map(jnp.add, total, gradients)
    return (total, {**collections, **output.updates}), output.metrics

  parts = options.accumulate
  zeros = jax.tree.map(jnp.zeros_like, state.params)
  (total, collections), metrics = jax.lax.scan(
    part, (zeros, state.collections), (_parts(batch, parts), jnp.arange(parts))
  )
  mean = jax.tree.map(lambda x: x / parts, total)
  metrics = jax.tree.map(lambda x: jnp.sum(x, axis=0), metrics)
  return mean, LossOutput(loss=None, metrics=metrics, updates=collections)


def _parts(batch: Batch, parts: int) -> Batch:
  """[B, …] → [parts, B / parts, …]; part k has every parts-th row, so that none moves."""

  def cut(x: Any) -> Any:
    return jnp.swapaxes(jnp.reshape(x, (-1, parts, *x.shape[1:])), 0, 1)

  return jax.tree.map(cut, batch)


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


def gradient_metrics(gradients: Any) -> dict[str, Any]:
  """The norm of all gradients, and that of each part of the network."""
  return {
    "gradient_norm": Mean.of(optax.tree.norm(gradients)),
    NORMS: {name: optax.tree.norm(part) for name, part in gradients.items()},
  }


def guarded(step: StepFn, options: StepOptions) -> StepFn:
  """The step, changing nothing where it comes to no number, if the options say so."""
  if options.bad_gradient == STOP:
    return step

  def safe(state: TrainState, batch: Batch) -> tuple[TrainState, Mapping[str, Any]]:
    new_state, metrics = step(state, batch)
    good = jnp.stack([jnp.isfinite(metrics[name].total) for name in WATCHED if name in metrics])
    good = jnp.all(good)
    old_state = state.replace(step=new_state.step)
    new_state = jax.tree.map(lambda new, old: jnp.where(good, new, old), new_state, old_state)
    counted = {name: metric for name, metric in metrics.items() if name != NORMS}
    # Weights of 0: a window's means are over the steps that count.
    counted = jax.tree.map(lambda x: jnp.where(good, x, jnp.zeros_like(x)), counted)
    skipped = Count(1 - good.astype(jnp.float32))
    return new_state, {**counted, NORMS: metrics[NORMS], SKIPPED: skipped}

  return safe


def jit_step(step: StepFn, mesh: Mesh, state_sharding: Any = None) -> StepFn:
  """Compiles a step: the batch cut over the mesh, the state's buffers reused.

  The state lies as `state_sharding` says; None: all of it on every device.
  """
  on_cpu = mesh.devices.flat[0].platform == "cpu"
  everywhere = replicated(mesh)

  @functools.wraps(step)
  def placed(state: Any, batch: Any) -> Any:  # checked by the step itself
    with known_inside(mesh):
      return step(state, batch)

  return jax.jit(
    placed,
    in_shardings=(state_sharding or everywhere, NamedSharding(mesh, batch_spec(mesh))),
    out_shardings=(state_sharding, everywhere) if state_sharding else everywhere,
    donate_argnums=0,
    # XLA's default order on a CPU runs apart what may run at once, at the price of memory: 60 %
    # more for a convolutional tokenizer, to be 10 % faster at most. It also undoes `nn.remat`.
    compiler_options={"xla_cpu_scheduler_type": _LEAST_MEMORY} if on_cpu else None,
  )
