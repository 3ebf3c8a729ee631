"""`jaxt2i analyze latents`: one page on whether a latent space is what an experiment wants."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxt2i.errors import UserError

if TYPE_CHECKING:
  from jaxt2i.analysis.latent_goals import Verdict

_WHAT = "says in numbers and figures what a tokenizer's latent space is like, and writes one page"
_REACHED = {True: "reached", False: "not reached", None: "cannot be said"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `jaxt2i analyze`."""
  actions = parser.add_subparsers(dest="action", required=True, metavar="latents")
  latents = actions.add_parser(
    "latents", help=_WHAT, description=_WHAT[0].upper() + _WHAT[1:] + ".", allow_abbrev=False
  )
  latents.add_argument("--workdir", required=True, help="folder of a tokenizer or a prior")
  latents.add_argument("--split", default="val", help="split of its data (default: val)")
  latents.add_argument("--out", help="folder to write to (default: WORKDIR/analysis/latents)")


def run(args: argparse.Namespace) -> int:
  """Prints what was asked for and what was found, and where the page is."""
  from jaxt2i.analysis import latent_page

  workdir = Path(args.workdir)
  out = Path(args.out) if args.out else workdir / "analysis" / "latents"
  latent_page.require_folder(out)  # before minutes of work
  report, pipeline = _measured(workdir, args.split)
  page = latent_page.write(report, pipeline, out)
  for section in report.sections:
    print(f"{section.question}\n  {section.answer}")
  _tell(report.verdicts)
  print(f"page: {page}")
  return 0


def _measured(workdir: Path, split: str):
  from jaxt2i import config as config_lib
  from jaxt2i import data, pipeline
  from jaxt2i.analysis import latent_goals, latent_report
  from jaxt2i.experiment.parts import prior_task

  config = config_lib.load(workdir)
  goals = latent_goals.of_config(config)
  road = pipeline.load(workdir)
  with config_lib.whole(workdir):
    train = data.load("train", **config["data"])
    if train.fingerprint != config["data_fingerprint"]:
      raise UserError(
        f"The data of {workdir} has changed since training (its fingerprint differs): restore it, "
        "or train again."
      )
    task = None if road.prior is None else prior_task(config["loss"], road.prior)
  source = train if split == "train" else data.load(split, **config["data"])
  name = workdir.resolve().name
  report = latent_report.make(road, train, source, split, goals, name=name, task=task)
  return report, road


def _tell(verdicts: "Sequence[Verdict]") -> None:
  if not verdicts:
    print("No goals: this run's config has no latent_goals.")
    return
  from jaxt2i.analysis.measures import shown

  rows = [("property", "wanted", "measured", "")]
  for verdict in verdicts:
    measured = "–" if verdict.measured is None else shown(verdict.measured)
    rows.append((verdict.property, verdict.wanted, measured, _REACHED[verdict.reached]))
  widths = [max(len(row[i]) for row in rows) for i in range(3)]
  for row in rows:
    print("  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)))
