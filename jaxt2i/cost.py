"""What a training step costs: seconds, floating-point operations, parameters, bytes moved."""

import dataclasses
import functools
import math
import re
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

# The text of a compiled program: its computations, who runs whom, what devices tell each other.
_COMPUTATION = re.compile(r"^(ENTRY )?%?(\S+) \(.*\{$")
_CALL = re.compile(r"(?:body|to_apply|calls|true_computation|false_computation)=%?([\w.-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_COLLECTIVE = re.compile(
  r" = (?P<result>.*?) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|"
  r"collective-permute)\("
)
_ARRAY = re.compile(r"([a-z]+\d*)\[([\d,]*)\]")

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


def moved(program: str) -> dict[str, int]:
  """Bytes of the results of each kind of collective operation, on one device.

  Args:
    program: `as_text()` of a compiled one. What a loop repeats counts as often as that, once where
      it does not say how often; of a choice all branches count.
  """
  own: dict[str, list[tuple[str, int]]] = {}
  calls: dict[str, list[tuple[str, int]]] = {}
  entry = name = ""
  for line in program.splitlines():
    if found := _COMPUTATION.match(line):
      name = found[2]
      own[name], calls[name] = [], []
      entry = name if found[1] else entry
    if found := _COLLECTIVE.search(line):
      own[name].append((found["kind"], _array_bytes(found["result"])))
    elif name and line != "}":
      trips = _TRIPS.search(line)
      branches = [part.strip(" %") for b in _BRANCHES.findall(line) for part in b.split(",")]
      times = int(trips[1]) if trips else 1
      calls[name] += [(other, times) for other in (*_CALL.findall(line), *branches)]
  total: dict[str, int] = {}

  def add(name: str, times: int) -> None:
    for kind, size in own[name]:
      total[kind] = total.get(kind, 0) + times * size
    for other, repeated in calls[name]:
      add(other, times * repeated)

  add(entry, 1)
  return total


def _array_bytes(shapes: str) -> int:
  """`(f32[2,3]{1,0}, u32[])` -> 28."""
  arrays = _ARRAY.findall(shapes)
  return sum(
    _item_bytes(kind) * math.prod(map(int, filter(None, s.split(",")))) for kind, s in arrays
  )


def _item_bytes(kind: str) -> int:
  """Of a number: `bf16` -> 2; what has no digits is a truth value."""
  return max(1, int("".join(filter(str.isdigit, kind)) or 8) // 8)


def held(tree: Any) -> int:
  """Bytes that the first device holds of arrays, or would hold of shapes with shardings."""
  leaves = jax.tree.leaves(tree)
  return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in leaves)


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
  start = time.perf_counter()
  result = jax.block_until_ready(run())
  return time.perf_counter() - start, result
