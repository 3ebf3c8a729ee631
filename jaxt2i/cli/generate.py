"""`jaxt2i generate`: pictures for prompts, with what made them in their metadata."""

import argparse
from pathlib import Path

from jaxt2i.cli import drawing, writing
from jaxt2i.errors import UsageError

MAX_IMAGES = 1024  # of one call: more would fill memory, and nobody looks at them in one grid


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `jaxt2i generate`."""
  drawing.add_workdir(parser)
  parser.add_argument("--prompt", action="append", required=True, help="may be given several times")
  parser.add_argument("--n", type=int, default=4, help="pictures a prompt (default: 4)")
  drawing.add_rerank(parser)
  drawing.add_common_arguments(parser)
  parser.add_argument("--out", default="pictures", help="folder to write to (default: pictures)")


def run(args: argparse.Namespace) -> int:
  """Draws, writes one PNG a picture and a labelled grid, says where."""
  count = args.n * len(args.prompt)
  candidates = drawing.candidates(args)
  if args.n < 1 or candidates < 1 or count * candidates > MAX_IMAGES:
    of_each = f" with --candidates {candidates}" if args.rerank else ""
    raise UsageError(
      f"--n is {args.n} for {len(args.prompt)} prompt(s){of_each}: must be 1 or more, and at most "
      f"{MAX_IMAGES} pictures a call."
    )
  chosen = drawing.arguments(args)  # refuses what has no meaning before anything is loaded
  writing.require_folder(Path(args.out))

  import jaxt2i
  from jaxt2i.matcher import load as load_matcher

  pipeline = jaxt2i.load(args.workdir)
  matcher = load_matcher(args.rerank) if args.rerank else None
  for prompt in args.prompt:
    drawing.note(prompt, pipeline.text_processor)
  made_by = drawing.model(args)
  drawings = pipeline(args.prompt, n=args.n * candidates, **chosen)
  if matcher is not None:
    drawings = matcher.best(drawings, args.n)
    made_by |= {"rerank": args.rerank, "candidates": str(candidates)}
  paths = writing.write(drawings, drawings.images, pipeline.attribution, Path(args.out), made_by)
  print(f"{count} picture{'s' * (count > 1)} in {args.out}; all together: {paths[-1]}")
  return 0
