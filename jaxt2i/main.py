"""`python -m jaxt2i.main --config=configs/vqvae.py --workdir=runs/vqvae [--config.x=y]`: trains.

Started again with the same command after any interruption, it goes on from the last checkpoint.
"""

import contextlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from jaxt2i import environment
from jaxt2i.errors import UsageError, UserError

logger = logging.getLogger("jaxt2i.main")  # __name__ is "__main__" here

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", None, "A config file, such as configs/vqvae.py:fsq.")
flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, metrics, samples.")
flags.DEFINE_bool("force", False, "Go on with a run although the config or the data has changed.")


def main(argv: Sequence[str]) -> int:
  """Parses the command line and trains; returns the exit code."""
  try:
    config, workdir = _parse(argv)
    environment.configure()
    run(config, workdir, force=FLAGS.force)
  except UserError as error:
    print(f"jaxt2i: error: {error}", file=sys.stderr)
    return error.exit_code
  except KeyboardInterrupt:
    print("jaxt2i: interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
    return 130
  return 0


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


def _check(config: dict[str, Any]) -> None:
  """Refuses values that no section's dataclass looks at."""
  if config["seed"] < 0:
    raise UsageError(f"config.seed is {config['seed']}: must be 0 or more.")
  if not 0 <= config["ema_decay"] < 1:
    raise UsageError(f"config.ema_decay is {config['ema_decay']}: must be from 0 to below 1.")
  if not 0 <= config["num_workers"] <= 64:
    raise UsageError(f"config.num_workers is {config['num_workers']}: must be from 0 to 64.")


def run(config: dict[str, Any], workdir: Path, *, force: bool = False) -> None:
  """Trains the experiment of a config in a workdir, from its last checkpoint where there is one.

  Args:
    config: as a config file gives it.
    workdir: of the run.
    force: go on with a run that was started with another config or on other data.

  Raises:
    UserError: whatever the user can mend, in one line.
  """
  import jax

  from jaxt2i import checkpoints, experiment, optim, writers
  from jaxt2i import config as config_lib
  from jaxt2i.best import Best
  from jaxt2i.sessions import Sessions
  from jaxt2i.sharding import make_mesh, replicated
  from jaxt2i.state import TrainState
  from jaxt2i.train import LoopOptions, train

  experiment.check(config)
  loop = config_lib.build(LoopOptions, config["loop"], "config.loop")
  optimizer = config_lib.build(optim.Optimizer, config["optimizer"], "config.optimizer").build(
    loop.num_steps
  )
  _check(config)
  what = experiment.make(config)
  config_lib.check(workdir, what.config, force=force)
  with checkpoints.Checkpoints(workdir, keep=2) as saved:
    key = jax.random.key(config["seed"])
    mesh = make_mesh(config["batch_size"])
    create = lambda: TrainState.create(what.init(key), optimizer)
    if saved.latest_step() is None:
      state = jax.device_put(create(), replicated(mesh))
    else:
      target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated(mesh)),
        jax.eval_shape(create),
      )
      state = saved.restore(target)
      logger.info("going on from step %d of %s", int(state.step), workdir)
    step_fn = experiment.make_step(what, optimizer, mesh)
    running = what.start(state, workdir)
    start_step = int(state.step)
    batches = running.batches(start_step)
    config_lib.save(workdir, what.config)  # not before: a start that failed leaves none behind
    best: Any = contextlib.nullcontext()
    if loop.patience:
      best = Best(workdir, metric=loop.watch, patience=loop.patience, start_step=start_step)
    writer = writers.make_writer(workdir, start_step=start_step)
    with contextlib.closing(writer), best as watching:
      train(
        step_fn,
        state,
        batches,
        evaluators=running.evaluators,
        writer=writer,
        checkpoints=saved,
        options=loop,
        best=watching,
        on_save=Sessions(workdir, start_step).saved,
      )
  logger.info("done: %s", workdir)


if __name__ == "__main__":
  sys.exit(main(sys.argv))
