"""Preparing somebody's data: once, in parallel, and so that it can be interrupted at any time.

The images are cut into shards; a shard is a function of the plan and its number, and writes its
files by itself. Whoever runs them (`processes` here, `beam` elsewhere), in whatever order and after
whatever interruption, the bytes are the same.
"""

import dataclasses
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxt2i.data import images, prepared, shards
from jaxt2i.data.duplicates import perceptual_hash
from jaxt2i.data.listing import Entry, Listing
from jaxt2i.data.records import Record
from jaxt2i.data.shards import Bad, Facts, Shard
from jaxt2i.errors import UsageError, UserError

_log = logging.getLogger(__name__)
_PLAN = "plan.json"
_VERSION = 2  # raised when the same images would be prepared to other bytes
_SHARD_IMAGES = 1024
_MAX_SHARDS = 256  # as many files a reader holds open
_NUM_NAMED = 20  # files named in a message


@dataclasses.dataclass(frozen=True)
class Options:
  """How images are prepared.

  Raises:
    UsageError: a value out of range.
  """

  image_sizes: tuple[int, ...] = (256, 64)  # pixels, each 8 to 1024
  fit: str = "letterbox"  # one of images.FITS
  max_bad: float = 0.01  # share of images that may be unreadable

  def __post_init__(self) -> None:
    sizes = self.image_sizes
    if not sizes or len(set(sizes)) < len(sizes) or not all(8 <= size <= 1024 for size in sizes):
      raise UsageError(f"image sizes {sizes}: expected one or more, each once, from 8 to 1024")
    if self.fit not in images.FITS:
      raise UsageError(f"fit {self.fit!r}: choose one of {', '.join(images.FITS)}")
    if not 0 <= self.max_bad <= 1:
      raise UsageError(f"max_bad {self.max_bad}: expected a share from 0 to 1")


@dataclasses.dataclass(frozen=True)
class Task:
  """One shard to be made."""

  directory: str
  number: int
  entries: tuple[Entry, ...]
  options: Options


# Makes the shards of some tasks; gives them in any order. The number is that of all images.
Runner = Callable[[Sequence[Task], int], Iterator[Shard]]


def prepare(
  listing: Listing,
  directory: Path,
  options: Options,
  *,
  info: Mapping[str, Any],
  run: Runner,
) -> list[Shard]:
  """Makes the shards that are not there yet, then the manifest.

  Args:
    listing: the source.
    directory: where the data is to lie.
    options: sizes and fit.
    info: JSON-able facts for the manifest (format, options, terms).
    run: what makes shards.

  Raises:
    UserError: too many unreadable images, a directory that holds other data or cannot be written.
  """
  tasks = begin(listing, directory, options, info=info)
  done = [shards.read_shard(directory, task.number, verify=True) for task in tasks]
  missing = [task for task, shard in zip(tasks, done, strict=True) if shard is None]
  if 0 < len(missing) < len(tasks):
    _log.info("going on: %d of %d shards are there", len(tasks) - len(missing), len(tasks))
  bad = [bad for shard in done if shard for bad in shard.bad]
  for shard in run(missing, len(listing.entries)):
    bad += shard.bad
    check_bad(bad, len(listing.entries), options)
  finished = [_finished(task) for task in tasks]
  finish(listing, directory, finished, options, info=info)
  return finished


def _finished(task: Task) -> Shard:
  shard = shards.read_shard(Path(task.directory), task.number)
  if shard is None:
    raise UserError(
      f"shard {task.number} is not in {task.directory}: all workers must see the folder, and "
      "nothing else may change it"
    )
  return shard


def begin(
  listing: Listing, directory: Path, options: Options, *, info: Mapping[str, Any]
) -> list[Task]:
  """Writes down the plan and cuts it into shards; what an older plan left behind is removed.

  Raises:
    UserError: the directory holds finished data of another plan, or something else.
  """
  plan = {"fingerprint": _fingerprint(listing, options), "info": dict(info)}
  path = directory / _PLAN
  try:
    directory.mkdir(parents=True, exist_ok=True)
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    ours = ("lock", f"{_PLAN}.partial")
    if old is None and any(child.name not in ours for child in directory.iterdir()):
      raise UserError(f"{directory} has other files in it: choose another --out, or empty it")
    if old is not None and old["fingerprint"] != plan["fingerprint"]:
      if (directory / prepared.MANIFEST).exists():
        raise UserError(
          f"{directory} was prepared from other images, captions or options (a new date of a "
          "file counts): choose another --out, or delete it"
        )
      _log.info("the images, captions or options have changed: starting anew")
      sizes = [child.name for child in directory.iterdir() if child.name.isdigit()]
      for name in ("facts", "splits", *sizes):
        shutil.rmtree(directory / name, ignore_errors=True)
    for left in directory.glob(f"*/*{shards.PARTIAL}"):  # by attempts that were killed
      if left.is_file():
        left.unlink()
    prepared.write_json(path, plan)
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise UserError(
      f"cannot prepare data in {directory} ({error}): choose another --out"
    ) from error
  return _tasks(listing, directory, options)


