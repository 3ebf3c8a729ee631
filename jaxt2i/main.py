"""`python -m jaxt2i.main --config=configs/vqvae.py --workdir=runs/vqvae [--config.x=y]`: trains.

Started again with the same command after any interruption, it goes on from the last checkpoint.
"""

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


def main(argv: Sequence[str]) -> int:
  """Parses the command line and trains; returns the exit code."""
  try:
    config, workdir = _parse(argv)
    environment.configure()
    run(config, workdir)
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
  try:
    FLAGS(argv)
    config = FLAGS.config
  except UserError:
    raise
  except Exception as error:  # ml_collections raises AttributeError, KeyError, TypeError, IOError…
    raise UsageError(_one_line(error)) from error
  if config is None or FLAGS.workdir is None:
    raise UsageError(
      "--config and --workdir are needed: "
      "python -m jaxt2i.main --config=configs/vqvae.py --workdir=runs/vqvae"
    )
  return config.to_dict(), Path(FLAGS.workdir)


def _one_line(error: Exception) -> str:
  text = str(error.args[0]) if error.args else repr(error)
  return " ".join(text.split())


def run(config: dict[str, Any], workdir: Path) -> None:
  """Trains the experiment of a config in a workdir, from its last checkpoint where there is one.

  Raises:
    UserError: whatever the user can mend, in one line.
  """
  import jax

  from jaxt2i import checkpoints, experiment, optim, writers
  from jaxt2i import config as config_lib
  from jaxt2i.sharding import make_mesh, replicated
  from jaxt2i.state import TrainState
  from jaxt2i.train import LoopOptions, make_train_step, train

  loop = config_lib.build(LoopOptions, config["loop"], "config.loop")
  optimizer = config_lib.build(optim.Optimizer, config["optimizer"], "config.optimizer").build(
    loop.num_steps
  )
  with checkpoints.Checkpoints(workdir, keep=2) as saved:
    what = experiment.make(config)
    config_lib.save(workdir, what.config)
    key = jax.random.key(config["seed"])
    mesh = make_mesh(config["batch_size"])
    create = lambda: TrainState.create(
      {**what.task.init(key, what.example()), **what.frozen()}, optimizer
    )
    if saved.latest_step() is None:
      state = jax.device_put(create(), replicated(mesh))
    else:
      target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated(mesh)),
        jax.eval_shape(create),
      )
      state = saved.restore(target)
      logger.info("going on from step %d of %s", int(state.step), workdir)
    step_fn = make_train_step(
      what.task, optimizer, ema_decay=config["ema_decay"], seed=config["seed"], mesh=mesh
    )
    running = what.start(state, workdir)
    start_step = int(state.step)
    writer = writers.make_writer(workdir, start_step=start_step)
    try:
      train(
        step_fn,
        state,
        running.batches(start_step),
        evaluators=running.evaluators,
        writer=writer,
        checkpoints=saved,
        options=loop,
      )
    finally:
      writer.close()
  logger.info("done: %s", workdir)


if __name__ == "__main__":
  sys.exit(main(sys.argv))
