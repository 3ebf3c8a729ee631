"""The efficiency of a finished run as a report: on which machine, and what it took to train."""

import dataclasses
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxt2i import config as config_lib
from jaxt2i import cost, machine, sessions, summary, weights
from jaxt2i.cost import StepCost
from jaxt2i.errors import UserError
from jaxt2i.evaluation_report import Report
from jaxt2i.evaluators.measured import Measured
from jaxt2i.experiment.parts import prior_task
from jaxt2i.pipeline import DRAW_CHUNK, IMAGE_CHUNK, Pipeline, load
from jaxt2i.sampling import SamplingOptions
from jaxt2i.tasks.base import Task

logger = logging.getLogger(__name__)

NAME = "efficiency"
BATCHES = (1, 16)  # pictures that are asked for at once
REPEATS = {1: 20, 16: 10}


def measure(workdir: Path, options: SamplingOptions) -> Report:
  """Parameters, bytes, operations and times of a tokenizer or a prior.

  The training step is measured anew, where the data and the tokenizer that it was trained with are
  still there; how long training took is read from the run's record.

  Raises:
    UserError: there is no run that draws, or no whole checkpoint.
  """
  config = config_lib.load(workdir)
  road = load(workdir)
  size = config["data"]["image_size"]
  found: dict[str, Any] = {"disk_bytes": weights.disk_bytes(workdir)}
  found |= of_drawing(road, size, options)
  task = None if road.prior is None else prior_task(config["loss"], road.prior)
  found |= flops(road, size, task)
  try:
    found |= of_training(cost.of_step(config))
  except UserError as error:
    logger.info("the training step is left out: %s", error)
  starts = sessions.read(workdir)
  if starts:
    found["training_seconds"] = sum(each.get("seconds", 0.0) for each in starts)
    found["training_starts"] = len(starts)
  protocol: dict[str, Any] = machine.facts()
  repeats = ", ".join(f"{n} calls for {batch}" for batch, n in REPEATS.items())
  protocol["times"] = f"after one call that compiles: {repeats}; the step: median of 7"
  settings = {
    "task": config["task"],
    "step": weights.step(workdir),
    **dataclasses.asdict(options),
    "training": [f"{s.get('devices')}, {s.get('processor')}: {s.get('seconds')} s" for s in starts],
  }
  return Report({}, settings, {NAME: Measured(protocol, found)})


def of_drawing(pipeline: Pipeline, image_size: int, options: SamplingOptions) -> dict[str, Any]:
  """Parameters, bytes in memory, and milliseconds of drawing or, without a prior, of both ways.

  `draw_1_p50_ms`: half of the calls for one picture took less, `draw_16_p95_ms`: 95 % of those for
  sixteen, tokens and decoding included; `draw_16_images_a_second` at the median.
  """
  params = {"tokenizer": pipeline.tokenizer_variables["params"]}
  variables: list[Any] = [pipeline.tokenizer_variables]
  if pipeline.prior_variables is not None:
    params["prior"] = pipeline.prior_variables["params"]
    variables.append(pipeline.prior_variables)
  by_part = {
    f"{name}: {part}" if name == "tokenizer" else part: count
    for name, tree in params.items()
    for part, count in summary.count_parameters(tree).items()
  }
  found: dict[str, Any] = {
    "parameters": sum(by_part.values()),
    "parameters_by_part": by_part,
    "memory_bytes": sum(np.asarray(x).nbytes for x in jax.tree.leaves(variables)),
  }
  chosen = dataclasses.asdict(options)
  for batch in BATCHES:
    images = np.zeros((batch, image_size, image_size, 3), np.uint8)
    tokens = pipeline.encode(images)
    calls: dict[str, Callable[[], Any]] = {
      "encode": partial(pipeline.encode, images),
      "decode": partial(pipeline.decode, tokens),
    }
    if pipeline.prior is not None:
      calls = {"draw": partial(pipeline, [""] * batch, **chosen)}
    for name, call in calls.items():
      found |= _latency(f"{name}_{batch}", call, batch)
  return found


def flops(pipeline: Pipeline, image_size: int, task: Task | None) -> dict[str, float]:
  """Operations of one image, as XLA counts them in compiled programs; nothing where it doesn't.

  `encode_flops`, `decode_flops`; `prior_flops`: of one pass over all tokens of an image with its
  caption. Drawing a token after the other computes about as much with the cache, a masked prior as
  much in each pass; guidance doubles either.
  """
  model, variables = pipeline.tokenizer, pipeline.tokenizer_variables
  images = np.zeros((IMAGE_CHUNK, image_size, image_size, 3), np.uint8)
  tokens = pipeline.encode(images)
  programs: dict[str, tuple[Any, tuple[Any, ...], int]] = {
    "encode": (lambda v, x: model.apply(v, x, method="encode"), (variables, images), IMAGE_CHUNK),
    "decode": (lambda v, x: model.apply(v, x, method="decode"), (variables, tokens), IMAGE_CHUNK),
  }
  if task is not None and pipeline.text_processor is not None:
    batch = {"tokens": tokens[:DRAW_CHUNK], "text": pipeline.text_processor([""] * DRAW_CHUNK)}
    once = lambda v, b: task.loss(v, b, jax.random.key(0), train=False).loss
    programs["prior"] = (once, (pipeline.prior_variables, batch), DRAW_CHUNK)
  found = {}
  for name, (program, arguments, count) in programs.items():
    counted = cost.flops(jax.jit(program).lower(*arguments).compile())
    if counted:
      found[f"{name}_flops"] = counted / count
  return found


def of_training(step: StepCost) -> dict[str, float]:
  """Milliseconds of a step, examples a second, and how near it comes to the machine's speed."""
  found: dict[str, float] = {
    "step_ms": 1000 * step.seconds,
    "examples_a_second": step.examples / step.seconds,
    "matmul_flops_a_second": step.peak_flops,
  }
  if step.flops:
    found["step_flops"] = step.flops
    found["share_of_matmul"] = step.flops / step.seconds / step.peak_flops
  return found


def _latency(name: str, call: Callable[[], Any], batch: int) -> dict[str, float]:
  call()  # compiles
  times = []
  for _ in range(REPEATS[batch]):
    start = time.perf_counter()
    call()
    times.append(1000 * (time.perf_counter() - start))
  half, most = np.percentile(times, (50, 95))
  return {
    f"{name}_p50_ms": float(half),
    f"{name}_p95_ms": float(most),
    f"{name}_images_a_second": 1000 * batch / float(half),
  }
