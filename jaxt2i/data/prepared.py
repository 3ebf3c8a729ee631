"""Prepared data: images of fixed sizes with their captions, read by random access.

manifest.json              counts, hashes, sizes, terms; written last: data with it is complete
64/00000.array_record …    records at one image size, see `shards`
facts/00000.json …         what is known of each image besides its pixels
splits/<protocol>/         which images and captions belong to which split, see `split_files`
"""

import bisect
import itertools
import json
import operator
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from array_record.python import array_record_module

from jaxt2i.data import shards, split_files
from jaxt2i.data.records import Record
from jaxt2i.data.shards import Facts, Shard
from jaxt2i.errors import UserError

MANIFEST = "manifest.json"
COMPOSITIONAL = "compositional"  # the protocol of generated sets: combinations are held out
_FORMAT = 2  # raised when an older reader could not read the data
_STALE_SECONDS = 24 * 3600  # a temporary folder older than this was left by a killed process
_SHARD_RECORDS = 4096  # of generated sets


def write(
  directory: Path,
  splits: Mapping[str, Iterable[Record]],
  *,
  attribution: str,
  info: Mapping[str, Any],
) -> None:
  """Writes generated splits into `directory`, which appears complete or not at all.

  Args:
    directory: the folder to make; if another process makes it meanwhile, theirs is kept.
    splits: records by split name, all images of one size.
    attribution: shown with pictures made from the data; "" if none.
    info: JSON-able facts for the manifest (name, options, licence, version).

  Raises:
    UserError: the folder cannot be written.
  """
  temporary = directory.with_name(f"{directory.name}.tmp-{os.getpid()}-{time.time_ns()}")
  try:
    temporary.mkdir(parents=True)
    _remove_stale(directory)
    written: list[Shard] = []
    rows = {}
    for name, records in splits.items():
      start = sum(len(shard.images) for shard in written)
      for first, chunk in _chunks(records, _SHARD_RECORDS):
        size = first.image.shape[0]
        items = (({size: record}, shards.facts_of_generated(record, name)) for record in chunk)
        written.append(shards.write_shard(temporary, len(written), [size], items))
      rows[name] = np.arange(start, sum(len(shard.images) for shard in written), dtype=np.int64)
    write_manifest(temporary, written, attribution=attribution, info=info, left_out={})
    split_files.save(temporary, COMPOSITIONAL, rows, captions=num_captions(written))
    try:
      temporary.rename(directory)
    except OSError:
      if not is_complete(directory):
        raise
  except OSError as error:
    raise UserError(
      f"cannot write prepared data to {directory}: {error.strerror or error}; "
      "set JAXT2I_CACHE to a folder that can be written and has room"
    ) from error
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def _chunks(records: Iterable[Record], size: int) -> Iterator[tuple[Record, Iterator[Record]]]:
  """The first of every so many records, and all of those; each is to be read before the next."""
  iterator = iter(records)
  for first in iterator:
    yield first, itertools.chain([first], itertools.islice(iterator, size - 1))


def _remove_stale(directory: Path) -> None:
  """Removes what prepares of the same folder left behind when they were killed long ago."""
  for path in directory.parent.glob(f"{directory.name}.tmp-*"):
    if time.time() - path.stat().st_mtime > _STALE_SECONDS:
      shutil.rmtree(path, ignore_errors=True)


def num_captions(written: Iterable[Shard]) -> np.ndarray:
  """Number of captions of every image, int64 [n]."""
  counts = [facts.num_captions for shard in written for facts in shard.images]
  return np.asarray(counts, np.int64)


def write_manifest(
  directory: Path,
  written: Sequence[Shard],
  *,
  attribution: str,
  info: Mapping[str, Any],
  left_out: Mapping[str, Any],
) -> None:
  """Completes the data. `left_out`: JSON-able, what of the source is not in it and why."""
  sizes = sorted({int(name.split("/")[0]) for shard in written for name in shard.files})
  manifest = {
    "format": _FORMAT,
    "attribution": attribution,
    "info": dict(info),
    "image_sizes": sizes,
    "images": sum(len(shard.images) for shard in written),
    "captions": int(num_captions(written).sum()),
    "left_out": dict(left_out),
    "shards": [{"images": len(shard.images), "files": dict(shard.files)} for shard in written],
  }
  write_json(directory / MANIFEST, manifest)


def write_json(path: Path, value: Any) -> None:
  """Writes a file that appears complete or not at all."""
  partial = path.with_name(path.name + ".partial")
  partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
  partial.replace(path)


