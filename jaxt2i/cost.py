"""What a training step costs: seconds, floating-point operations, parameters."""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxt2i import experiment, summary
from jaxt2i.experiment import Experiment
from jaxt2i.training import Training

_STEPS = 7
_SIDE = 2048  # of the matrices whose product is the measure of speed; larger ones are no faster


@dataclasses.dataclass(frozen=True)
class StepCost:
  """Of one training step, on the devices that there are.

  Attributes:
    seconds: the median of some steps, compilation not counted.
    flops: as XLA counts them in the compiled step; 0 where it does not tell.
    peak_flops: operations a second of a product of two large matrices of float32, measured in turns
      with the steps on one device, times the devices of a step.
    parameters: that are trained.
    examples: of a batch.
  """

  seconds: float
  flops: float
  peak_flops: float
  parameters: int
  examples: int


def of_step(config: Mapping[str, Any], what: Experiment | None = None) -> StepCost:
  """Measures the training step of a config with its batch size; UserError as of a training.

  Args:
    config: of the training.
    what: its experiment, where that is there already.
  """
  what = what or experiment.make(config)
  training = Training.of(config)
  mesh = training.make_mesh()
  example = jax.tree.map(lambda x: np.repeat(x, config["batch_size"], axis=0), what.example())
  state = training.fresh(what, mesh)
  parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
  step = summary.compile_step(training.make_step(what, mesh), state, example)
  square = jax.random.normal(jax.random.key(0), (_SIDE, _SIDE))
  product = jax.jit(jnp.matmul)
  steps, products = [], []
  for _ in range(_STEPS + 1):
    seconds, (state, _) = _timed(functools.partial(step, state, example))
    steps.append(seconds)
    products.append(_timed(lambda: product(square, square))[0])
  return StepCost(
    seconds=statistics.median(steps[1:]),  # the first one may compile
    flops=flops(step),
    peak_flops=mesh.size * 2 * _SIDE**3 / statistics.median(products[1:]),
    parameters=parameters,
    examples=config["batch_size"],
  )


def flops(compiled: Any) -> float:
  """Floating-point operations of a compiled program, on all devices; 0 where XLA does not tell.

  What a loop repeats is counted once.
  """
  if not isinstance(compiled, jax.stages.Compiled):
    return 0.0
  return (compiled.cost_analysis() or {}).get("flops", 0.0) * len(summary.devices(compiled))


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
  start = time.perf_counter()
  result = jax.block_until_ready(run())
  return time.perf_counter() - start, result
