"""Several processes that are one run: how they start, what one tells the others, how they end.

Process 0 alone evaluates and writes to the workdir, checkpoints excepted, of which each writes its
part. The workdir must be on storage that all of them see.
"""

import json
import logging
import os
import sys
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxt2i.errors import UsageError, UserError

logger = logging.getLogger(__name__)

# Until a process that does not answer counts as gone, in seconds.
HEARTBEAT_TIMEOUT = 30


def start() -> None:
  """Joins the other processes; before anything else of JAX.

  On TPUs, under Slurm and Open MPI JAX finds the others by itself; elsewhere the variables
  JAX_COORDINATOR_ADDRESS (host:port), JAX_NUM_PROCESSES and JAX_PROCESS_ID say where they are.

  Raises:
    UsageError: the variables are not all there, or make no sense; or the others do not answer.
  """
  given: dict[str, Any] = {}
  for option, name in (("num_processes", "JAX_NUM_PROCESSES"), ("process_id", "JAX_PROCESS_ID")):
    value = os.environ.get(name)
    if value is not None and not value.isdecimal():
      raise UsageError(f"{name} is {value!r}: must be a number.")
    given[option] = None if value is None else int(value)
  if "JAX_COORDINATOR_ADDRESS" in os.environ and None not in given.values():
    given["cluster_detection_method"] = "deactivate"  # what is said counts, wherever this runs
  try:
    jax.distributed.initialize(**given, heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT)
  except (ValueError, RuntimeError) as error:
    raise UsageError(
      f"--distributed: {' '.join(str(error).split())[:300]} On TPUs and under Slurm nothing is to "
      "be said; elsewhere set JAX_COORDINATOR_ADDRESS=host:port, JAX_NUM_PROCESSES and "
      "JAX_PROCESS_ID for each process."
    ) from error
  logger.info(
    "process %d of %d, %d of %d devices",
    jax.process_index(),
    jax.process_count(),
    jax.local_device_count(),
    jax.device_count(),
  )


def is_first() -> bool:
  """Whether this process is the one that writes."""
  return jax.process_index() == 0


def agreed(value: Any) -> Any:
  """What process 0 gives, in every process: JSON, floats to the last bit. All have to call it."""
  if jax.process_count() == 1:
    return value
  data = np.frombuffer(json.dumps(value).encode(), np.uint8)
  length = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
  mine = data if is_first() else np.zeros(length, np.uint8)
  return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(mine)).tobytes())


def time_to_stop(step: int) -> bool:
  """Whether this is the step at which all processes stop, since one of them got a SIGTERM."""
  return multihost_utils.reached_preemption_sync_point(step)


def lost(error: Exception) -> UserError:
  """What an error of XLA means where there are several processes."""
  text = " ".join(str(error).split())[:200]
  return UserError(
    f"another process of this run is gone, or cannot be reached ({text}): start the same command "
    "in all of them again; they go on from the last checkpoint"
  )


def wait_for_all(what: str) -> None:
  """Returns once every process has come here."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(what)


def quit_now(code: int) -> None:
  """Ends this process without waiting for the others, of whom one may be gone."""
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)
