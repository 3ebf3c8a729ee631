"""Prepared data: records written once as ArrayRecord files, then read by random access.

A folder holds one `<split>.array_record` per split and `manifest.json`. Images are kept as raw
bytes: at the sizes used here that reads several times faster than PNG.
"""

import hashlib
import json
import operator
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, SupportsIndex

import msgpack
import numpy as np
from array_record.python import array_record_module

from jaxt2i.data.records import Record
from jaxt2i.errors import UserError

_MANIFEST = "manifest.json"
_FORMAT = 1  # of the records; raised when an older reader could not read them
_STALE_SECONDS = 24 * 3600  # a temporary folder older than this was left by a killed process


def encode_record(record: Record) -> bytes:
  """Serialises a record; the inverse of `decode_record`. ValueError unless uint8 [H, W, 3]."""
  image = record.image
  if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
    raise ValueError(
      f"{record.image_id}: image is {image.dtype} {image.shape}, not uint8 [H, W, 3]"
    )
  if not record.captions:
    raise ValueError(f"{record.image_id}: a record needs one caption or more")
  return msgpack.packb(
    {
      "id": record.image_id,
      "shape": image.shape,
      "image": image.tobytes(),
      "captions": record.captions,
      "attributes": json.dumps(dict(record.attributes), ensure_ascii=False, sort_keys=True),
    }
  )


def decode_record(data: bytes) -> Record:
  """The record that `encode_record` serialised; its image is read-only."""
  fields = msgpack.unpackb(data)
  return Record(
    image_id=fields["id"],
    image=np.frombuffer(fields["image"], np.uint8).reshape(fields["shape"]),
    captions=tuple(fields["captions"]),
    attributes=json.loads(fields["attributes"]),
  )


def write(
  directory: Path,
  splits: Mapping[str, Iterable[Record]],
  *,
  attribution: str,
  info: Mapping[str, Any],
) -> None:
  """Writes the splits into `directory`, which appears complete or not at all.

  Args:
    directory: the folder to make; if another process makes it meanwhile, theirs is kept.
    splits: records by split name.
    attribution: shown with pictures made from the data; "" if none.
    info: JSON-able facts for the manifest (name, options, licence, version).

  Raises:
    UserError: the folder cannot be written.
  """
  temporary = directory.with_name(f"{directory.name}.tmp-{os.getpid()}-{time.time_ns()}")
  try:
    temporary.mkdir(parents=True)
    _remove_stale(directory)
    manifest = {
      "format": _FORMAT,
      "attribution": attribution,
      "info": dict(info),
      "splits": {name: _write_split(temporary, name, rows) for name, rows in splits.items()},
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    (temporary / _MANIFEST).write_text(text, encoding="utf-8")
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


def _write_split(directory: Path, split: str, records: Iterable[Record]) -> dict[str, Any]:
  """Writes one file; returns its entry in the manifest."""
  path = directory / f"{split}.array_record"
  digest, num_records, num_captions = hashlib.sha256(), 0, 0
  # group_size 1: one record a chunk, so that reading one record decompresses no other.
  writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
  try:
    for record in records:
      data = encode_record(record)
      digest.update(len(data).to_bytes(8, "big") + data)
      _checked(writer.write, data)
      num_records += 1
      num_captions += len(record.captions)
  finally:
    _checked(writer.close)
  return {
    "records": num_records,
    "captions": num_captions,
    "fingerprint": digest.hexdigest(),  # of the records, whatever the file format does
    "bytes": path.stat().st_size,
    "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
  }


def _checked(function: Callable[..., Any], *args: Any) -> None:
  """Calls the writer; its errors, such as a full disk, are RuntimeError and become OSError."""
  try:
    function(*args)
  except RuntimeError as error:
    raise OSError(" ".join(str(error).split())) from error


def _remove_stale(directory: Path) -> None:
  """Removes what prepares of the same folder left behind when they were killed long ago."""
  for path in directory.parent.glob(f"{directory.name}.tmp-*"):
    if time.time() - path.stat().st_mtime > _STALE_SECONDS:
      shutil.rmtree(path, ignore_errors=True)


def read_manifest(directory: Path) -> dict[str, Any]:
  """The manifest of a prepared folder; UserError if it is missing or damaged."""
  path = directory / _MANIFEST
  try:
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if manifest["format"] != _FORMAT:
      raise ValueError(f"format {manifest['format']}, not {_FORMAT}")
    return manifest
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise UserError(
      f"no usable prepared data in {directory} ({error}); delete the folder to prepare it anew"
    ) from error


def is_complete(directory: Path) -> bool:
  """Whether the manifest is readable and every file has the size written there."""
  try:
    manifest = read_manifest(directory)
    return all(
      (directory / f"{split}.array_record").stat().st_size == entry["bytes"]
      for split, entry in manifest["splits"].items()
    )
  except (OSError, UserError):
    return False


class PreparedSource:
  """One split of a prepared folder as a `Source`; picklable, safe to share among threads."""

  def __init__(self, directory: Path, split: str):
    """Opens a split; UserError if it does not exist (names the legal ones) or is damaged."""
    manifest = read_manifest(directory)
    if split not in manifest["splits"]:
      raise UserError(
        f"split {split!r} does not exist; choose one of {', '.join(sorted(manifest['splits']))}"
      )
    entry = manifest["splits"][split]
    self.fingerprint: str = entry["fingerprint"]
    self.attribution: str = manifest["attribution"]
    self.info: Mapping[str, Any] = manifest["info"]
    self._num_records: int = entry["records"]
    self._path = directory / f"{split}.array_record"
    self._reader: Any = None

  def __len__(self) -> int:
    return self._num_records

  def __getitem__(self, index: SupportsIndex) -> Record:
    """Record `index` in [0, len); IndexError outside; UserError if its bytes are damaged."""
    index = operator.index(index)
    if not 0 <= index < self._num_records:
      raise IndexError(f"record {index} of {self._num_records}")
    try:
      if self._reader is None:
        # Random access gains nothing from reading ahead.
        self._reader = array_record_module.ArrayRecordReader(
          str(self._path), "readahead_buffer_size:0"
        )
      return decode_record(self._reader.read([index])[0])
    except (RuntimeError, ValueError, OSError) as error:
      raise UserError(
        f"record {index} of {self._path} is damaged; delete {self._path.parent} to prepare it anew"
      ) from error

  def __getstate__(self) -> dict[str, Any]:
    return {**self.__dict__, "_reader": None}  # a reader cannot travel to another process
