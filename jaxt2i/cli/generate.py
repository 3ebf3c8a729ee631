"""`jaxt2i generate`: pictures for prompts, with what made them in their metadata."""

import argparse
import dataclasses
import json
from pathlib import Path

from jaxt2i.cli import drawing
from jaxt2i.errors import UsageError, UserError

MAX_IMAGES = 1024  # of one call: more would fill memory, and nobody looks at them in one grid


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `jaxt2i generate`."""
  parser.add_argument("--workdir", required=True, help="folder of a trained prior")
  parser.add_argument("--prompt", action="append", required=True, help="may be given several times")
  parser.add_argument("--n", type=int, default=4, help="pictures a prompt (default: 4)")
  parser.add_argument("--seed", type=int, default=0, help="same seed, same pictures (default: 0)")
  drawing.add_arguments(parser)
  parser.add_argument("--out", default="pictures", help="folder to write to (default: pictures)")


def run(args: argparse.Namespace) -> int:
  """Draws, writes one PNG a picture and a labelled grid, says where."""
  count = args.n * len(args.prompt)
  if args.n < 1 or count > MAX_IMAGES:
    raise UsageError(
      f"--n is {args.n} for {len(args.prompt)} prompt(s): must be 1 or more, and at most "
      f"{MAX_IMAGES} pictures a call."
    )
  if not 0 <= args.seed < 2**32:
    raise UsageError(f"--seed is {args.seed}: must be from 0 to {2**32 - 1}.")
  options = drawing.options(args)  # refuses what has no meaning before anything is loaded

  import jaxt2i

  pipeline = jaxt2i.load(args.workdir)
  for prompt in args.prompt:
    _note(prompt, pipeline.text_tokenizer)
  drawings = pipeline(args.prompt, n=args.n, seed=args.seed, **dataclasses.asdict(options))
  paths = _write(drawings, pipeline.attribution, Path(args.out), args.workdir)
  print(f"{count} pictures in {args.out}; all together: {paths[-1]}")
  return 0


def _note(prompt: str, text_tokenizer) -> None:
  """Says what of a prompt the model cannot use."""
  if text_tokenizer is None:
    return  # a tokenizer without a prior: drawing will refuse
  if not prompt.strip():
    print("note: an empty prompt draws without a caption (unconditional).")
    return
  tokens = text_tokenizer.num_tokens(prompt)
  if tokens > text_tokenizer.max_length:
    print(f"note: the prompt has {tokens} tokens; the first {text_tokenizer.max_length} are used.")
  words, unknown = text_tokenizer.words(prompt), text_tokenizer.unknown_words(prompt)
  if unknown:
    shown = ", ".join(unknown[:8])
    share = len(unknown) / len(words)
    print(f"note: {share:.0%} of the words never occurred in training captions: {shown}")


def _write(drawings, attribution: str, out: Path, workdir: str) -> list[Path]:
  """One PNG a picture, then the grid; each with the metadata that reproduces it."""
  import dataclasses

  from PIL import Image

  import jaxt2i
  from jaxt2i.pictures import labelled_grid, save_png

  common = {
    "seed": str(drawings.seed),
    "options": json.dumps(dataclasses.asdict(drawings.options)),
    "workdir": workdir,
    "software": f"jaxt2i {jaxt2i.__version__}",
    "source": attribution,
  }
  paths = []
  try:
    for number, (prompt, images) in enumerate(zip(drawings.prompts, drawings.images, strict=True)):
      for index, pixels in enumerate(images):
        path = out / f"{number:02d}-{_slug(prompt)}-{index:03d}.png"
        save_png(Image.fromarray(pixels), path, {"prompt": prompt, "index": str(index), **common})
        paths.append(path)
    labels = [prompt or "(no caption)" for prompt in drawings.prompts]
    paths.append(out / "grid.png")
    save_png(
      labelled_grid(drawings.images, labels),
      paths[-1],
      {"prompt": " | ".join(drawings.prompts), **common},
    )
  except OSError as error:
    raise UserError(f"cannot write to {out} ({error.strerror}): choose another --out.") from error
  return paths


def _slug(prompt: str) -> str:
  """The prompt as part of a file name."""
  kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in prompt.lower())
  return "-".join(filter(None, kept.split("-")))[:40] or "no-caption"
