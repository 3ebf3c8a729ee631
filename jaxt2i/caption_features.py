"""Features of a data set's captions, computed once and kept in a file."""

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from jaxt2i.models.minilm import WIDTH
from jaxt2i.sentence import SentenceEncoder

logger = logging.getLogger(__name__)

_AT_ONCE = 1024  # captions whose padded features are in memory


class CaptionFeatures:
  """What a `SentenceEncoder` made of known captions; is called as it is and gives the same.

  Attributes:
    max_length: that of the encoder.
  """

  def __init__(
    self,
    captions: Sequence[str],
    lengths: Int64[np.ndarray, " n"],
    rows: Float32[np.ndarray, "R 384"],
    max_length: int,
  ):
    """Use `of_known`. Args: different captions, how many rows each has, all rows, T."""
    ends = np.cumsum(lengths)
    self._rows = rows
    self._spans = dict(zip(captions, zip(ends - lengths, ends, strict=True), strict=True))
    self.max_length = max_length

  def __call__(self, captions: Sequence[str]) -> Float32[np.ndarray, "B T 384"]:
    """Features of each caption, padded with 0; KeyError for one that is not known."""
    features = np.zeros((len(captions), self.max_length, WIDTH), np.float32)
    for padded, caption in zip(features, captions, strict=True):
      start, end = self._spans[caption]
      padded[: end - start] = self._rows[start:end]
    return features


def of_known(
  captions: Iterable[str], encoder: SentenceEncoder, keep: Path | None
) -> CaptionFeatures:
  """Features of all the captions: from the file if it has them whole, else computed and written.

  Args:
    captions: any number of times each, in any order; "" is added.
    encoder: computes what is missing.
    keep: an `.npz` of the features without padding, sealed with a hash of them and of all that
      they depend on: weights, word pieces, length, captions. None: nothing is read or written.
  """
  known = sorted({"", *captions})
  identity = hashlib.sha256(json.dumps([encoder.fingerprint, known]).encode()).hexdigest()
  found = None if keep is None else _read(keep, identity)
  if found is None:
    logger.info(f"features of {len(known):,} captions are computed")
    found = _computed(known, encoder)
    if keep is not None:
      _write(keep, identity, *found)
  return CaptionFeatures(known, *found, encoder.max_length)


def _computed(known: Sequence[str], encoder: SentenceEncoder) -> tuple[np.ndarray, np.ndarray]:
  """Lengths [n] int64 and rows [R, 384] float32."""
  lengths, rows = [np.zeros(0, np.int64)], [np.zeros((0, WIDTH), np.float32)]
  for start in range(0, len(known), _AT_ONCE):
    features = encoder(known[start : start + _AT_ONCE])
    mask = np.any(features != 0, axis=-1)
    lengths.append(np.count_nonzero(mask, axis=1).astype(np.int64))
    rows.append(features[mask])
  return np.concatenate(lengths), np.concatenate(rows)


def _read(path: Path, identity: str) -> tuple[np.ndarray, np.ndarray] | None:
  """Lengths and rows; None if there is no such file, or it is another one or damaged."""
  if not path.exists():
    return None
  try:
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
      lengths, rows = file["lengths"], file["rows"]
      whole = str(file["seal"]) == _seal(identity, lengths, rows)
  except Exception as error:  # what is no such file can end in most of what Python raises
    logger.warning(f"{path} is damaged ({type(error).__name__}): features are computed again")
    return None
  if not whole:
    logger.info(f"{path} is of other captions or weights, or damaged")
    return None
  return lengths, rows


def _write(path: Path, identity: str, lengths: np.ndarray, rows: np.ndarray) -> None:
  partial = path.with_name(f"{path.name}.partial")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("wb") as file:
      np.savez(file, lengths=lengths, rows=rows, seal=np.array(_seal(identity, lengths, rows)))
    partial.replace(path)  # at once: a killed start leaves no half a file under this name
  except OSError as error:
    # What was computed can be used all the same.
    logger.warning(f"cannot keep features of captions in {path}: {error.strerror or error}")


def _seal(identity: str, *arrays: np.ndarray) -> str:
  digest = hashlib.sha256(identity.encode())
  for array in arrays:
    digest.update(f"{array.dtype.str} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
  return digest.hexdigest()
