"""Records of prepared TFDS data by index, of which only what is asked for gets decoded."""

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from jaxt2i.data.formats.columns import reason
from jaxt2i.errors import UserError

_TFDS_CLASSES = "tensorflow_datasets.core.features."

FORMAT = "array_record"  # the one that is read by random access without TensorFlow


@dataclasses.dataclass(frozen=True)
class Leaf:
  """One feature among those nested in each other."""

  path: tuple[str, ...]
  feature: Any  # tfds.features.FeatureConnector
  depth: int  # sequences around it

  @property
  def is_image(self) -> bool:
    """Whether there is one encoded image a record."""
    from tensorflow_datasets import features

    labels = isinstance(self.feature, features.LabeledImage)  # a map of classes, no picture
    return isinstance(self.feature, features.Image) and not labels and not self.depth

  @property
  def is_text(self) -> bool:
    """Whether it is a text or a list of texts."""
    return self._rank in (0, 1) and np.dtype(self.feature.np_dtype).kind in "OSU"

  @property
  def is_scalar(self) -> bool:
    """Whether it is one number, truth value, class or text."""
    return self._rank == 0

  @property
  def _rank(self) -> int:
    """Dimensions of its values; -1 if they are no plain ones."""
    from tensorflow_datasets import features

    plain = isinstance(self.feature, features.Tensor)
    return self.depth + len(self.feature.shape) if plain else -1

  def value(self, example: Any) -> Any:
    """Its value in a decoded record, made of Python's own types."""
    for key in self.path:
      example = example[key]
    if self.is_image:
      return bytes(example)
    if self.is_text and not self.is_scalar:
      return [_text(item) for item in example]
    if self.is_text:
      return _text(example)
    number = np.asarray(example).item()
    names = getattr(self.feature, "names", None)
    if names is None:
      return number
    return names[number] if 0 <= number < len(names) else None  # -1 stands for an unknown class


def leaves(feature: Any, path: tuple[str, ...] = (), depth: int = 0) -> Iterator[tuple[str, Leaf]]:
  """All features within one, as ("captions/text", leaf)."""
  from tensorflow_datasets import features

  # Classes derived from these two store their values in ways of their own.
  if type(feature) is features.FeaturesDict:
    for key in feature:
      yield from leaves(feature[key], (*path, key), depth)
  elif type(feature) is features.Sequence:
    yield from leaves(feature.feature, path, depth + 1)
  else:
    yield "/".join(path), Leaf(path, feature, depth)


def builder(directory: str) -> Any:
  """The tfds.core.DatasetBuilder of a prepared folder; UserError if the folder is damaged."""
  import tensorflow_datasets as tfds

  try:
    _refuse_foreign_code(directory)
    return tfds.builder_from_directory(directory)
  except Exception as error:  # TFDS raises many kinds, that of a missing module among them
    raise UserError(
      f"{directory} has no usable description ({reason(error)}); delete it and prepare it anew"
    ) from error


def _refuse_foreign_code(directory: str) -> None:
  """ValueError if the description names classes that are not TFDS's: it would import them."""
  with open(os.path.join(directory, "features.json"), encoding="utf-8") as file:
    todo: list[Any] = [json.load(file)]
  while todo:
    value = todo.pop()
    if isinstance(value, dict):
      name = value.get("pythonClassName", _TFDS_CLASSES)
      if not (isinstance(name, str) and name.startswith(_TFDS_CLASSES)):
        raise ValueError(f"it names code that is not TFDS's: {name!r}")
    todo += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


class Source:
  """Records of a split by index, as mappings of the features that were asked for."""

  def __init__(self, directory: str, split: str, names: Iterable[str]):
    """Opens a split. UserError if it cannot be read by index."""
    import tensorflow_datasets as tfds

    made = builder(directory)
    try:
      self._records = made.as_data_source(
        split, file_format=FORMAT, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
      )
    except (NotImplementedError, ValueError) as error:
      raise UserError(
        f"{directory} is not prepared as ArrayRecord, so it cannot be read by index; delete it "
        f"and prepare it anew with file_format={FORMAT!r}"
      ) from error
    known = dict(leaves(made.info.features))
    self._leaves = {name: known[name] for name in names}
    tops = {leaf.path[0] for leaf in self._leaves.values()}
    self._features = tfds.features.FeaturesDict({key: made.info.features[key] for key in tops})
    self._decoders = _undecoded(leaf for leaf in known.values() if leaf.path[0] in tops)
    info = made.info.splits[split]
    self._shards = [str(path) for path in info.filepaths]
    self._ends = np.cumsum(info.shard_lengths)

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, index: int) -> Mapping[str, Any]:
    """Values by feature, images still encoded; OSError if the record is damaged or missing."""
    try:
      # Every record lies whole in the file, image included, but the image is not decoded.
      example = self._features.deserialize_example_np(self._records[index], decoders=self._decoders)
      return {name: leaf.value(example) for name, leaf in self._leaves.items()}
    except Exception as error:  # of protobuf, ArrayRecord and TFDS: many kinds
      raise OSError(f"record {index} of {self.shard(index)}: {reason(error)}") from error

  def shard(self, index: int) -> str:
    """The file in which a record lies."""
    return self._shards[int(np.searchsorted(self._ends, index, side="right"))]


def _undecoded(found: Iterable[Leaf]) -> dict[str, Any]:
  """Decoders as TFDS takes them, by which images stay as they are."""
  from tensorflow_datasets import decode

  decoders: dict[str, Any] = {}
  for leaf in found:
    if leaf.is_image:
      inner = decoders
      for key in leaf.path[:-1]:
        inner = inner.setdefault(key, {})
      inner[leaf.path[-1]] = decode.SkipDecoding()
  return decoders


def _text(value: Any) -> str:
  return bytes(value).decode("utf-8", "replace")
