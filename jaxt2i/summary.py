"""What a training is made of, for the log: parameters, and what a step costs."""

import collections
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxt2i.state import TrainState
from jaxt2i.types import Batch

logger = logging.getLogger(__name__)

# The names that `setup` gives to what belongs to a part; others are parts of their own.
_PARTS = {
  "to_code": "quantizer",
  "text_encoder": "text encoder",
  **dict.fromkeys(("embed", "rows", "columns", "blocks", "norm", "head"), "prior"),
}


def count_parameters(params: Mapping[str, Any]) -> dict[str, int]:
  """Numbers in the parameters of each part of a network, such as "encoder"."""
  counts: collections.Counter[str] = collections.Counter()
  for name, subtree in params.items():
    counts[_PARTS.get(name, name)] += _size(subtree)
  return dict(counts)


def log_parameters(state: TrainState) -> None:
  """One line: what is trained, part by part, and the collections that are not."""
  counts = count_parameters(state.params)
  line = f"{sum(counts.values()):,} parameters: {_listed(counts)}"
  others = {name: _size(subtree) for name, subtree in state.collections.items()}
  if others:
    line += f"; without gradients: {_listed(others)}"
  logger.info(line)


def compile_step(step_fn: Callable[..., Any], state: Any, batch: Batch) -> Any:
  """The step compiled for batches like this one, which calling it would do all the same.

  What is not a jitted function comes back as it is.
  """
  if not isinstance(step_fn, jax.stages.Wrapped):
    return step_fn
  return step_fn.lower(state, batch).compile()


def log_cost(step_fn: Callable[..., Any], batch: Batch) -> None:
  """One line: what a compiled step computes and holds; nothing where the backend doesn't tell."""
  if not isinstance(step_fn, jax.stages.Compiled):
    return
  count = len(devices(step_fn))
  told = []
  flops = (step_fn.cost_analysis() or {}).get("flops", 0.0) * count
  if flops > 0:
    examples = len(jax.tree.leaves(batch)[0])
    told.append(f"{_scaled(flops)}FLOP, {_scaled(flops / examples)}FLOP an example")
  memory = _bytes(step_fn)
  if memory:
    told.append(f"{memory / 2**20:,.0f} MiB" + (f" on each of {count} devices" * (count > 1)))
  if told:
    logger.info("a step: %s", "; ".join(told))


def _bytes(compiled: jax.stages.Compiled) -> int:
  """Arguments, results and what lies between, on one device; 0 where it is not known."""
  memory = compiled.memory_analysis()
  if memory is None:
    return 0
  return (
    memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes  # results in the place of a donated argument
    + memory.temp_size_in_bytes
  )


def devices(compiled: jax.stages.Compiled) -> set[jax.Device]:
  """That a compiled program runs on."""
  shardings = jax.tree.leaves(compiled.input_shardings)
  return set().union(*(sharding.device_set for sharding in shardings))


def _size(tree: Any) -> int:
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _listed(counts: Mapping[str, int]) -> str:
  return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _scaled(value: float) -> str:
  """`12345678.0` -> "12.3 M"."""
  for power, prefix in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
    if value >= 10**power:
      return f"{value / 10**power:.3g} {prefix}"
  return f"{value:.3g} "
