"""Small data sets to explore: generated ones, and photos that are prepared as anybody's are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from jaxt2i.data import formats, prepared, preparing, splits
from jaxt2i.data.records import Record

Captions = Mapping[str, Sequence[str]]


def generated(
  directory: Path,
  captions: Mapping[str, Captions],
  info: Mapping[str, Any] = MappingProxyType({"name": "shapes", "licence": "CC0"}),
) -> Path:
  """Prepared data of plain squares; `captions` by split and image."""
  generator = np.random.default_rng(0)

  def records(of: Captions):
    for name, texts in of.items():
      image = np.broadcast_to(generator.integers(0, 256, 3, dtype=np.uint8), (16, 16, 3))
      yield Record(name, image.copy(), tuple(texts), {})

  prepared.write(
    directory,
    {split: records(of) for split, of in captions.items()},
    attribution="Squares by nobody",
    info=info,
  )
  return directory


def save_photos(src: Path, photos: Mapping[str, tuple[int, int, Sequence[str]]]) -> Path:
  """Writes photos of noise with their caption file; `photos`: name → width, height, captions."""
  generator = np.random.default_rng(0)
  src.mkdir(parents=True)
  lines = []
  for name, (width, height, captions) in photos.items():
    pixels = generator.integers(1, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(src / name)
    lines += [f"{name}\t{caption}\n" for caption in captions]
  (src / "captions.txt").write_text("".join(lines), encoding="utf-8")
  return src


def prepare(src: Path, directory: Path, *, fit: str = "letterbox", protocol: str = "image") -> Path:
  """What `jaxt2i data prepare` does, in this process."""
  listing = formats.make("captions", src=str(src)).listing()
  options = preparing.Options((64, 32), fit)
  info = {"name": "captions", "options": {"src": str(src)}, "terms": "Ask first"}
  tasks = preparing.begin(listing, directory, options, info=info)
  done = [preparing.make_shard(task) for task in tasks]
  preparing.finish(listing, directory, done, options, info=info)
  splits.make(directory, protocol)
  return directory
