"""`jaxt2i evaluate`: measures a trained run on a split of its data."""

import argparse
import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from jaxt2i.cli import drawing, writing
from jaxt2i.errors import UsageError

if TYPE_CHECKING:
  from jaxt2i.evaluation_report import Report
  from jaxt2i.evaluation_request import Request
  from jaxt2i.sampling import SamplingOptions

MOST_CANDIDATES = 256
EFFICIENCY = "efficiency"
_ASKED_BY = {"judge": "retrieval", "inception": "inception", "clip": "clip"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `jaxt2i evaluate`."""
  parser.add_argument("--workdir", required=True, help="folder of a trained run")
  parser.add_argument("--split", default="val", help="split of its data (default: val)")
  parser.add_argument(
    "--metrics",
    default="",
    help="some of reconstruction, likelihood, recall, attributes, copies, generation, retrieval, "
    "inception, clip, separated by commas (default: all that fit the run), or efficiency",
  )
  add_request_arguments(parser)
  drawing.add_arguments(parser)


def add_request_arguments(parser: argparse.ArgumentParser) -> None:
  """Who judges, and which pictures."""
  parser.add_argument(
    "--n", type=int, default=100, help="pictures drawn, where pictures are drawn (default: 100)"
  )
  parser.add_argument(
    "--judge", help="folder of a trained dual encoder, which ranks captions for the pictures drawn"
  )
  parser.add_argument("--inception", help="FID: your file pt_inception-2015-12-05-6726825d.pth")
  parser.add_argument("--clip", help="CMMD and CLIP score: your folder of a CLIP, as downloaded")
  parser.add_argument(
    "--inception_sha256", help="what its hash must begin with (default: that of this very file)"
  )
  parser.add_argument(
    "--clip_sha256", default="", help="what the hash of its model.safetensors must begin with"
  )
  drawing.add_rerank(parser)
  drawing.add_seed(parser)


def request(
  args: argparse.Namespace, options: "SamplingOptions", split: str, metrics: tuple[str, ...] = ()
) -> "Request":
  """What parsed arguments ask for; UsageError for what has no meaning."""
  if not 2 <= args.n <= 10_000:
    raise UsageError(f"--n is {args.n}: must be from 2 to 10000.")
  candidates = drawing.candidates(args)
  if not 1 <= candidates <= MOST_CANDIDATES:
    raise UsageError(f"--candidates is {candidates}: must be from 1 to {MOST_CANDIDATES}.")
  for option, metric in _ASKED_BY.items():
    if getattr(args, option) is not None and metrics and metric not in metrics:
      raise UsageError(f"--{option} is given, and --metrics has no {metric}: nothing would ask it.")
  for option in ("inception", "clip"):
    if getattr(args, f"{option}_sha256") and getattr(args, option) is None:
      raise UsageError(f"--{option}_sha256 is given without --{option}: there is no such file.")
  seed = drawing.seed(args)
  from jaxt2i.evaluation_request import Request  # not above: `--help` should not wait for JAX
  from jaxt2i.inception import SHA256_PREFIX

  path = lambda given: None if given is None else Path(given)
  weights = lambda given, sha256: None if given is None else (Path(given), sha256)
  known = SHA256_PREFIX if args.inception_sha256 is None else args.inception_sha256
  return Request(
    split=split,
    n=args.n,
    options=options,
    seed=seed,
    metrics=metrics,
    judge=path(args.judge),
    rerank=path(args.rerank),
    candidates=candidates,
    inception=weights(args.inception, known),
    clip=weights(args.clip, args.clip_sha256),
  )


def names(given: str) -> tuple[str, ...]:
  """Of "copies, generation" both."""
  return tuple(filter(None, (name.strip() for name in given.split(","))))


def run(args: argparse.Namespace) -> int:
  """Prints a table, writes `<workdir>/eval/<split>.json`, `.csv`, `.tex` and sheets of pictures."""
  options, metrics = drawing.options(args), names(args.metrics)
  if EFFICIENCY in metrics:
    return _efficiency(args, options, metrics)
  asked = request(args, options, args.split, metrics)
  from jaxt2i import evaluation_report
  from jaxt2i.evaluation import evaluate

  workdir = Path(args.workdir)
  _refuse_unused(args, *_unused(workdir, asked))
  writing.require_writable(workdir / "eval")
  report = evaluate(workdir, asked)
  show(report)
  others = evaluation_report.other_ways(workdir / "eval", args.split, report)
  if others and args.split != "val":
    print(
      f"note: pictures for {args.split} were drawn in {others} other way{'s' * (others > 1)} "
      "before; numbers of the best of several are too good: choose on val (`jaxt2i sweep`)."
    )
  path = evaluation_report.write(report, workdir / "eval", args.split)
  print(f"written to {path}, .csv and .tex")
  return 0


def _efficiency(
  args: argparse.Namespace, options: "SamplingOptions", metrics: tuple[str, ...]
) -> int:
  if len(metrics) > 1:
    raise UsageError(f"--metrics is {args.metrics!r}: efficiency is measured alone, on no split.")
  from jaxt2i import config as config_lib
  from jaxt2i import efficiency, evaluation_report

  drawn_with = {field.name for field in dataclasses.fields(options)}
  no_use = set(vars(_defaults(args))) - {"workdir", "metrics"} - drawn_with
  _refuse_unused(args, no_use, "efficiency is of the network, whatever it draws")
  task = config_lib.load(Path(args.workdir))["task"]
  if task != "prior":
    _refuse_unused(args, drawn_with, f"{args.workdir} is a {task}, which draws nothing")
  writing.require_writable(Path(args.workdir) / "eval")
  report = efficiency.measure(Path(args.workdir), options)
  show(report)
  path = evaluation_report.write(report, Path(args.workdir) / "eval", EFFICIENCY)
  print(f"written to {path}, .csv and .tex")
  return 0


def _unused(workdir: Path, asked: "Request") -> tuple[set[str], str]:
  """Options that would change nothing of what is measured, and why; UserError for wrong metrics."""
  from jaxt2i import config as config_lib
  from jaxt2i.evaluators import scores
  from jaxt2i.sampling import SamplingOptions

  drawn_with = {"n", "seed", *(field.name for field in dataclasses.fields(SamplingOptions))}
  task = config_lib.load(workdir)["task"]
  metrics = asked.names(task, workdir)
  if task != "prior":
    return drawn_with, f"{workdir} is a {task}, which draws nothing"
  if set(metrics) & set(scores.NAMES):
    return set(), ""
  if "recall" in metrics:
    return {"rerank", "candidates"}, "of the metrics recall alone draws, one picture a caption"
  return drawn_with | {"rerank", "candidates"}, f"nothing is drawn for {', '.join(metrics)}"


def _refuse_unused(args: argparse.Namespace, options: Collection[str], why: str) -> None:
  """UsageError if one of the options has another value than its default."""
  for name, default in vars(_defaults(args)).items():
    if name in options and getattr(args, name) != default:
      raise UsageError(f"--{name} is given, and would change nothing: {why}; leave it out.")


def _defaults(args: argparse.Namespace) -> argparse.Namespace:
  parser = argparse.ArgumentParser()
  add_arguments(parser)
  return parser.parse_args([f"--workdir={args.workdir}"])


def show(report: "Report") -> None:
  """Prints what was measured; intervals beside their values, tables not at all."""
  from jaxt2i.evaluation_report import rows

  facts = {**report.base, **report.settings}
  width = max(map(len, (*facts, *report.values)))
  for name, value in facts.items():
    print(f"{name:<{width}}  {_shown(value)}")
  for kind, part in report.parts.items():
    print(f"\n{kind}")
    for name, value in part.protocol.items():
      print(f"  ({name}: {value})")
    if part.settings:
      print("  (" + ", ".join(f"{name} {value}" for name, value in part.settings.items()) + ")")
    for name, value, interval in rows(part.values):
      bounds = "" if interval is None else f"  ({interval[0]:.4g} to {interval[1]:.4g})"
      print(f"{name:<{width}}  {_shown(value)}{bounds}")


def _shown(value: object) -> str:
  return f"{value:.4g}" if isinstance(value, float) else str(value)
