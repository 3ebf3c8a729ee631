"""TFDS data that is prepared as ArrayRecord, whichever builder wrote it; without TensorFlow."""

import dataclasses
import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from jaxt2i.data.files import MAX_IMAGE_BYTES
from jaxt2i.data.formats import columns, common, tfds_records
from jaxt2i.data.formats.tfds_records import Leaf
from jaxt2i.data.listing import Listing, clean
from jaxt2i.errors import UserError, suggest

_VERSION = re.compile(r"\d+\.\d+\.\d+")
_Place = tuple[str, str, tuple[int, ...]]  # name, config or "", version


@dataclasses.dataclass(frozen=True)
class Tfds:
  """A builder's images and texts, as they lie in a data_dir of TFDS."""

  src: str  # the data_dir
  builder: str = ""  # "coco_captions", "coco_captions/2014", "flickr8k:1.0.0"; "" if there is one
  caption_feature: str = ""  # such as "captions/text"; "" finds it
  image_feature: str = ""  # "" finds it

  terms: ClassVar[str] = ""  # the data says it itself

  def __post_init__(self):
    common.check_texts(self, (field.name for field in dataclasses.fields(self)))

  def listing(self) -> Listing:
    """See Format. Reads every record, but decodes no image."""
    directory = find(self.src, self.builder)
    info = tfds_records.builder(directory).info
    where = f"TFDS data {info.full_name} in {self.src}"
    leaves = dict(sorted(tfds_records.leaves(info.features)))
    image = _image_feature(leaves, self.image_feature, where)
    texts = [name for name, leaf in leaves.items() if leaf.is_text]
    captions = columns.caption_columns(texts, self.caption_feature, "caption_feature", where)
    scalars = [name for name, leaf in leaves.items() if leaf.is_scalar and name not in captions]
    names = next(iter(columns.name_columns(scalars)), "")
    found = [
      columns.Row(
        split=split,
        index=index,
        name=str(values[names]) if names else "",
        official=common.split_named(split),
        blob=TfdsBlob(directory, split, image, index),
        captions=[text for name in captions for text in _as_list(values[name])],
        # TFDS cannot leave a value out: builders give an empty text for what they do not know.
        attributes={name: values[name] for name in scalars if name != names and values[name] != ""},
      )
      for split in info.splits
      for index, values in _records(directory, split, [*captions, *scalars])
    ]
    listing = columns.listing(found, where, names)
    terms = info.as_proto.redistribution_info.license
    return dataclasses.replace(listing, terms=clean(terms))


@dataclasses.dataclass(frozen=True, slots=True)
class TfdsBlob:
  """The encoded image of a record."""

  directory: str  # of one version of a builder
  split: str
  feature: str
  index: int

  def read(self, limit: int = MAX_IMAGE_BYTES) -> bytes:
    """See Blob."""
    try:
      data = self._source()[self.index][self.feature]
    except UserError as error:
      raise OSError(str(error)) from error
    if len(data) > limit:
      raise OSError(f"more than {limit:,} bytes")
    return data

  def identity(self) -> str:
    """See Blob."""
    now = os.stat(self._source().shard(self.index))
    return f"{self.index} of {now.st_size} changed {now.st_mtime_ns}"

  def _source(self) -> tfds_records.Source:
    return _open(self.directory, self.split, self.feature)


@functools.lru_cache(maxsize=8)
def _open(directory: str, split: str, feature: str) -> tfds_records.Source:
  return tfds_records.Source(directory, split, [feature])


def find(src: str, builder: str) -> str:
  """The folder of a prepared builder, of its newest version unless another is asked for.

  Raises:
    UserError: it is not there, or several would fit.
  """
  if not os.path.isdir(src):
    raise UserError(f"folder {src!r} does not exist or is no folder; check --src")
  prepared = sorted(_prepared(src))
  if not prepared:
    raise UserError(
      f"no prepared TFDS data in {src}, that is no <builder>/<version>/features.json: prepare some "
      f"by tfds.builder(name, data_dir={src!r}, file_format={tfds_records.FORMAT!r})"
      ".download_and_prepare()"
    )
  rest, _, version = builder.partition(":")
  name, _, config = rest.partition("/")
  names = sorted({place[0] for place in prepared})
  if not name and len(names) > 1:
    raise UserError(f"{src} has several builders: set the option builder to {' or '.join(names)}")
  if name and name not in names:
    raise UserError(f"builder {name!r} is not prepared in {src}; {suggest(name, names)}")
  same = [place for place in prepared if place[0] == (name or names[0])]
  fits = [p for p in same if config in ("", p[1]) and version in ("", _dotted(p[2]))]
  known = " or ".join(map(_spelled, same))
  if not fits:
    raise UserError(f"builder {builder!r} is not prepared in {src}: set it to {known}")
  if len({place[1] for place in fits}) > 1:
    raise UserError(f"builder {fits[0][0]!r} has several configs in {src}: set it to {known}")
  name, config, newest = fits[-1]
  return str(Path(src, name, config, _dotted(newest)))


def _prepared(src: str) -> Iterator[_Place]:
  for pattern in ("*/*/features.json", "*/*/*/features.json"):
    for path in Path(src).glob(pattern):
      name, *config, version = path.relative_to(src).parent.parts
      if _VERSION.fullmatch(version):  # else TFDS has not finished it
        yield name, "".join(config), tuple(map(int, version.split(".")))


def _dotted(version: Sequence[int]) -> str:
  return ".".join(map(str, version))


def _spelled(place: _Place) -> str:
  name, config, version = place
  return f"{name}/{config}:{_dotted(version)}" if config else f"{name}:{_dotted(version)}"


def _image_feature(leaves: Mapping[str, Leaf], chosen: str, where: str) -> str:
  """The one image, or that asked for; UserError."""
  images = [name for name, leaf in leaves.items() if leaf.is_image]
  if chosen and chosen not in images:
    raise UserError(
      f"image_feature {chosen!r}: {where} has no such image; it has {', '.join(images) or 'none'}"
    )
  if not images:
    raise UserError(f"{where} has no image; it has {', '.join(sorted(leaves))}: choose other data")
  if not chosen and len(images) > 1:
    raise UserError(
      f"{where} has several images ({', '.join(images)}): choose one by the option image_feature"
    )
  return chosen or images[0]


def _records(directory: str, split: str, names: Sequence[str]) -> Iterator[tuple[int, Mapping]]:
  """All records of a split; UserError if one is damaged."""
  source = tfds_records.Source(directory, split, names)
  for index in range(len(source)):
    try:
      yield index, source[index]
    except OSError as error:
      raise UserError(f"{error}; delete {directory} and prepare it anew") from error


def _as_list(texts: str | list[str]) -> list[str]:
  return [texts] if isinstance(texts, str) else texts
