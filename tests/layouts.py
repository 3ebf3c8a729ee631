"""Run as a program on eight simulated devices: what training and drawing give there, as JSON."""

import dataclasses
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxt2i
from jaxt2i import cost, experiment, sharding
from jaxt2i.training import Training
from tests.runs import config

LAYOUTS = {
  "one": {"data": 1, "fsdp": 1, "tensor": 1},
  "data": {"data": 8, "fsdp": 1, "tensor": 1},
  "fsdp": {"data": 1, "fsdp": 8, "tensor": 1},
  "tensor": {"data": 2, "fsdp": 1, "tensor": 4},
  "mixed": {"data": 2, "fsdp": 2, "tensor": 2},
}
PROMPT, SEED = "large red star left of small blue heart", 7  # of what is drawn
TOKENIZER = "vqvae:{},vit,shapes,tiny"
WIDER = {"model.network.width": 64, "model.network.heads": 4}


def cases(tokenizer: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
  """(name that tests know it by, config, changes), given the workdir of a tokenizer."""
  yield "plain", TOKENIZER.format("fsq"), WIDER
  yield "codebook", TOKENIZER.format("ema"), WIDER
  yield "prior", "prior:shapes,tiny", {"tokenizer": tokenizer, "model.width": 64, "model.heads": 4}


def results(name: str, mesh: dict[str, int], changes: dict[str, Any]) -> dict[str, Any]:
  """Of three steps."""
  axes = {f"mesh.{axis}": size for axis, size in mesh.items()}
  chosen = config(name, batch_size=8, **changes, **axes)
  what, training = experiment.make(chosen), Training.of(chosen)
  devices = training.make_mesh()
  state = training.fresh(what, devices)
  bits = b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves(state))
  found = {
    "bits": hashlib.sha256(bits).hexdigest(),
    "params": sum(x.nbytes for x in jax.tree.leaves(state.params)),
    "held": cost.held((state.params, state.ema_params, state.opt_state)),
    "all": cost.held(state),
  }
  if mesh == LAYOUTS["fsdp"]:
    memory = jax.jit(lambda: training.fresh(what, devices)).lower().compile().memory_analysis()
    found["making"] = memory.output_size_in_bytes + memory.temp_size_in_bytes
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
  return found | {
    "lines": lines,
    "moved": cost.moved(step.as_text()),
    "counts": np.asarray(counts, np.float64).tolist(),
  }


def traffic(tokenizer: str, batch_size: int = 64) -> dict[str, Any]:
  """What a prior's step moves under fsdp, and what its parameters weigh: compiled, not run."""
  changes = {"mesh.data": 1, "mesh.fsdp": 8, "model.remat": True, "optimizer.kind": "adamw"}
  chosen = config(
    "prior:shapes,tiny", tokenizer=tokenizer, batch_size=batch_size, **{"model.width": 64} | changes
  )
  what, training = experiment.make(chosen), Training.of(chosen)
  mesh = training.make_mesh()
  state = training.shapes(what, mesh)
  batch = jax.tree.map(lambda x: np.repeat(x, batch_size, axis=0), what.example())
  program = training.make_step(what, mesh).lower(state, batch).compile()
  params = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state.params))
  return {"params": params, "moved": cost.moved(program.as_text())}


def drawn(workdir: str) -> dict[str, Any]:
  """Tokens of two pictures of a prior: among others, and with its weights on all devices."""
  pipe = jaxt2i.load(workdir)
  mesh = sharding.make_mesh(8)
  weights = jax.device_put(
    (pipe.prior_variables, pipe.tokenizer_variables), sharding.replicated(mesh)
  )
  everywhere = dataclasses.replace(pipe, prior_variables=weights[0], tokenizer_variables=weights[1])
  return {
    name: used([PROMPT], n=16, seed=SEED).tokens[0, [0, 13]].tolist()
    for name, used in (("one of eight", pipe), ("all of eight", everywhere))
  }


if __name__ == "__main__":
  found: dict[str, Any] = {}
  for case, name, changes in cases(sys.argv[1]):
    layouts = {"one", "data"} if case == "plain" else LAYOUTS
    found[case] = {layout: results(name, LAYOUTS[layout], changes) for layout in layouts}
  print(
    json.dumps({"layouts": found, "traffic": traffic(sys.argv[1]), "drawn": drawn(sys.argv[2])})
  )
