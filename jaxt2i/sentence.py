"""Captions to features by a frozen network that others trained on sentences: all-MiniLM-L6-v2."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, Int32

from jaxt2i import json_file, pretrained_text
from jaxt2i.data.word_pieces import WordPieces
from jaxt2i.errors import UserError
from jaxt2i.models.minilm import POSITIONS, WIDTH, MiniLM
from jaxt2i.types import Array, Variables

CHUNK = 32  # captions that are encoded at once
_FORMAT = 1  # of the features: another number if the same captions come to give others


class SentenceEncoder:
  """Captions to features of their word pieces.

  All chunks are of one shape, so the features of a caption do not depend on what is encoded beside
  it, nor on its place.

  Attributes:
    vocab_size: None, there are no ids outside.
    max_length: T, the number of word pieces that a caption is padded or cut to, of which its
      beginning and its end take one each.
    fingerprint: sha256 hex of all but the captions that features depend on.
  """

  vocab_size = None

  def __init__(self, max_length: int):
    """Reads weights and word pieces.

    Raises:
      UserError: their package is not installed or damaged, or `max_length` is out of range.
    """
    if not 3 <= max_length <= POSITIONS:
      raise UserError(f"max_length {max_length} of word pieces: expected 3 to {POSITIONS}")
    self.max_length = max_length
    self._word_pieces = WordPieces(pretrained_text.word_pieces(), max_length)
    self._params = jax.device_put(pretrained_text.minilm())
    files = (pretrained_text.WEIGHTS, pretrained_text.WORD_PIECES)
    identity = [_FORMAT, max_length, *(file.sha256 for file in files)]
    self.fingerprint: str = hashlib.sha256(json.dumps(identity).encode()).hexdigest()

  def __call__(self, captions: Sequence[str]) -> Float32[np.ndarray, "B T 384"]:
    """Features of each caption; rows of padding are 0, and "" has no others."""
    ids = self._word_pieces(captions)
    features = np.zeros((*ids.shape, WIDTH), np.float32)
    for start in range(0, len(ids), CHUNK):
      some = ids[start : start + CHUNK]
      chunk = np.pad(some, ((0, CHUNK - len(some)), (0, 0)))  # with PAD
      with jax.ensure_compile_time_eval():  # also where another function is being traced
        features[start : start + CHUNK] = _features(self._params, chunk)[: len(some)]
    return features

  def notes(self, prompt: str) -> list[str]:
    """Whether the prompt is cut."""
    pieces = self._word_pieces.num_pieces(prompt)
    if pieces <= self.max_length:
      return []
    return [f"the prompt has {pieces} word pieces; the first {self.max_length} are used."]

  def save(self, path: Path) -> None:
    """Writes which encoder it is, not its weights; UserError if that is not possible."""
    content = {"kind": "minilm", "max_length": self.max_length, "fingerprint": self.fingerprint}
    json_file.write(path, content)

  @classmethod
  def load(cls, path: Path) -> "SentenceEncoder":
    """Reads what `save` wrote; UserError if it is damaged, or of another encoder."""
    content = json_file.read(path, {"max_length": int, "fingerprint": str})
    encoder = cls(content["max_length"])
    if encoder.fingerprint != content["fingerprint"]:
      raise UserError(f"{path} is of another sentence encoder than this version has: train again")
    return encoder


@jax.jit
def _features(params: Variables, ids: Int32[Array, "B T"]) -> Float32[Array, "B T 384"]:
  # Alike on all devices: what one computes and keeps, another reads.
  with jax.default_matmul_precision("highest"):
    features: Any = MiniLM().apply({"params": params}, ids)
  return features