def _tasks(listing: Listing, directory: Path, options: Options) -> list[Task]:
  size = max(_SHARD_IMAGES, -(-len(listing.entries) // _MAX_SHARDS))
  return [
    Task(str(directory), number, listing.entries[start : start + size], options)
    for number, start in enumerate(range(0, len(listing.entries), size))
  ]


def make_shard(task: Task, count: Callable[[], None] = lambda: None) -> Shard:
  """Decodes and writes the images of one shard; `count` is called after each."""

  def items() -> Iterator[tuple[Mapping[int, Record], Facts] | Bad]:
    for entry in task.entries:
      yield _item(entry, task.options)
      count()

  return shards.write_shard(Path(task.directory), task.number, task.options.image_sizes, items())


def _item(entry: Entry, options: Options) -> tuple[Mapping[int, Record], Facts] | Bad:
  try:
    data = entry.blob.read()
    photo = images.decode(data)
  except (OSError, images.BadImageError) as error:
    return Bad(entry.image_id, str(error))
  squares = images.squares(photo, options.image_sizes, options.fit)
  records = {
    size: Record(entry.image_id, square, entry.captions, entry.attributes)
    for size, square in squares.items()
  }
  facts = Facts(
    image_id=entry.image_id,
    width=photo.width,
    height=photo.height,
    num_captions=len(entry.captions),
    split=entry.split,
    sha256=hashlib.sha256(data).hexdigest(),
    phash=perceptual_hash(squares[min(squares)]),
  )
  return records, facts


def check_bad(bad: Sequence[Bad], num_images: int, options: Options) -> None:
  """Raises UserError if more images are unreadable than may be, with their names."""
  if len(bad) <= options.max_bad * num_images:
    return
  named = ", ".join(f"{one.image_id} ({one.why})" for one in bad[:_NUM_NAMED])
  more = f" and {len(bad) - _NUM_NAMED} more" if len(bad) > _NUM_NAMED else ""
  raise UserError(
    f"{len(bad)} of the {num_images} images cannot be decoded so far, more than "
    f"{options.max_bad:.2%}: {named}{more}; repair or remove them (`jaxt2i data check "
    "--format=… --src=… --json=report.json` lists all), or allow more with --max_bad"
  )


def finish(
  listing: Listing,
  directory: Path,
  finished: Sequence[Shard],
  options: Options,
  *,
  info: Mapping[str, Any],
) -> None:
  """Writes the manifest once every shard is there.

  Raises:
    UserError: too many unreadable images, or none left, or the manifest cannot be written.
  """
  bad = [bad for shard in finished for bad in shard.bad]
  check_bad(bad, len(listing.entries), options)
  if len(bad) == len(listing.entries):
    raise UserError("none of the images can be decoded")
  left_out = {
    "missing": dict(listing.missing),
    "uncaptioned": list(listing.uncaptioned),
    "captions_dropped": dict(listing.dropped),
    "refused": list(listing.refused),
    "bad": [dataclasses.asdict(one) for one in bad],
  }
  info = {**info, "fit": options.fit}
  try:
    prepared.write_manifest(directory, finished, attribution="", info=info, left_out=left_out)
  except OSError as error:
    raise unwritable(error) from error


def unwritable(error: OSError) -> UserError:
  """What a user is told when shards cannot be written."""
  return UserError(f"cannot write prepared data: {error}; what is done is kept")


def _fingerprint(listing: Listing, options: Options) -> str:
  """Sha256 hex of all that the bytes depend on, so not of how many images may be bad."""
  how = [_VERSION, _SHARD_IMAGES, options.image_sizes, options.fit]
  digest = hashlib.sha256(json.dumps(how).encode())
  for entry in listing.entries:
    try:
      identity = entry.blob.identity()
    except OSError:
      identity = "gone"  # since it was listed; reading it will say so
    fields = [entry.image_id, identity, entry.captions, dict(entry.attributes), entry.split]
    digest.update(json.dumps(fields, sort_keys=True).encode())
  return digest.hexdigest()
