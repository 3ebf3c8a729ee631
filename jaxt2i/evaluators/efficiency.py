"""What a run costs: parameters, bytes, floating-point operations, time."""

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxt2i import cost, summary
from jaxt2i.cost import StepCost
from jaxt2i.pipeline import DRAW_CHUNK, IMAGE_CHUNK, Pipeline
from jaxt2i.sampling import SamplingOptions
from jaxt2i.tasks.base import Task

BATCHES = (1, 16)  # pictures that are asked for at once
REPEATS = {1: 20, 16: 10}


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
