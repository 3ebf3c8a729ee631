"""Splits on disk: `splits/<protocol>/<split>.npy` and `split.json`, beside prepared data.

A split is a list of rows, int64 [n]; or of (row, caption) pairs, int64 [n, 2], sorted, where the
captions of one image belong to different splits.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from jaxt2i.data.records import Record
from jaxt2i.errors import UserError, suggest

_PARTIAL = ".partial"
_OLDER = ".older"


@dataclasses.dataclass(frozen=True)
class Selection:
  """The images of a split, with all of their captions or some."""

  rows: Int64[np.ndarray, "n"]
  captions: tuple[Int64[np.ndarray, "m"], Int64[np.ndarray, "n_plus_1"]] | None  # values, starts
  sha256: str
  note: str  # what a report must say of the protocol; "" if nothing

  def __len__(self) -> int:
    return len(self.rows)

  def of(self, index: int, records: Any) -> Record:
    """Record `index` of the split, with the captions that belong to it."""
    record = records[int(self.rows[index])]
    if self.captions is None:
      return record
    values, starts = self.captions
    chosen = values[starts[index] : starts[index + 1]]
    return dataclasses.replace(record, captions=tuple(record.captions[k] for k in chosen))

  def pairs(self, records: Any) -> Iterator[tuple[int, str]]:
    """Every caption of the split, with the row of its image."""
    for index, row in enumerate(map(int, self.rows)):
      for caption in self.of(index, records).captions:
        yield row, caption

  def fingerprint(self, content: Sequence[str]) -> str:
    """Sha256 hex of the split and of the records' own hashes."""
    return hashlib.sha256(json.dumps([self.sha256, *content]).encode()).hexdigest()


def folder(directory: Path, protocol: str) -> Path:
  """Where a protocol's splits lie; "kfold:0/5" is no name for a folder."""
  return directory / "splits" / protocol.replace(":", "-").replace("/", "-of-")


def save(
  directory: Path,
  protocol: str,
  splits: Mapping[str, np.ndarray],
  *,
  captions: Int64[np.ndarray, "N"],
  note: str = "",
  left_out: Mapping[str, int] | None = None,
) -> dict[str, Any]:
  """Writes the splits of a protocol; they appear complete or not at all.

  Args:
    directory: of the prepared data.
    protocol: its name.
    splits: rows or (row, caption) pairs of each split.
    captions: number of captions of every image.
    note: see Selection.
    left_out: why → how many images belong to no split.

  Returns:
    What `split.json` says: for each split images, captions and sha256.

  Raises:
    OSError: they cannot be written.
  """
  target = folder(directory, protocol)
  partial = target.with_name(target.name + _PARTIAL)
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir(parents=True)
  entries = {}
  for name, selected in splits.items():
    path = partial / f"{name}.npy"
    np.save(path, selected)
    pairs = selected.ndim == 2
    entries[name] = {
      "images": len(np.unique(selected[:, 0])) if pairs else len(selected),
      "captions": len(selected) if pairs else int(captions[selected].sum()),
      "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
  stored = {
    "protocol": protocol,
    "content": _content(directory),
    "note": note,
    "left_out": dict(left_out or {}),
    "splits": entries,
  }
  text = json.dumps(stored, indent=2, ensure_ascii=False) + "\n"
  (partial / "split.json").write_text(text, encoding="utf-8")
  older = target.with_name(target.name + _OLDER)
  shutil.rmtree(older, ignore_errors=True)
  if target.exists():
    target.rename(older)
  partial.rename(target)
  shutil.rmtree(older, ignore_errors=True)
  return stored


def _content(directory: Path) -> str:
  """Sha256 of the manifest, which has the hashes of all records: what the rows are numbers of."""
  return hashlib.sha256((directory / "manifest.json").read_bytes()).hexdigest()


def protocols(directory: Path) -> list[str]:
  """Names of the stored protocols."""
  found = sorted((directory / "splits").glob("*/split.json"))
  names = [p.parent.name for p in found if p.parent.suffix not in (_PARTIAL, _OLDER)]
  return [name.replace("-of-", "/").replace("-", ":") for name in names]


def is_current(directory: Path, protocol: str) -> bool:
  """Whether the protocol's splits are stored, whole, and of the images that are there now."""
  try:
    return bool(describe(directory, protocol))
  except UserError:
    return False


def describe(directory: Path, protocol: str) -> dict[str, Any]:
  """What `save` returned. UserError if the protocol is not stored, or damaged."""
  path = folder(directory, protocol) / "split.json"
  try:
    stored = json.loads(path.read_text(encoding="utf-8"))
    if stored["content"] != _content(directory):
      raise ValueError("it is of other images")
    return stored
  except (ValueError, KeyError, TypeError) as error:
    raise UserError(f"{path} is damaged ({error}); delete its folder and split anew") from error
  except OSError as error:
    known = protocols(directory)
    raise UserError(
      f"{directory} has no splits by the protocol {protocol!r}, only by "
      f"{', '.join(known) or 'none'}; make them: "
      f"jaxt2i data split --data {directory} --protocol {protocol}"
    ) from error


def load(directory: Path, protocol: str, split: str) -> Selection:
  """Reads a split. UserError if it does not exist or is damaged."""
  stored = describe(directory, protocol)
  if split not in stored["splits"]:
    raise UserError(f"split {split!r} does not exist; {suggest(split, stored['splits'])}")
  path = folder(directory, protocol) / f"{split}.npy"
  try:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != stored["splits"][split]["sha256"]:
      raise ValueError("its hash differs")
    selected = np.load(path, allow_pickle=False)
  except (OSError, ValueError) as error:
    raise UserError(f"{path} is damaged ({error}); delete its folder and split anew") from error
  sha256, note = stored["splits"][split]["sha256"], stored["note"]
  if selected.ndim == 1:
    return Selection(selected, None, sha256, note)
  rows, starts = np.unique(selected[:, 0], return_index=True)
  ends = np.append(starts, len(selected)).astype(np.int64)
  return Selection(rows, (selected[:, 1], ends), sha256, note)
