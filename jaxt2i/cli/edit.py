"""`jaxt2i edit`: a picture of yours with a part of it drawn anew."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxt2i.cli import drawing, writing
from jaxt2i.errors import UsageError, UserError

if TYPE_CHECKING:
  from PIL import Image

MAX_IMAGES = 256  # of one call


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `jaxt2i edit`."""
  drawing.add_workdir(parser)
  parser.add_argument("--image", required=True, help="the picture")
  parser.add_argument("--prompt", required=True, help="what it is to show")
  parser.add_argument("--mask", help="a picture as large: what is white in it is drawn anew")
  parser.add_argument(
    "--move", help="down,right in pixels of the model, as in 0,16: what comes into view is drawn"
  )
  parser.add_argument("--strength", type=float, help="share of the tokens that is drawn anew")
  parser.add_argument("--n", type=int, default=4, help="pictures (default: 4)")
  drawing.add_common_arguments(parser)
  parser.add_argument("--out", default="pictures", help="folder to write to (default: pictures)")


def run(args: argparse.Namespace) -> int:
  """Draws, writes one PNG a picture and a grid that begins with the old one, says where."""
  edits = {name: getattr(args, name) for name in ("mask", "move", "strength")}
  given = {name: value for name, value in edits.items() if value is not None}
  if len(given) != 1:
    raise UsageError(
      f"{' and '.join(f'--{name}' for name in given) or 'nothing'} given: must be one of --mask, "
      "--move, --strength."
    )
  if not 1 <= args.n <= MAX_IMAGES:
    raise UsageError(f"--n is {args.n}: must be from 1 to {MAX_IMAGES}.")
  chosen = drawing.arguments(args) | {"n": args.n}
  writing.require_folder(Path(args.out))
  moved = _numbers(args.move) if args.move is not None else (0, 0)
  photo = _read(args.image)
  mask = _read(args.mask) if args.mask is not None else None
  if mask is not None and mask.size != photo.size:
    raise UsageError(
      f"--mask has {mask.width} x {mask.height} pixels: must have {photo.width} x {photo.height}, "
      "as --image."
    )

  import numpy as np

  import jaxt2i
  from jaxt2i import editing
  from jaxt2i.data.images import squares

  pipeline = jaxt2i.load(args.workdir)
  if pipeline.prior is None:
    raise UserError(f"{args.workdir} is a tokenizer without a prior: take the workdir of a prior.")
  drawing.note(args.prompt, pipeline.text_processor)
  size = pipeline.prior.grid[0] * pipeline.tokenizer.encoder.downsample
  square = lambda image: squares(image, [size], "letterbox")[size]
  images, prompts = square(photo)[None], [args.prompt]
  if mask is not None:
    masks = (square(mask).mean(axis=2) >= 128)[None]
    drawn = editing.inpaint(pipeline, images, masks, prompts, **chosen)
  elif args.move is not None:
    down, right = moved
    drawn = editing.outpaint(pipeline, images, prompts, down=down, right=right, **chosen)
  else:
    drawn = editing.vary(pipeline, images, prompts, strength=args.strength, **chosen)
  made_by = drawing.model(args) | {"image": args.image, "edit": json.dumps(given)}
  rows = np.concatenate([images[:, None], drawn.images], axis=1)
  paths = writing.write(drawn, rows, pipeline.attribution, Path(args.out), made_by)
  print(f"{args.n} picture{'s' * (args.n > 1)} in {args.out}; beside the old one: {paths[-1]}")
  return 0


def _numbers(text: str) -> tuple[int, int]:
  try:
    down, right = (int(part) for part in text.split(","))
  except ValueError as error:
    raise UsageError(f"--move is {text!r}: must be down,right in pixels, as in 0,16.") from error
  return down, right


def _read(path: str) -> "Image.Image":
  from jaxt2i.data.images import BadImageError, decode

  try:
    image: Any = decode(Path(path).read_bytes())
  except OSError as error:
    raise UserError(f"cannot read {path}: {error.strerror}.") from error
  except BadImageError as error:
    raise UserError(f"{path} is no picture that can be read: {error}.") from error
  return image
