"""Shards of prepared data: records as ArrayRecord files, beside them the facts about the images.

A shard is finished once its facts lie in `facts/`; without them it is written again. Images are
kept as raw bytes: at the sizes used here that reads several times faster than PNG.
"""

import contextlib
import dataclasses
import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from array_record.python import array_record_module

from jaxt2i.data.duplicates import perceptual_hash
from jaxt2i.data.records import Record

# One record a chunk: reading one decompresses no other. Snappy costs next to nothing and shrinks
# black bars and drawings; what compresses photos better is slower than the disk. Threads of the
# writer would only take turns with the processes that prepare.
_WRITER_OPTIONS = "group_size:1,snappy,max_parallelism:1"


PARTIAL = ".partial"  # ends the name of a file that is being written


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
  """What is known of a stored image besides its pixels; its row is its place in the data."""

  image_id: str
  width: int  # of the photo, pixels, turned as its EXIF says
  height: int
  num_captions: int
  split: str  # of the official lists, "" if there are none
  sha256: str  # hex, of the photo's bytes
  phash: int  # 64 bits, see `perceptual_hash`


@dataclasses.dataclass(frozen=True)
class Bad:
  """An image that could not be decoded."""

  image_id: str
  why: str


@dataclasses.dataclass(frozen=True)
class Shard:
  """What a finished shard holds."""

  files: Mapping[str, Mapping[str, Any]]  # "64/00000.array_record" → bytes, sha256
  images: tuple[Facts, ...]
  bad: tuple[Bad, ...]


def facts_of_generated(record: Record, split: str) -> Facts:
  """Facts about a record that no photo lies behind: its pixels are the bytes."""
  height, width, _ = record.image.shape
  return Facts(
    image_id=record.image_id,
    width=width,
    height=height,
    num_captions=len(record.captions),
    split=split,
    sha256=hashlib.sha256(record.image.tobytes()).hexdigest(),
    phash=perceptual_hash(record.image),
  )


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
      "image": np.ascontiguousarray(image).data.cast("B"),
      "captions": record.captions,
      "attributes": json.dumps(dict(record.attributes), sort_keys=True),
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


def record_file(size: int, number: int) -> str:
  """Name of a shard's records at one image size, relative to the data's folder."""
  return f"{size}/{number:05d}.array_record"


def _facts_file(directory: Path, number: int) -> Path:
  return directory / "facts" / f"{number:05d}.json"


def write_shard(
  directory: Path,
  number: int,
  sizes: Sequence[int],
  items: Iterable[tuple[Mapping[int, Record], Facts] | Bad],
) -> Shard:
  """Writes one shard; what a killed attempt left behind ends in PARTIAL and is nobody's.

  Args:
    directory: of the data.
    number: of the shard, from 0.
    sizes: of the images.
    items: a record at every size with the image's facts, or what could not be decoded.

  Raises:
    OSError: it cannot be written, because the disk is full for example.
  """
  images, bad = [], []
  # A name of its own for each attempt: some runners make a shard twice at once, to be sure.
  attempt = f".{uuid.uuid4().hex}{PARTIAL}"
  partial = {size: directory / (record_file(size, number) + attempt) for size in sizes}
  with contextlib.ExitStack() as stack:
    writers = {size: stack.enter_context(_writer(path)) for size, path in partial.items()}
    for item in items:
      if isinstance(item, Bad):
        bad.append(item)
        continue
      records, facts = item
      images.append(facts)
      for size, record in records.items():
        _checked(writers[size].write, encode_record(record))
  files = {}
  for size in sizes:
    length, digest = partial[size].stat().st_size, sha256_of(partial[size])
    files[record_file(size, number)] = {"bytes": length, "sha256": digest}
    partial[size].replace(directory / record_file(size, number))
  shard = Shard(files, tuple(images), tuple(bad))
  path = _facts_file(directory, number)
  path.parent.mkdir(exist_ok=True)
  text = json.dumps(dataclasses.asdict(shard), ensure_ascii=False)
  ready = path.with_name(path.name + attempt)
  ready.write_text(text + "\n", encoding="utf-8")
  ready.replace(path)
  return shard


def read_shard(directory: Path, number: int, *, verify: bool = False) -> Shard | None:
  """What a finished shard holds; None if it is not finished or its files are not as they were.

  Args:
    directory: of the data.
    number: of the shard.
    verify: compare the files' hashes, not just their sizes.
  """
  try:
    fields = json.loads(_facts_file(directory, number).read_text(encoding="utf-8"))
    shard = Shard(
      fields["files"],
      tuple(Facts(**row) for row in fields["images"]),
      tuple(Bad(**row) for row in fields["bad"]),
    )
    for name, file in shard.files.items():
      path = directory / name
      intact = path.stat().st_size == file["bytes"]
      if not intact or (verify and sha256_of(path) != file["sha256"]):
        return None
  except (OSError, ValueError, KeyError, TypeError):
    return None
  return shard


def sha256_of(path: Path) -> str:
  """Hex, of a file's content."""
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _writer(path: Path) -> Iterator[Any]:
  path.parent.mkdir(parents=True, exist_ok=True)
  writer = array_record_module.ArrayRecordWriter(str(path), _WRITER_OPTIONS)
  try:
    yield writer
  finally:
    _checked(writer.close)


def _checked(function: Callable[..., Any], *args: Any) -> None:
  """Calls the writer; its errors, such as a full disk, are RuntimeError and become OSError."""
  try:
    function(*args)
  except RuntimeError as error:
    raise OSError(" ".join(str(error).split())) from error
