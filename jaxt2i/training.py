"""What a config says about training, as the objects that train."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from jaxt2i import config as config_lib
from jaxt2i import experiment, optim, sharding
from jaxt2i.errors import UsageError
from jaxt2i.experiment import Experiment
from jaxt2i.sharding import MeshOptions
from jaxt2i.state import TrainState
from jaxt2i.step import StepFn, StepOptions
from jaxt2i.train import LoopOptions


@dataclasses.dataclass(frozen=True)
class Training:
  """The sections of a config that every experiment has, refused where they make no sense.

  Attributes:
    seed: of weights and steps.
    batch_size: rows of a step, of all processes together.
    loop, step, mesh: as the config has them.
    optimizer: for so many steps.
  """

  seed: int
  batch_size: int
  loop: LoopOptions
  step: StepOptions
  mesh: MeshOptions
  optimizer: optax.GradientTransformation

  @classmethod
  def of(cls, config: Mapping[str, Any]) -> "Training":
    """Reads no data. UsageError for options that cannot work, or not with each other."""
    loop = config_lib.build(LoopOptions, config["loop"], "config.loop")
    rule = config_lib.build(optim.Optimizer, config["optimizer"], "config.optimizer")
    # Runs from before there were these have none, and are as without them.
    step = config_lib.build(StepOptions, config.get("step", {}), "config.step")
    mesh = config_lib.build(MeshOptions, config.get("mesh", {}), "config.mesh")
    if config["seed"] < 0:
      raise UsageError(f"config.seed is {config['seed']}: must be 0 or more.")
    if not 0 <= config["ema_decay"] < 1:
      raise UsageError(f"config.ema_decay is {config['ema_decay']}: must be from 0 to below 1.")
    if not 0 <= config["num_workers"] <= 64:
      raise UsageError(f"config.num_workers is {config['num_workers']}: must be from 0 to 64.")
    _check_parts(config, step)
    return cls(
      seed=config["seed"],
      batch_size=config["batch_size"],
      loop=loop,
      step=step,
      mesh=mesh,
      optimizer=rule.build(loop.num_steps),
    )

  def make_mesh(self) -> Mesh:
    """The devices that a step runs on."""
    return sharding.make_mesh(self.batch_size // self.step.accumulate, self.mesh)

  def shapes(self, what: Experiment, mesh: Mesh) -> TrainState:
    """The state's structure, `jax.ShapeDtypeStruct`s that say where each array lies."""
    shapes = jax.eval_shape(lambda: self._create(what))
    places = sharding.state_sharding(shapes, mesh)
    place = lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)
    return jax.tree.map(place, shapes, places)

  def fresh(self, what: Experiment, mesh: Mesh) -> TrainState:
    """The state before the first step, the same bits on any mesh.

    Where the mesh cuts it no device ever holds it whole: each makes its part. What comes from
    elsewhere (a frozen tokenizer) then is part of the program that makes it.
    """
    if sharding.cuts_state(mesh):
      places = jax.tree.map(lambda x: x.sharding, self.shapes(what, mesh))
      return jax.jit(lambda: self._create(what), out_shardings=places)()
    state = self._create(what)
    return jax.device_put(state, sharding.state_sharding(state, mesh))

  def make_step(self, what: Experiment, mesh: Mesh) -> StepFn:
    """The training step."""
    places = jax.tree.map(lambda x: x.sharding, self.shapes(what, mesh))
    return experiment.make_step(what, self.optimizer, mesh, self.step, places)

  def _create(self, what: Experiment) -> TrainState:
    return TrainState.create(what.init(jax.random.key(self.seed)), self.optimizer)


def _check_parts(config: Mapping[str, Any], step: StepOptions) -> None:
  """Refuses parts of a batch where they are not the same as the whole, or there are none."""
  if config["batch_size"] < 1:
    raise UsageError(f"config.batch_size is {config['batch_size']}: must be 1 or more.")
  if step.accumulate == 1:
    return
  where = f"config.step.accumulate is {step.accumulate}"
  if config["batch_size"] % step.accumulate:
    raise UsageError(f"{where}: must divide config.batch_size ({config['batch_size']}).")
  if config["task"] == "dual_encoder":
    raise UsageError(f"{where}: must be 1 here, where each example is told from all of its batch.")
  if config.get("adversarial", {}).get("weight"):
    raise UsageError(f"{where}: must be 1 with config.adversarial.weight above 0.")
