"""`python -m benchmarks.scale`: what devices hold and tell each other, layout by layout.

The first table runs a prior on eight simulated devices. `--plan` compiles larger ones, which it
does not run, for 8 and 64 devices: what docs/scaling.md says of machines is computed from that.
"""

import argparse
import dataclasses
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.prior_step import build_both
from benchmarks.tables import head, machine, row
from configs import prior
from jaxt2i import config as config_lib
from jaxt2i import cost
from jaxt2i.experiment.parts import Running, fresh
from jaxt2i.tasks.prior import AutoregressiveTask
from jaxt2i.training import Training
from jaxt2i.types import Batch, Key, Variables

LAYOUTS = {
  "one": {"data": 1},
  "data=8": {"data": 8},
  "fsdp=8": {"data": 1, "fsdp": 8},
  "data=2 tensor=4": {"data": 2, "tensor": 4},
  "data=2 fsdp=2 tensor=2": {"data": 2, "fsdp": 2, "tensor": 2},
}
SMALL = {"text.max_length": 16, "model.heads": 8}  # heads that eight devices can share
BATCH, STEPS = 32, 3
# What the plan trains: images of 256 tokens out of 16,384, captions of 64.
LARGE = {
  "text.max_length": 64,
  "model.remat": True,
  "step.compute_dtype": "bfloat16",
  "optimizer.kind": "adamw",
}
SIZES: dict[str, dict[str, int]] = {
  "156 M": {"model.width": 768, "model.layers": 12, "model.heads": 12},
  "868 M": {"model.width": 1536, "model.layers": 20, "model.heads": 24},
  "3.0 B": {"model.width": 2560, "model.layers": 26, "model.heads": 40},
}
TOKENS = 256
ROWS = (8, 16)  # of a device: two batches tell what each further example needs


@dataclasses.dataclass(frozen=True)
class Chip:
  """The vendor's figures: bytes of memory, bfloat16 operations a second, bytes sent a second."""

  memory: float
  peak: float
  link: float


CHIPS = {
  # cloud.google.com/tpu/docs/v5e; 400 GB/s between chips, both ways together
  "v5e": Chip(16e9, 197e12, 200e9),
  # nvidia.com, H100 SXM: half of the figure with sparsity; NVLink's 900 GB/s, both ways together
  "H100": Chip(80e9, 989.5e12, 450e9),
}


class Subject:
  """A prior to be trained on noise: an experiment without tokenizer or data."""

  def __init__(
    self, changes: Mapping[str, Any], *, grid: tuple[int, int], codebook_size: int
  ) -> None:
    config = prior.get_config()
    config.update_from_flattened_dict(changes)
    model, _ = build_both(config, grid=grid, codebook_size=codebook_size)
    self.config: Mapping[str, Any] = config.to_dict()
    self.task = config_lib.build(
      AutoregressiveTask, config.loss.to_dict(), "config.loss", model=model
    )

  def example(self) -> Batch:
    """One grid with an empty caption."""
    tokens = np.zeros((1, *self.task.model.grid), np.int32)
    return {"tokens": tokens, "text": np.zeros((1, self.config["text"]["max_length"]), np.int32)}

  def init(self, key: Key) -> Variables:
    """Fresh parameters."""
    return fresh(self.task, key, self.example())

  def start(self, state: Any, workdir: Path) -> Running:
    """There is no data."""
    raise NotImplementedError


def compiled(subject: Subject) -> tuple[Any, dict[str, int]]:
  """The training step of a config, and of each device: bytes of state, gradients, moved, held."""
  training = Training.of(subject.config)
  mesh = training.make_mesh()
  shapes = training.shapes(subject, mesh)
  rows = lambda x: jax.ShapeDtypeStruct((training.batch_size, *x.shape[1:]), x.dtype)
  program = training.make_step(subject, mesh).lower(shapes, jax.tree.map(rows, subject.example()))
  step = program.compile()
  moved = cost.moved(step.as_text())
  return step, {
    "parameters": sum(x.size for x in jax.tree.leaves(shapes.params)),
    "state": cost.held((shapes.params, shapes.ema_params, shapes.opt_state)),
    "gradients": sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes.params)),
    "all-reduce": moved.get("all-reduce", 0),
    "all-gather": moved.get("all-gather", 0),
    "others": sum(n for kind, n in moved.items() if kind not in ("all-reduce", "all-gather")),
    "temporary": step.memory_analysis().temp_size_in_bytes,
  }


def layout(mesh: Mapping[str, int], changes: Mapping[str, Any] = SMALL) -> dict[str, float]:
  """What `compiled` says of a layout, and the examples that it takes a second."""
  axes = {f"mesh.{axis}": size for axis, size in mesh.items()}
  changes = {"batch_size": BATCH, **changes, **axes}
  subject = Subject(changes, grid=(8, 8), codebook_size=1000)
  step, found = compiled(subject)
  training = Training.of(subject.config)
  state = training.fresh(subject, training.make_mesh())
  noise = np.random.default_rng(0)
  batch = jax.tree.map(
    lambda x: noise.integers(1, 1000, (training.batch_size, *x.shape[1:])).astype(x.dtype),
    subject.example(),
  )
  seconds = []
  for _ in range(STEPS + 1):
    start = time.perf_counter()
    state, metrics = step(state, batch)
    jax.block_until_ready(metrics)
    seconds.append(time.perf_counter() - start)
  return {**found, "speed": training.batch_size / statistics.median(seconds[1:])}


