"""The efficiency of a finished run as a report: on which machine, and what it took to train."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

from jaxt2i import config as config_lib
from jaxt2i import cost, machine, pipeline, sessions, weights
from jaxt2i.errors import UserError
from jaxt2i.evaluation_report import Measured, Report
from jaxt2i.evaluators import efficiency
from jaxt2i.experiment.parts import prior_task
from jaxt2i.sampling import SamplingOptions

logger = logging.getLogger(__name__)

NAME = "efficiency"


def measure(workdir: Path, options: SamplingOptions) -> Report:
  """Parameters, bytes, operations and times of a tokenizer or a prior.

  The training step is measured anew, where the data and the tokenizer that it was trained with are
  still there; how long training took is read from the run's record.

  Raises:
    UserError: there is no run that draws, or no whole checkpoint.
  """
  config = config_lib.load(workdir)
  road = pipeline.load(workdir)
  size = config["data"]["image_size"]
  found: dict[str, Any] = {"disk_bytes": weights.disk_bytes(workdir)}
  found |= efficiency.of_drawing(road, size, options)
  task = None if road.prior is None else prior_task(config["loss"], road.prior)
  found |= efficiency.flops(road, size, task)
  try:
    found |= efficiency.of_training(cost.of_step(config))
  except UserError as error:
    logger.info("the training step is left out: %s", error)
  starts = sessions.read(workdir)
  if starts:
    found["training_seconds"] = sum(each.get("seconds", 0.0) for each in starts)
    found["training_starts"] = len(starts)
  protocol: dict[str, Any] = machine.facts()
  repeats = ", ".join(f"{n} calls for {batch}" for batch, n in efficiency.REPEATS.items())
  protocol["times"] = f"after one call that compiles: {repeats}; the step: median of 7"
  settings = {
    "task": config["task"],
    "step": weights.step(workdir),
    **dataclasses.asdict(options),
    "training": [f"{s.get('devices')}, {s.get('processor')}: {s.get('seconds')} s" for s in starts],
  }
  return Report({}, settings, {NAME: Measured(protocol, found)})
