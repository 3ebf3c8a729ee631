"""`jaxt2i analyze latents`: one page on whether a latent space is what an experiment wants."""

import argparse
from pathlib import Path

from jaxt2i.cli import writing

_WHAT = "says in numbers and figures what a tokenizer's latent space is like, and writes one page"


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
  """Writes the page, prints every answer, the goals and where the page is."""
  from jaxt2i.analysis import latent_goals, latent_page
  from jaxt2i.latent_analysis import analyze

  workdir = Path(args.workdir)
  out = Path(args.out) if args.out else workdir / "analysis" / "latents"
  writing.spare_included(out, "choose another --out")
  latent_page.require_folder(out)  # before minutes of work
  report, road = analyze(workdir, args.split)
  page = latent_page.write(report, road, out)
  for section in report.sections:
    print(f"{section.question}\n  {section.answer}")
  print(latent_goals.table(report.verdicts))
  print(f"page: {page}")
  return 0
