"""`python -m jaxt2i.main --config=configs/vqvae.py --workdir=runs/vqvae [--config.x=y]`: trains.

Started again with the same command after any interruption, it goes on from the last checkpoint.
Exit codes: 0 done, 1 failed, 2 typed wrongly, 3 stopped by SIGTERM or Ctrl-C with all saved.
"""

import contextlib
import functools
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from jaxt2i import environment
from jaxt2i.errors import UsageError, UserError
from jaxt2i.stopping import Stop, StoppedError

logger = logging.getLogger("jaxt2i.main")  # __name__ is "__main__" here

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", None, "A config file, such as configs/vqvae.py:fsq.")
flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, metrics, samples.")
flags.DEFINE_bool("distributed", False, "This is one of several processes; see docs/scaling.md.")
flags.DEFINE_bool("force", False, "Go on with a run although the config or the data has changed.")


def main(argv: Sequence[str]) -> int:
  """Parses the command line and trains; returns the exit code."""
  code = 0
  try:
    with Stop() as stop:
      config, workdir = _parse(argv)
      environment.configure()
      run(config, workdir, force=FLAGS.force, stop=stop, distributed=FLAGS.distributed)
  except StoppedError as stopped:
    print(f"jaxt2i: {stopped}", file=sys.stderr)
    return stopped.exit_code
  except UserError as error:
    print(f"jaxt2i: error: {error}", file=sys.stderr)
    code = error.exit_code
  except KeyboardInterrupt:
    print("jaxt2i: interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
    code = 130
  if code and FLAGS.is_parsed() and FLAGS.distributed:
    from jaxt2i import multiprocess

    multiprocess.quit_now(code)  # the others wait for this one, and it for them
  return code


def _parse(argv: Sequence[str]) -> tuple[dict[str, Any], Path]:
  """Config and workdir; every mistake becomes a UsageError of one line."""
  sys.path.insert(0, str(environment.configs_dir().parent))  # configs import configs.common
  given = next((arg for arg in argv if arg.startswith("--config=")), "--config")
  try:
    stray = FLAGS(argv)[1:]
    config = None if FLAGS.config is None else FLAGS.config.to_dict()
  except UserError:
    raise
  # ml_collections raises AttributeError, KeyError, TypeError, OSError, whatever a config raises.
  except Exception as error:
    file = given.removeprefix("--config=").partition(":")[0]
    if given.startswith("--config=") and not Path(file).is_file():
      raise UsageError(
        f"{file} does not exist: --config is a file such as configs/vqvae.py."
      ) from error
    raise UsageError(f"{given}: {_one_line(error)}") from error
  if stray:
    raise UsageError(f"{stray[0]!r} is not an option: expected --config, --workdir, --config.x=y.")
  if config is None or FLAGS.workdir is None:
    raise UsageError(
      "--config and --workdir are needed: "
      "python -m jaxt2i.main --config=configs/vqvae.py --workdir=runs/vqvae"
    )
  return config, Path(FLAGS.workdir)


def _one_line(error: Exception) -> str:
  """The message of an error without quotes and line breaks, those of nested messages included."""
  text = str(error.args[0]) if len(error.args) == 1 else str(error)
  return " ".join(text.replace("\\n", " ").split()).strip("'\"")


def run(
  config: dict[str, Any],
  workdir: Path,
  *,
  force: bool = False,
  stop: Stop | None = None,
  distributed: bool = False,
) -> None:
  """Trains the experiment of a config in a workdir, from its last checkpoint where there is one.

  Args:
    config: as a config file gives it.
    workdir: of the run.
    force: go on with a run that was started with another config or on other data.
    stop: listens for requests to stop.
    distributed: this is one of several processes, see `jaxt2i.multiprocess`.

  Raises:
    UserError: whatever the user can mend, in one line.
    StoppedError: on request; all is saved.
  """
  import jax

  from jaxt2i import checkpoints, experiment, multiprocess
  from jaxt2i import config as config_lib
  from jaxt2i.training import Training

  stop = stop or Stop()
  experiment.check(config)
  training = Training.of(config)
  if distributed:
    multiprocess.start()
    stop.agreement = multiprocess.time_to_stop
  what = experiment.make(config)
  config_lib.check(workdir, what.config, force=force)
  try:
    with checkpoints.Checkpoints(workdir, keep=2) as saved:
      _train(training, what, saved, workdir, stop)
  except jax.errors.JaxRuntimeError as error:
    if jax.process_count() > 1:
      raise multiprocess.lost(error) from error
    raise
  logger.info("done: %s", workdir)


def _train(training: Any, what: Any, saved: Any, workdir: Path, stop: Stop) -> None:
  """Makes or restores the state, opens the data and what is written to, and runs the loop."""
  from jaxt2i import config as config_lib
  from jaxt2i import crash, multiprocess, writers
  from jaxt2i.best import Best
  from jaxt2i.sessions import Sessions
  from jaxt2i.sharding import joined
  from jaxt2i.train import Surroundings, train

  mesh, loop = training.make_mesh(), training.loop
  if saved.latest_step() is None:
    state = training.fresh(what, mesh)
  else:
    state = saved.restore(training.shapes(what, mesh))
    logger.info("going on from step %d of %s", int(state.step), workdir)
  step_fn = training.make_step(what, mesh)
  step = int(state.step)
  running = what.start(state, workdir)
  batches = joined(running.batches(step), mesh)
  writes = multiprocess.is_first()
  if writes:
    config_lib.save(workdir, what.config)  # not before: a start that failed leaves none behind
  # A step whose line was not written when the run was stopped is logged again.
  under_way = saved.under_way(step)
  logged = step - 1 if under_way.get("is_due") else step
  best: Any = contextlib.nullcontext()
  if loop.patience:
    best = Best(workdir, metric=loop.watch, patience=loop.patience, start_step=logged)
  writer = writers.make_writer(workdir, start_step=logged) if writes else writers.QuietWriter()
  with contextlib.closing(writer), best as watching:
    around = Surroundings(
      evaluators=running.evaluators,
      writer=writer,
      checkpoints=saved,
      best=watching,
      stop=stop,
      on_save=Sessions(workdir, step).saved if writes else lambda step: None,
      on_bad_step=functools.partial(crash.dump, workdir, running.image_id),
    )
    train(step_fn, state, batches, options=loop, around=around, under_way=under_way)


if __name__ == "__main__":
  sys.exit(main(sys.argv))