def planned(size: str, axis: str, devices: int) -> dict[str, float]:
  """A step of a large prior on so many devices along one axis: compiled, not run.

  Returns:
    As of `compiled` with the larger batch, and "example", bytes that one more on a device needs.
  """
  axes = {"mesh.data": 1, f"mesh.{axis}": devices}
  results = []
  for rows in ROWS:
    changes = {**LARGE, **SIZES[size], **axes, "batch_size": rows * devices}
    _, found = compiled(Subject(changes, grid=(16, 16), codebook_size=16_384))
    results.append(found)
  small, large = results
  further = (large["temporary"] - small["temporary"]) / (ROWS[1] - ROWS[0])
  return {**large, "example": further}


def sent(found: Mapping[str, float], axis: str, devices: int) -> float:
  """Bytes that a device sends in a step, round a ring.

  An all-reduce passes all but a device's own part twice, and once under fsdp: what CPUs reduce
  and then cut, other machines reduce in parts (reduce-scatter).
  """
  reduced = found["all-reduce"] * (2 if axis == "data" else 1)
  return (reduced + found["all-gather"] + found["others"]) * (devices - 1) / devices


def most(found: Mapping[str, float], memory: float) -> int:
  """Examples that fit on a device, a tenth of its memory left free; 0: not even the state."""
  fixed = found["state"] + found["temporary"] - ROWS[1] * found["example"]
  return max(0, int((0.9 * memory - fixed) / found["example"]))


def balance(found: Mapping[str, float], traffic: float, chip: "Chip") -> float:
  """Examples a device whose operations take as long as the traffic, both at the vendor's peak.

  With remat there are 8 operations a parameter and token: the loss is computed twice.
  """
  operations = 8 * found["parameters"] * TOKENS
  return (traffic / chip.link) / (operations / chip.peak)


def unrolled(size: str, rows: int = 2) -> tuple[float, float]:
  """On one device without remat: operations by XLA's count as a share, and bytes an example.

  The share is of 6 · parameters · tokens.
  """
  temporary, share = [], 0.0
  for batch_size in (rows, 2 * rows):
    changes = {**LARGE, **SIZES[size], "mesh.data": 1, "batch_size": batch_size}
    subject = Subject({**changes, "model.remat": False}, grid=(16, 16), codebook_size=16_384)
    step, found = compiled(subject)
    share = cost.flops(step) / (6 * found["parameters"] * TOKENS * batch_size)
    temporary.append(found["temporary"])
  return share, (temporary[1] - temporary[0]) / rows


def main(argv: Sequence[str]) -> int:
  """Prints a table."""
  parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
  parser.add_argument("--plan", action="store_true", help="large priors on 8 and 64 devices")
  arguments = parser.parse_args(argv)
  os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={64 if arguments.plan else 8}"
  jax.config.update("jax_platforms", "cpu")
  print(machine("jax", "flax") + "\n")
  (_print_plan if arguments.plan else _print_layouts)()
  return 0


def _print_layouts() -> None:
  cells = ("all-reduce", "all-gather", "others", "gradients", "temporary")
  print(head(("layout", "state MiB", *(f"{cell} MiB" for cell in cells), "examples/s")))
  alone = 0.0
  for name, mesh in LAYOUTS.items():
    found = layout(mesh)
    alone = alone or found["speed"]
    sizes = (f"{found[cell] / 2**20:.1f}" for cell in ("state", *cells))
    print(row([name, *sizes, f"{found['speed'] / alone:.2f}"]), flush=True)
  print("\nEach device's; examples/s as a share of one device's, on the same cores.")


def _print_plan() -> None:
  cells = ("state", "all-reduce", "all-gather", "temporary", "example")
  chips = [f"{name} {what}" for name in CHIPS for what in ("most", "even")]
  print(head(("prior", "M", "layout", *(f"{cell} GB" for cell in cells), "sent GB", *chips)))
  for size in SIZES:
    for axis, devices in (("data", 8), ("fsdp", 8), ("fsdp", 64)):
      found = planned(size, axis, devices)
      traffic = sent(found, axis, devices)
      sizes = [f"{found[cell] / 1e9:.3g}" for cell in cells] + [f"{traffic / 1e9:.3g}"]
      for chip in CHIPS.values():
        sizes += [f"{most(found, chip.memory)}", f"{balance(found, traffic, chip):.1f}"]
      name = f"{axis}={devices}"
      print(row([size, f"{found['parameters'] / 1e6:,.0f}", name, *sizes]), flush=True)
  share, example = unrolled(next(iter(SIZES)))
  print(f"\nEach device's, with {ROWS[1]} examples on it; example: what one more needs.")
  print("most: examples on a device that fit; even: that compute as long as a step's bytes travel.")
  print(
    f"{next(iter(SIZES))} without remat on one device: {share:.2f} of 6 · parameters · tokens "
    f"operations by XLA's count; {example / 1e9:.3f} GB an example."
  )


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
