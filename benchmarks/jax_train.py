"""The training step of jaxt2i, as `jaxt2i.main` makes it."""

from collections.abc import Mapping
from typing import Any

import jax

from benchmarks.timing import Prepared
from jaxt2i import config as config_lib
from jaxt2i import optim
from jaxt2i.sharding import make_mesh, replicated
from jaxt2i.state import TrainState
from jaxt2i.step import make_train_step
from jaxt2i.tasks.base import Task
from jaxt2i.types import Batch


def prepare(task: Task, config: Mapping[str, Any], batch: Batch) -> Prepared:
  """Fresh weights, and a step on the same batch again and again."""
  batch_size = len(next(iter(batch.values())))
  mesh = make_mesh(batch_size)
  optimizer = config_lib.build(optim.Optimizer, config["optimizer"], "config.optimizer").build(
    config["loop"]["num_steps"]
  )
  variables = jax.jit(task.init)(jax.random.key(config["seed"]), batch)
  state = jax.device_put(TrainState.create(variables, optimizer), replicated(mesh))
  jitted: Any = make_train_step(
    task, optimizer, ema_decay=config["ema_decay"], seed=config["seed"], mesh=mesh
  )
  step_fn = jitted.lower(state, batch).compile()

  def step() -> None:
    nonlocal state
    state, _ = jax.block_until_ready(step_fn(state, batch))

  num_parameters = sum(x.size for x in jax.tree.leaves(state.params))
  return Prepared(step, num_parameters, step_fn.cost_analysis()["flops"])
