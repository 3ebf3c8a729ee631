"""A report on the latent space of a run: its data, its goals and its prior, brought together."""

from pathlib import Path

from jaxt2i import config as config_lib
from jaxt2i import data, pipeline
from jaxt2i.analysis import latent_goals, latent_report
from jaxt2i.analysis.latent_report import LatentReport
from jaxt2i.errors import UserError
from jaxt2i.experiment.parts import prior_task
from jaxt2i.pipeline import Pipeline


def analyze(workdir: Path, split: str) -> tuple[LatentReport, Pipeline]:
  """Measures the latent space of a tokenizer, or of a prior's tokenizer, on a split of its data.

  Args:
    workdir: of a run.
    split: of the run's own data.

  Returns:
    The report, and the pipeline that it is of.

  Raises:
    UserError: no run, a dual encoder, no such split, too few images, data that has changed since,
      several tokens a position.
    UsageError: the config has goals that there are not.
  """
  config = config_lib.load(workdir)
  goals = latent_goals.of_config(config)
  road = pipeline.load(workdir)
  with config_lib.whole(workdir):
    train = data.load("train", **config["data"])
    source = data.load(split, **config["data"])
    task = None if road.prior is None else prior_task(config["loss"], road.prior)
    if train.fingerprint != config["data_fingerprint"]:
      raise UserError(
        f"The data of {workdir} has changed since training (its fingerprint differs): restore it, "
        "or train again."
      )
  name = workdir.resolve().name
  return latent_report.make(road, train, source, split, goals, name=name, task=task), road
