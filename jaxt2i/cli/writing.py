"""Pictures that a command has drawn, as files."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from jaxt2i.errors import UserError

if TYPE_CHECKING:
  import numpy as np

  from jaxt2i.pipeline import Drawings


def require_folder(out: Path) -> None:
  """UserError if there is something by this name that is no folder: before anything is drawn."""
  if out.exists() and not out.is_dir():
    raise UserError(f"cannot write to {out} (it is no folder): choose another --out.")


def require_writable(folder: Path) -> None:
  """UserError if a run's folder cannot be written to, or made: before anything is measured."""
  spare_included(folder, "copy that model's folder (cp -r) and give the copy as --workdir")
  place = folder if folder.exists() else folder.parent
  if folder.exists() and not folder.is_dir():
    raise UserError(f"cannot write to {folder} (it is no folder): free the path.")
  if place.exists() and not os.access(place, os.W_OK | os.X_OK):
    raise UserError(f"cannot write to {folder} (no permission): copy the run to where you may.")


def spare_included(folder: Path, instead: str) -> None:
  """UserError if the folder is of the model that comes along, which all who use it share.

  Args:
    folder: to be written to.
    instead: what to do.
  """
  from jaxt2i.weights import INCLUDED  # not above: `--help` should not wait for JAX

  if folder.resolve().is_relative_to(INCLUDED.resolve()):
    raise UserError(f"{folder} would be in the model that comes along with jaxt2i: {instead}.")


def write(
  drawings: "Drawings",
  rows: "np.ndarray",
  attribution: str,
  out: Path,
  made_by: Mapping[str, str],
) -> list[Path]:
  """One PNG a picture, then the grid; each with the metadata that reproduces it.

  Args:
    drawings: what was drawn.
    rows: of the grid, uint8 [P, n, H, W, 3]; they may show more than what was drawn.
    attribution: of the data that was learnt from.
    out: the folder.
    made_by: further metadata.

  Raises:
    UserError: it cannot be written to.
  """
  from PIL import Image

  import jaxt2i
  from jaxt2i.pictures import labelled_grid, save_png

  common = {
    "seed": str(drawings.seed),
    "negative_prompt": drawings.negative_prompt,
    "options": json.dumps(dataclasses.asdict(drawings.options)),
    **made_by,
    "software": f"jaxt2i {jaxt2i.__version__}",
    "source": attribution,
  }
  paths = []
  try:
    of_prompts = zip(drawings.prompts, drawings.images, drawings.indices, strict=True)
    for number, (prompt, images, indices) in enumerate(of_prompts):
      for index, pixels in zip(indices, images, strict=True):
        path = out / f"{number:02d}-{_slug(prompt)}-{index:03d}.png"
        save_png(Image.fromarray(pixels), path, {"prompt": prompt, "index": str(index), **common})
        paths.append(path)
    labels = [prompt or "(no caption)" for prompt in drawings.prompts]
    paths.append(out / "grid.png")
    save_png(
      labelled_grid(rows, labels),
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
