"""Photographs made up for tests, each unlike every other, and what is prepared from them."""

import dataclasses
import hashlib
import io
import os
import signal
from pathlib import Path

import numpy as np
from PIL import Image

from jaxt2i.data import preparing
from jaxt2i.data.files import FileBlob
from jaxt2i.data.listing import Entry, Listing


def photo(seed: int, width: int = 48, height: int = 36) -> Image.Image:
  """Smooth patches of random colours, so that any two differ much at every scale."""
  patches = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
  return Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
  """The bytes of an image file."""
  buffer = io.BytesIO()
  image.save(buffer, kind, **options)
  return buffer.getvalue()


def entry(path: Path, data: bytes, *captions: str, split: str = "") -> Entry:
  """Writes a file and describes it; its id is its name."""
  path.write_bytes(data)
  texts = captions or (f"a photo called {path.stem}", "a café", f"{path.stem} again")
  return Entry(path.name, FileBlob(str(path)), texts, {"name": path.stem}, split)


def entries(folder: Path, num: int, *, first: int = 0) -> list[Entry]:
  """JPEG and PNG files in turn, of different photos."""
  folder.mkdir(exist_ok=True)
  files = [(i, ("JPEG", "jpg") if i % 2 else ("PNG", "png")) for i in range(first, first + num)]
  return [
    entry(folder / f"{i:04d}.{suffix}", encoded(photo(i), kind)) for i, (kind, suffix) in files
  ]


def prepare_here(listing: Listing, out: Path, options: preparing.Options, **info: object) -> Path:
  """What `preparing.prepare` does, in this process."""
  tasks = preparing.begin(listing, out, options, info=info)
  made = [preparing.make_shard(task) for task in tasks]
  preparing.finish(listing, out, made, options, info=info)
  return out


def prepared_photos(
  folder: Path, given: list[Entry], size: int = 16, max_bad: float = 1.0, **left_out: object
) -> Path:
  """Prepares entries at one size into `folder / "out"`."""
  options = preparing.Options((size,), max_bad=max_bad)
  return prepare_here(Listing.of(given, **left_out), folder / "out", options)


def digests(folder: Path) -> dict[str, str]:
  """Sha256 of every file below a folder, by relative name."""
  paths = sorted(path for path in folder.rglob("*") if path.is_file())
  return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


@dataclasses.dataclass(frozen=True)
class Deadly:
  """A blob that kills whoever reads it."""

  def read(self, limit: int = 0) -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b""

  def identity(self) -> str:
    return "deadly"
