"""Run as a program on eight simulated devices: what training steps of each layout give, as JSON."""

import json
import math
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

LAYOUTS = {
  "one": {"data": 1, "fsdp": 1, "tensor": 1},
  "data": {"data": 8, "fsdp": 1, "tensor": 1},
  "fsdp": {"data": 1, "fsdp": 8, "tensor": 1},
  "tensor": {"data": 2, "fsdp": 1, "tensor": 4},
  "mixed": {"data": 2, "fsdp": 2, "tensor": 2},
}
WIDER = {"batch_size": 8, "model.network.width": 64, "model.network.heads": 4}
_COLLECTIVE = re.compile(
  r" = (?P<result>.*?) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|"
  r"collective-permute)(-start)?\("
)
_BYTES = {"f32": 4, "s32": 4, "u32": 4, "pred": 1, "u8": 1, "bf16": 2, "f64": 8, "s64": 8}


def moved(hlo: str) -> dict[str, int]:
  """Bytes of the results of each kind of collective operation of a compiled program."""
  found: dict[str, int] = {}
  for match in _COLLECTIVE.finditer(hlo):
    arrays = re.findall(r"(\w+)\[([\d,]*)\]", match["result"])
    size = sum(_BYTES[kind] * math.prod(map(int, filter(None, s.split(",")))) for kind, s in arrays)
    found[match["kind"]] = found.get(match["kind"], 0) + size
  return found


def held(tree: Any) -> int:
  """Bytes that the first device holds."""
  first = jax.devices()[0]
  shards = (shard for x in jax.tree.leaves(tree) for shard in x.addressable_shards)
  return sum(shard.data.nbytes for shard in shards if shard.device == first)


def results(name: str, mesh: dict[str, int]) -> dict[str, Any]:
  """Of three steps."""
  from jaxt2i import experiment
  from jaxt2i.training import Training
  from tests.runs import config

  axes = {f"mesh.{axis}": size for axis, size in mesh.items()}
  chosen = config(name, **WIDER, **axes)
  what, training = experiment.make(chosen), Training.of(chosen)
  devices = training.make_mesh()
  state = training.fresh(what, devices)
  sizes = {
    "params": sum(x.nbytes for x in jax.tree.leaves(state.params)),
    "held": held((state.params, state.opt_state)),
  }
  lines = []
  with tempfile.TemporaryDirectory() as folder:
    batches = what.start(state, Path(folder)).batches(0)
    batch = next(batches)
    step = training.make_step(what, devices).lower(state, batch).compile()
    for _ in range(3):
      state, metrics = step(state, batch)
      lines.append(
        {key: float(metrics[key].compute()) for key in ("loss", "dead_codes") if key in metrics}
      )
      batch = next(batches)
  counts = state.collections.get("codebook", {}).get("quantizer", {}).get("count", np.zeros(1))
  return {
    **sizes,
    "lines": lines,
    "moved": moved(step.as_text()),
    "counts": np.asarray(counts, np.float64).tolist(),
  }


if __name__ == "__main__":
  found = {layout: results(sys.argv[1], mesh) for layout, mesh in LAYOUTS.items()}
  print(json.dumps(found))
