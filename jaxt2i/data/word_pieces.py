"""Captions to the word pieces of a pretrained network (WordPiece, arXiv 1609.08144)."""

from collections.abc import Sequence

import numpy as np
import tokenizers
from jaxtyping import Int32

from jaxt2i.data.text import PAD, encodable

_ENDS = 2  # [CLS] and [SEP]


class WordPieces:
  """Captions to ids, [CLS] before them and [SEP] after; id 0 is padding.

  What is typed into a caption never becomes one of the ids with a meaning of their own: "[PAD]"
  is a word between brackets.

  Attributes:
    max_length: number of ids a caption is padded or cut to, [CLS] and [SEP] included.
  """

  def __init__(self, library: str, max_length: int):
    """Args: the library's JSON, whose own padding and length are not used; 3 or more."""
    self._library = tokenizers.Tokenizer.from_str(library)
    self._library.encode_special_tokens = True
    self._library.no_padding()
    self._library.no_truncation()
    self.max_length = max_length

  def __call__(self, captions: Sequence[str]) -> Int32[np.ndarray, "B T"]:
    """Ids of each caption; one without words ("", blanks) gives padding alone."""
    ids = np.full((len(captions), self.max_length), PAD, np.int32)
    for row, caption in zip(ids, captions, strict=True):
      pieces = self._library.encode(encodable(caption)).ids
      if len(pieces) > self.max_length:
        pieces = [*pieces[: self.max_length - 1], pieces[-1]]  # [SEP] stays
      if len(pieces) > _ENDS:
        row[: len(pieces)] = pieces
    return ids

  def num_pieces(self, caption: str) -> int:
    """How many ids the caption has before it is cut."""
    return len(self._library.encode(encodable(caption)).ids)
