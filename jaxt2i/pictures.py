"""Pictures for people: labelled grids, and PNGs that carry what made them."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from jaxt2i.errors import UserError

MARGIN = 6  # pixels around every cell
LABEL_SIZE = 13  # of the font, in pixels
PAGE_WIDTH = 1150  # pixels that a grid fills with cells
MIN_SIDE = 96  # smaller images are enlarged to at least this, by whole factors


def labelled_grid(rows: UInt8[np.ndarray, "P n H W 3"], labels: Sequence[str]) -> Image.Image:
  """One cell a label: its n images side by side, the label below; as many cells a row as fit.

  Args:
    rows: n images for each of P labels.
    labels: P captions; cut into lines of the cell's width.
  """
  count, n, height, width, _ = rows.shape
  scale = max(1, -(-MIN_SIDE // height))
  font = _font()
  cell_width = n * (scale * width + MARGIN) + MARGIN
  texts = [_wrapped(label, font, cell_width - 2 * MARGIN) for label in labels]
  line = LABEL_SIZE + 4
  cell_height = scale * height + 2 * MARGIN + line * max(len(text) for text in texts) + MARGIN
  columns = min(max(1, PAGE_WIDTH // cell_width), count)
  grid = Image.new("RGB", (columns * cell_width, -(-count // columns) * cell_height), "white")
  pen = ImageDraw.Draw(grid)
  for index, (images, text) in enumerate(zip(rows, texts, strict=True)):
    left, top = index % columns * cell_width, index // columns * cell_height
    for i, pixels in enumerate(images):
      image = Image.fromarray(pixels).resize((scale * width, scale * height), Image.Resampling.BOX)
      corner = (left + MARGIN + i * (scale * width + MARGIN), top + MARGIN)
      grid.paste(image, corner)
      x, y = corner
      pen.rectangle((x - 1, y - 1, x + image.width, y + image.height), outline="#dddddd")
    for number, words in enumerate(text):
      y = top + scale * height + 2 * MARGIN + number * line
      pen.text((left + cell_width / 2, y), words, fill="#333333", font=font, anchor="ma")
  return grid


def _font() -> ImageFont.FreeTypeFont:
  """DejaVu Sans as Matplotlib ships it: Pillow's own font has no letters with accents."""
  package = importlib.util.find_spec("matplotlib")  # found, not imported: that takes a second
  folders = (package.submodule_search_locations if package else None) or [""]
  path = Path(folders[0]) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
  return ImageFont.truetype(path, LABEL_SIZE)


def save_png(image: Image.Image, path: Path, metadata: Mapping[str, str]) -> None:
  """Writes a PNG with text chunks, e.g. prompt, seed, attribution."""
  info = PngInfo()
  for key, value in metadata.items():
    if value:
      info.add_itxt(key, value.encode("utf-8", "replace").decode())
  path.parent.mkdir(parents=True, exist_ok=True)
  image.save(path, pnginfo=info)


def save_step(image: Image.Image, directory: Path, step: int, metadata: Mapping[str, str]) -> None:
  """Writes what a training shows at a step, `<directory>/<step>.png`; UserError if it cannot."""
  path = directory / f"{step:07d}.png"
  try:
    save_png(image, path, metadata)
  except OSError as error:
    raise UserError(
      f"{path} cannot be written ({error.strerror or error}), expected a folder of yours with "
      "space; mend that, then start the same command again"
    ) from error


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
  """Lines no wider than `width` pixels, at most three; a longer text ends in an ellipsis."""
  lines = [""]
  for word in (_clipped(word, font, width) for word in text.split()):
    candidate = f"{lines[-1]} {word}".strip()
    if font.getlength(candidate) <= width or not lines[-1]:
      lines[-1] = candidate
    else:
      lines.append(word)
  if len(lines) > 3:
    lines = [*lines[:2], _clipped(lines[2] + " …", font, width)]
  return lines


def _clipped(word: str, font: ImageFont.FreeTypeFont, width: int) -> str:
  """The word, cut short where it is wider than `width` pixels."""
  while font.getlength(word) > width:
    word = word[:-2] + "…"
  return word
