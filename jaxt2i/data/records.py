"""What a data set is made of: records, datasets that generate them, sources that serve them."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Record:
  """One image with its captions and whatever else is known about it."""

  image_id: str
  image: np.ndarray  # [H, W, 3] uint8 RGB
  captions: tuple[str, ...]  # one or more
  attributes: Mapping[str, Any]  # JSON-able labels or ground truth, {} if none


@runtime_checkable
class Dataset(Protocol):
  """A frozen dataclass whose fields are options and which generates the records of every split.

  Options it cannot work with are refused in `__post_init__` by a UserError.
  """

  version: ClassVar[int]  # raised whenever the same options give other records
  attribution: ClassVar[str]  # shown with pictures made from the data; "" if none
  licence: ClassVar[str]  # "" if unknown

  def fingerprint(self) -> str:
    """Sha256 hex of all that the records depend on; see `options_fingerprint`."""
    ...

  def splits(self) -> Mapping[str, Iterable[Record]]:
    """Records of each split, in a fixed order; the iterables may be lazy and are read once."""
    ...


@runtime_checkable
class Source(Protocol):
  """Records by index, as grain reads them."""

  fingerprint: str  # sha256 hex of the content
  attribution: str  # shown with pictures made from it; "" if none
  protocol: str  # how the splits were made
  note: str  # what a report on the split must say; "" if nothing

  def __len__(self) -> int: ...

  def __getitem__(self, index: int) -> Record: ...


def options_fingerprint(dataset: Any, *inputs: str) -> str:
  """Sha256 hex of a dataset's class, version, options and `inputs` (what else it reads).

  Args:
    dataset: a `Dataset`, that is a dataclass with a `version`.
    *inputs: versions of packages, hashes of files: whatever the records depend on besides.
  """
  identity = [type(dataset).__name__, dataset.version, dataclasses.asdict(dataset), list(inputs)]
  return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def share_of_hash(image_id: str) -> float:
  """A number in [0, 1) that depends on the id alone: splits made with it never move."""
  return int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:8], "big") / 2**64
