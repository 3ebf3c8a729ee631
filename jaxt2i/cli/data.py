"""`jaxt2i data prepare|split|check|explore`: somebody's images and captions, made ready."""

import argparse
import contextlib
import dataclasses
import functools
import json
import os
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxt2i.errors import UsageError, UserError

if TYPE_CHECKING:
  from jaxt2i.data.preparing import Options, Runner

_ACTIONS = {
  "prepare": "reads images and captions of many formats, writes them ready for training",
  "split": "divides prepared data into training, validation and test by a protocol",
  "check": "looks for whatever would make training unsound; exit code 1 if it finds some",
  "explore": "writes one page about the data, and its figures",
}

# What the options of formats mean; which formats have them is added.
_OPTIONS = {
  "captions": "caption file, relative to SRC, where there are several",
  "template": "caption of a class: 'a photo of a {}'",
  "class_names": "file with a line folder<TAB>name for each class, relative to SRC",
  "caption_column": "column or key of the captions",
  "image_column": "column of the images",
  "builder": "name of the data set: coco_captions, name/config, name:1.0.0",
  "caption_feature": "feature of the captions",
  "image_feature": "feature of the images",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `jaxt2i data`, of each of its actions."""
  actions = parser.add_subparsers(dest="action", required=True, metavar="|".join(_ACTIONS))
  parsers = {
    name: actions.add_parser(
      name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
    )
    for name, text in _ACTIONS.items()
  }
  _add_source(parsers["prepare"], required=True)
  prepare = parsers["prepare"]
  prepare.add_argument("--out", required=True, help="folder to write to")
  prepare.add_argument("--sizes", default="256,64", help="image sides in pixels (default: 256,64)")
  prepare.add_argument(
    "--fit",
    default="letterbox",
    help="how a photo becomes a square: letterbox, crop, stretch (default: letterbox)",
  )
  for name in ("prepare", "check"):
    parsers[name].add_argument(
      "--max_bad", type=float, default=0.01, help="share of unreadable images to allow (0.01)"
    )
  prepare.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="(default: cores)")
  prepare.add_argument(
    "--beam", metavar="OPTIONS", help="run as a Beam pipeline: --beam='--runner=DirectRunner'"
  )
  for name in ("split", "explore"):
    parsers[name].add_argument("--data", required=True, help="folder of prepared data")
  parsers["split"].add_argument("--protocol", required=True, help="image, caption or kfold:k/n")
  parsers["check"].add_argument("--data", help="folder of prepared data; or --format and --src")
  _add_source(parsers["check"], required=False)
  parsers["check"].add_argument("--json", help="file for the report (default: DATA/check.json)")
  parsers["explore"].add_argument("--out", help="folder to write to (default: DATA/explore)")
  parsers["explore"].add_argument("--protocol", default="", help="of splits (default: the first)")


def _add_source(parser: argparse.ArgumentParser, *, required: bool) -> None:
  from jaxt2i.data.formats import FORMATS

  parser.add_argument("--format", required=required, help=", ".join(FORMATS))
  parser.add_argument("--src", required=required, help="folder with the images and captions")
  for option, names in _format_options().items():
    parser.add_argument(f"--{option}", help=f"{_OPTIONS[option]} ({', '.join(names)})")


def _format_options() -> dict[str, list[str]]:
  """Option → the formats that have it."""
  from jaxt2i.data.formats import FORMATS

  takers: dict[str, list[str]] = {}
  for name, cls in FORMATS.items():
    for field in dataclasses.fields(cls):
      if field.name != "src":
        takers.setdefault(field.name, []).append(name)
  return takers


def run(args: argparse.Namespace) -> int:
  """Runs the action."""
  actions = {"prepare": _prepare, "split": _split, "check": _check, "explore": _explore}
  return actions[args.action](args)


def _given_options(args: argparse.Namespace) -> dict[str, str]:
  """Options of the format that were given on the command line."""
  given = {name: getattr(args, name) for name in _format_options()}
  return {name: value for name, value in given.items() if value is not None}


def _prepare(args: argparse.Namespace) -> int:
  from jaxt2i.data import beam, preparing, processes

  out = Path(args.out)
  try:
    sizes = tuple(int(size) for size in args.sizes.split(","))
  except ValueError as error:
    raise UsageError(f"--sizes is {args.sizes!r}: must be numbers such as 256,64.") from error
  options = preparing.Options(sizes, args.fit, args.max_bad)
  if args.workers < 1:
    raise UsageError(f"--workers is {args.workers}: must be 1 or more.")
  run: Runner = functools.partial(processes.run, workers=args.workers)
  if args.beam is not None:
    run = functools.partial(beam.run, arguments=shlex.split(args.beam))
  _prepare_into(out, args, options, run)
  return _report(out, out / "check.json", args.max_bad)


def _prepare_into(out: Path, args: argparse.Namespace, options: "Options", run: "Runner") -> None:
  """Prepares and splits, one process at a time."""
  from jaxt2i.data import formats, preparing, split_files, splits

  given = _given_options(args)
  try:
    source = formats.make(args.format, src=args.src, **given)
  except UserError as error:
    raise UsageError(str(error)) from error
  listing = source.listing()
  info = {
    "name": args.format,
    "options": {"src": os.path.abspath(args.src), **given},
    "terms": listing.terms or source.terms,
  }
  try:
    out.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise _unwritable(out, error) from error
  with _locked(out):
    preparing.prepare(listing, out, options, info=info, run=run)
    for protocol in split_files.protocols(out) or ["image"]:
      if not split_files.is_current(out, protocol):
        splits.make(out, protocol)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
  """Keeps other processes from changing the data. UserError if one does, or on a bad folder."""
  from jaxt2i.lock import WorkdirLock

  lock = WorkdirLock(directory)
  try:
    lock.acquire()
  except OSError as error:
    raise _unwritable(directory, error) from error
  try:
    yield
  finally:
    lock.release()


def _unwritable(directory: Path, error: OSError) -> UserError:
  return UserError(
    f"cannot write to {directory} ({error.strerror or error}): choose another folder"
  )


def _tell_split(stored: Mapping[str, Any]) -> None:
  parts = [
    f"{name} {entry['images']:,} ({entry['captions']:,} captions)"
    for name, entry in stored["splits"].items()
  ]
  print(f"split by {stored['protocol']}: {', '.join(parts)}")
  for why, count in stored["left_out"].items():
    print(f"in no split: {count:,} images, {why}")
  if stored["note"]:
    print(stored["note"])


def _split(args: argparse.Namespace) -> int:
  from jaxt2i.data import prepared, splits

  prepared.read_manifest(Path(args.data))  # says what is wrong before a lock is put there
  with _locked(Path(args.data)):
    stored = splits.make(Path(args.data), args.protocol)
  _tell_split(stored)
  return 0


def _check(args: argparse.Namespace) -> int:
  from jaxt2i.data import preparing, processes

  source = (args.format, args.src, *_given_options(args).values())
  if any(source) if args.data else not (args.format and args.src):
    raise UsageError("give either --data, or --format and --src.")
  if args.data:
    target = Path(args.json or Path(args.data, "check.json"))
    return _report(Path(args.data), target, args.max_bad)
  # The same reading and looking as preparing, so nothing can pass here and fail there.
  with tempfile.TemporaryDirectory(prefix="jaxt2i-check-") as folder:
    out = Path(folder, "data")
    run = functools.partial(processes.run, workers=os.cpu_count() or 1)
    _prepare_into(out, args, preparing.Options((64,), max_bad=1.0), run)
    return _report(out, Path(args.json) if args.json else None, args.max_bad)


def _report(directory: Path, target: Path | None, max_bad: float) -> int:
  """Prints the report on prepared data and writes it to `target`; the exit code."""
  from jaxt2i.data.check import check

  report = check(directory, max_bad=max_bad)
  for line in report.lines():
    print(line)
  if target:
    text = json.dumps(report.json(), indent=2, ensure_ascii=False) + "\n"
    try:
      target.write_text(text, encoding="utf-8")
    except OSError as error:
      raise UserError(f"cannot write {target} ({error.strerror}): free the path.") from error
    print(f"report: {target}")
  return 0 if report.sound else 1


def _explore(args: argparse.Namespace) -> int:
  from jaxt2i.analysis import data_page

  directory = Path(args.data)
  out = Path(args.out) if args.out else directory / "explore"
  print(f"page: {data_page.write(directory, out, protocol=args.protocol)}")
  return 0
