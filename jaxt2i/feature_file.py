"""Features of captions that other networks made (T5, CLIP, ...), read from a file."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from jaxt2i import json_file
from jaxt2i.errors import UserError

_EXPECTED = "expected an .npz with captions [n] and features [n, T, F] or [n, F] as np.savez writes"


class FeatureFile:
  """Features of the captions in an `.npz`: `captions` [n], strings, and `features`, floats.

  Features are [n, T, F], a row a word, rows of 0 being padding at the end, or [n, F], one row a
  caption. Captions are compared as they are written.

  Attributes:
    vocab_size: None, there are no ids.
    fingerprint: sha256 hex of the content.
  """

  vocab_size = None

  def __init__(self, path: Path):
    """Reads the file; UserError if it is not such a file."""
    self._path = path
    captions, features = _read(path)
    self._features = features[:, None] if features.ndim == 2 else features
    self._rows = {caption: row for row, caption in enumerate(captions)}
    if len(self._rows) != len(captions):
      raise UserError(
        f"{path} has {len(captions)} captions, of which {len(self._rows)} differ: expected each "
        "once; leave the others out"
      )
    digest = hashlib.sha256(json.dumps(captions).encode())
    digest.update(f"{features.dtype.str} {features.shape}".encode())
    digest.update(np.ascontiguousarray(features).data)
    self.fingerprint: str = digest.hexdigest()

  def __call__(self, captions: Sequence[str]) -> Float32[np.ndarray, "B T F"]:
    """Features of each caption, of "" only padding; UserError for one that the file lacks."""
    self.require(captions)
    features = np.zeros((len(captions), *self._features.shape[1:]), np.float32)
    for row, caption in zip(features, captions, strict=True):
      if caption:
        row[:] = self._features[self._rows[caption]]
    return features

  def require(self, captions: Iterable[str]) -> None:
    """UserError unless the file has all of these captions; "" needs none."""
    missing = list(dict.fromkeys(c for c in captions if c and c not in self._rows))
    if missing:
      raise UserError(
        f"{self._path} has features of {len(self._rows):,} captions and lacks {len(missing):,} "
        f"that are asked for, the first of them {missing[0]!r}: add them, and train again"
      )

  def notes(self, prompt: str) -> list[str]:
    """Nothing: a prompt is in the file, or refused."""
    return []

  def save(self, path: Path) -> None:
    """Writes where the file lies and what is in it; UserError if that is not possible."""
    content = {"kind": "file", "path": str(self._path.absolute()), "fingerprint": self.fingerprint}
    json_file.write(path, content)

  @classmethod
  def load(cls, path: Path) -> "FeatureFile":
    """Reads what `save` wrote; UserError if the file of features is gone or another one."""
    content = json_file.read(path, {"path": str, "fingerprint": str})
    found = cls(Path(content["path"]))
    if found.fingerprint != content["fingerprint"]:
      raise UserError(
        f"{content['path']} is not the file of features that the run was trained with (its "
        "fingerprint differs): restore it, or train again"
      )
    return found


def _read(path: Path) -> tuple[list[str], np.ndarray]:
  """Captions, and features [n, T, F] or [n, F]."""
  try:
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
      captions, features = file["captions"], file["features"]
  except OSError as error:
    raise UserError(f"cannot read features of captions {path}: {error.strerror}") from error
  except Exception as error:  # what is no such file can end in most of what Python raises
    raise UserError(f"{path}: {type(error).__name__}, {_EXPECTED}") from error
  strings = captions.ndim == 1 and captions.dtype.kind == "U"
  floats = features.ndim in (2, 3) and features.dtype.kind == "f"
  if not (strings and floats and len(captions) == len(features) and features.size):
    raise UserError(
      f"{path} has captions {captions.dtype} {list(captions.shape)} and features "
      f"{features.dtype} {list(features.shape)}, {_EXPECTED}"
    )
  if not np.isfinite(features).all():
    raise UserError(f"{path} has features that are not finite: make them again")
  return captions.tolist(), features
