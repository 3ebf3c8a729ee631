"""A config made concrete: the task, its data, its evaluators."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import optax
from jax.sharding import Mesh

from jaxt2i.adversarial import make_adversarial_step
from jaxt2i.experiment.dual_encoder import DualEncoderExperiment
from jaxt2i.experiment.parts import Running
from jaxt2i.experiment.prior import PriorExperiment
from jaxt2i.experiment.sections import check as check
from jaxt2i.experiment.sections import of_task
from jaxt2i.experiment.tokenizer import TokenizerExperiment
from jaxt2i.state import TrainState
from jaxt2i.step import StepFn, StepOptions, make_train_step
from jaxt2i.tasks.adversarial import AdversarialTask
from jaxt2i.tasks.base import Task
from jaxt2i.types import Batch, Key, Variables


@runtime_checkable
class Experiment(Protocol):
  """What `main` needs to know of an experiment."""

  config: Mapping[str, Any]  # resolved: with all that loading the run will need
  task: Task

  def example(self) -> Batch:
    """A batch of the right shapes; its values mean nothing."""
    ...

  def init(self, key: Key) -> Variables:
    """All variables at the first step, those that come from elsewhere and never change included."""
    ...

  def start(self, state: TrainState, workdir: Path) -> "Running":
    """Loads what training needs, for a fresh or a restored state."""
    ...


def make(config: Mapping[str, Any]) -> Experiment:
  """The experiment of a config.

  Raises:
    UsageError: for a task that does not exist, or options that cannot work.
  """
  experiments: Mapping[str, Any] = {
    "tokenizer": TokenizerExperiment,
    "prior": PriorExperiment,
    "dual_encoder": DualEncoderExperiment,
  }
  return of_task(config, experiments)(config)


def make_step(
  what: Experiment,
  optimizer: optax.GradientTransformation,
  mesh: Mesh,
  step: StepOptions,
  state_sharding: Any,
) -> StepFn:
  """The training step of an experiment; arguments as of `make_train_step`."""
  options: Any = {key: what.config[key] for key in ("ema_decay", "seed")}
  options |= {"mesh": mesh, "options": step, "state_sharding": state_sharding}
  if isinstance(what.task, AdversarialTask):
    return make_adversarial_step(what.task, optimizer, **options)
  return make_train_step(what.task, optimizer, **options)