def read_manifest(directory: Path) -> dict[str, Any]:
  """The manifest of a prepared folder; UserError if it is missing or damaged."""
  path = directory / MANIFEST
  try:
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if manifest["format"] != _FORMAT:
      raise ValueError(f"format {manifest['format']}, not {_FORMAT}")
    return manifest
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise UserError(
      f"no usable prepared data in {directory} ({error}); prepare it (`jaxt2i data prepare`), "
      "if need be after deleting the folder"
    ) from error


def is_complete(directory: Path) -> bool:
  """Whether the manifest is readable and every file has the size written there."""
  try:
    manifest = read_manifest(directory)
    return all(
      (directory / name).stat().st_size == file["bytes"]
      for shard in manifest["shards"]
      for name, file in shard["files"].items()
    )
  except (OSError, UserError):
    return False


def read_facts(directory: Path) -> list[Facts]:
  """Facts about every image, by row. UserError if some are missing or damaged."""
  facts: list[Facts] = []
  for number, entry in enumerate(read_manifest(directory)["shards"]):
    shard = shards.read_shard(directory, number)
    if shard is None or len(shard.images) != entry["images"]:
      raise UserError(f"shard {number} of {directory} is damaged; delete the folder, prepare anew")
    facts += shard.images
  return facts


class Rows:
  """Every record of a prepared folder at one image size; picklable, safe to share among threads."""

  def __init__(self, directory: Path, image_size: int):
    """Opens the data; UserError if it is damaged or not prepared at that size."""
    manifest = read_manifest(directory)
    if image_size not in manifest["image_sizes"]:
      sizes = ", ".join(map(str, manifest["image_sizes"])) or "no size: it has no images"
      raise UserError(f"{directory} is not prepared at image_size {image_size}; it has {sizes}")
    self.manifest = manifest
    self._directory = directory
    self._files = [shards.record_file(image_size, i) for i in range(len(manifest["shards"]))]
    self._ends = list(itertools.accumulate(shard["images"] for shard in manifest["shards"]))
    self._readers: dict[int, Any] = {}

  def __len__(self) -> int:
    return self._ends[-1] if self._ends else 0

  def __getitem__(self, index: SupportsIndex) -> Record:
    """Record `index` in [0, len); IndexError outside; UserError if its bytes are damaged."""
    index = operator.index(index)
    if not 0 <= index < len(self):
      raise IndexError(f"record {index} of {len(self)}")
    number = bisect.bisect_right(self._ends, index)
    path = self._directory / self._files[number]
    try:
      if number not in self._readers:
        # Random access gains nothing from reading ahead.
        self._readers[number] = array_record_module.ArrayRecordReader(
          str(path), "readahead_buffer_size:0"
        )
      start = self._ends[number - 1] if number else 0
      return shards.decode_record(self._readers[number].read([index - start])[0])
    except (RuntimeError, ValueError, OSError) as error:
      raise UserError(
        f"record {index - start} of {path} is damaged; delete {self._directory} and prepare anew"
      ) from error

  def __iter__(self) -> Iterator[Record]:
    return (self[index] for index in range(len(self)))

  def content(self) -> list[str]:
    """Sha256 of each file, in the order of the records."""
    files = [shard["files"] for shard in self.manifest["shards"]]
    return [own[name]["sha256"] for own, name in zip(files, self._files, strict=True)]

  def __getstate__(self) -> dict[str, Any]:
    return {**self.__dict__, "_readers": {}}  # a reader cannot travel to another process


class PreparedSource:
  """One split of a prepared folder as a `Source`; picklable, safe to share among threads."""

  def __init__(
    self, directory: Path, split: str, *, image_size: int, protocol: str = COMPOSITIONAL
  ):
    """Opens a split; UserError if it does not exist (names the legal ones) or is damaged."""
    self._rows = Rows(directory, image_size)
    self._selection = split_files.load(directory, protocol, split)
    self.fingerprint: str = self._selection.fingerprint(self._rows.content())
    self.attribution: str = self._rows.manifest["attribution"]
    self.protocol = protocol
    self.note: str = self._selection.note

  def __len__(self) -> int:
    return len(self._selection)

  def __getitem__(self, index: SupportsIndex) -> Record:
    """Record `index` in [0, len); IndexError outside; UserError if its bytes are damaged."""
    index = operator.index(index)
    if not 0 <= index < len(self):
      raise IndexError(f"record {index} of {len(self)}")
    return self._selection.of(index, self._rows)
