"""Data sets of Hugging Face's `datasets`, as `save_to_disk` wrote them; the package is optional."""

import dataclasses
import functools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from jaxt2i.data.files import MAX_IMAGE_BYTES, FileBlob
from jaxt2i.data.formats import columns, common
from jaxt2i.data.listing import Listing, clean
from jaxt2i.errors import UserError

_BATCH = 1000
_PLAIN = ("bool", "int", "uint", "float", "string", "large_string")  # beginnings of types


@dataclasses.dataclass(frozen=True)
class HuggingFace:
  """The images and captions of a `Dataset` or `DatasetDict` on disk."""

  src: str  # the folder
  caption_column: str = ""  # text or a list of texts; "" finds it
  image_column: str = ""  # "" finds it

  terms: ClassVar[str] = ""  # the data says it itself

  def __post_init__(self):
    common.check_texts(self, (field.name for field in dataclasses.fields(self)))

  def listing(self) -> Listing:
    """See Format. UserError if the package `datasets` is missing, too."""
    parts = _load(self.src)
    features = parts[0].data.features
    for part in parts[1:]:
      if set(part.data.features) != set(features):
        raise UserError(
          f"{self.src}: splits {parts[0].split!r} and {part.split!r} have different columns; "
          "save them to folders of their own"
        )
    where = f"Hugging Face data in {self.src}"
    image = _image_column(features, self.image_column, where)
    texts = [name for name, feature in features.items() if _is_text(feature)]
    captions = columns.caption_columns(texts, self.caption_column, "caption_column", where)
    plain = [name for name, f in features.items() if _is_plain(f) and name not in captions]
    names = next(iter(columns.name_columns(plain)), "")
    found = [
      columns.Row(
        split=part.split,
        index=index,
        name="" if values.get(names) is None else str(values[names]),
        # Some keep the split of Karpathy's lists in a column, all within one split of their own.
        official=common.split_named(str(values.get("split"))) or common.split_named(part.split),
        blob=HuggingFaceBlob(part.folder, image, index),
        captions=[text for name in captions for text in _as_list(values[name])],
        attributes={name: values[name] for name in plain if name not in (names, "split")},
      )
      for part in parts
      for index, values in enumerate(_rows(part.data, [*captions, *plain]))
    ]
    listing = columns.listing(found, where, names)
    terms = parts[0].data.info.license or ""
    return dataclasses.replace(listing, terms=clean(terms))


@dataclasses.dataclass(frozen=True, slots=True)
class HuggingFaceBlob:
  """The encoded image in a row."""

  folder: str  # of one split
  column: str
  index: int

  def read(self, limit: int = MAX_IMAGE_BYTES) -> bytes:
    """See Blob."""
    try:
      value = _open(self.folder, self.column)[self.index][self.column]
    except UserError as error:
      raise OSError(str(error)) from error
    except Exception as error:  # Arrow's and those of `datasets`: many kinds
      raise OSError(f"row {self.index} of {self.folder}: {columns.reason(error)}") from error
    if not value or (value["bytes"] is None and not value["path"]):
      raise OSError(f"row {self.index} of {self.folder} has no image")
    if value["bytes"] is None:
      return FileBlob(value["path"]).read(limit)
    if len(value["bytes"]) > limit:
      raise OSError(f"more than {limit:,} bytes")
    return value["bytes"]

  def identity(self) -> str:
    """See Blob. Of the table: what a row may name outside of it is not looked at."""
    return f"{self.index} of {_table(self.folder, self.column)}"


@functools.lru_cache  # asked for by every row
def _table(folder: str, column: str) -> str:
  files = [os.stat(file["filename"]) for file in _open(folder, column).cache_files]
  return f"{sum(f.st_size for f in files)} changed {max(f.st_mtime_ns for f in files)}"


@dataclasses.dataclass(frozen=True)
class _Part:
  split: str  # "" if the data does not say
  folder: str
  data: Any  # datasets.Dataset


def _package() -> Any:
  try:
    import datasets
  except ImportError as error:
    raise UserError(
      f"format 'huggingface' needs the package datasets ({error}); install it: "
      'pip install -e ".[huggingface]"'
    ) from error
  return datasets


def _load(src: str) -> list[_Part]:
  """The splits. UserError if the folder is none of `save_to_disk`."""
  datasets = _package()
  if not os.path.isdir(src):
    raise UserError(f"folder {src!r} does not exist or is no folder; check --src")
  try:
    loaded = datasets.load_from_disk(src)
  except Exception as error:  # damaged files raise many kinds
    raise UserError(
      f"{src} is no data set that was saved by datasets ({columns.reason(error)}); save it: "
      f"datasets.load_dataset(...).save_to_disk({src!r})"
    ) from error
  if isinstance(loaded, datasets.Dataset):
    return [_Part(str(loaded.split or ""), src, loaded)]
  if not loaded:
    raise UserError(f"{src} is a data set without splits; save it anew")
  return [_Part(split, os.path.join(src, split), data) for split, data in loaded.items()]


@functools.lru_cache(maxsize=8)
def _open(folder: str, column: str) -> Any:
  """A split of which nothing but encoded images is read."""
  datasets = _package()
  data = datasets.load_from_disk(folder).with_format(None).select_columns([column])
  return data.cast_column(column, datasets.Image(decode=False))


def _rows(data: Any, wanted: Sequence[str]) -> Iterator[dict[str, Any]]:
  """Values of these columns, row by row; the others are not read."""
  names = {c: f.names for c, f in data.features.items() if hasattr(f, "names") and c in wanted}
  for batch in data.with_format(None).select_columns(list(wanted)).iter(_BATCH):
    for values in zip(*(batch[column] for column in wanted), strict=True):
      yield {c: _value(v, names.get(c)) for c, v in zip(wanted, values, strict=True)}


def _value(value: Any, names: Sequence[str] | None) -> Any:
  """A value as JSON has it: a class by its name, None for what is unknown."""
  if names is not None:
    return names[value] if value is not None and 0 <= value < len(names) else None
  return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_plain(feature: Any) -> bool:
  """One number, truth value, class or text."""
  return hasattr(feature, "names") or getattr(feature, "dtype", "").startswith(_PLAIN)


def _is_text(feature: Any) -> bool:
  """A text or a list of texts."""
  inner = getattr(feature, "feature", feature)
  return getattr(inner, "dtype", "").startswith(("string", "large_string"))


def _image_column(features: Mapping[str, Any], chosen: str, where: str) -> str:
  """The one column of images, or that asked for; UserError."""
  images = [name for name, f in features.items() if isinstance(f, _package().Image)]
  if chosen and chosen not in images:
    raise UserError(
      f"image_column {chosen!r}: {where} has no such images; it has {', '.join(images) or 'none'}"
    )
  if not images:
    raise UserError(
      f"{where} has no column of images, only {', '.join(sorted(features))}; make one: "
      "data.cast_column(name, datasets.Image())"
    )
  if not chosen and len(images) > 1:
    raise UserError(
      f"{where} has several images ({', '.join(images)}): choose one by the option image_column"
    )
  return chosen or images[0]


def _as_list(texts: Any) -> list[str]:
  values = texts if isinstance(texts, list) else [texts]
  return ["" if text is None else text for text in values]
