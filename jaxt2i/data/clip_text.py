"""Captions to the byte pairs of CLIP (arXiv 2103.00020, §2.4), from the files that lie with one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tokenizers
from jaxtyping import Int32
from tokenizers import models, normalizers, pre_tokenizers

from jaxt2i.data.text import encodable
from jaxt2i.errors import UserError

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
# A word, a digit, a run of anything else, and English endings.
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class ClipText:
  """Captions to ids, BOS before them and EOS after.

  What is typed into a caption never becomes one of those: "<|endoftext|>" is so many signs.

  Attributes:
    max_length: T, number of ids a caption is padded or cut to, BOS and EOS included.
    eos: id of EOS.
  """

  def __init__(self, path: Path, library: tokenizers.Tokenizer, vocab_size: int, max_length: int):
    """Use `read`. Args: file that the library's tokenizer is from, number of ids, T."""
    self._library = library
    self._library.encode_special_tokens = True
    self._library.no_padding()
    self._library.no_truncation()
    self.max_length = max_length
    known = library.get_vocab()
    highest = max(known.values(), default=-1)
    if not {BOS, EOS} <= known.keys() or highest >= vocab_size:
      raise UserError(
        f"{path} has {len(known)} tokens up to id {highest}, expected {BOS} and {EOS} among them "
        f"and ids under {vocab_size}: take the file of this CLIP"
      )
    self._bos, self.eos = known[BOS], known[EOS]

  @classmethod
  def read(cls, folder: Path, vocab_size: int, max_length: int) -> "ClipText | None":
    """Of `tokenizer.json`, or `vocab.json` with `merges.txt`; None where there are none.

    Args:
      folder: where they lie.
      vocab_size: number of ids that the network knows.
      max_length: T, 2 or more.

    Raises:
      UserError: they are damaged, or of another network.
    """
    path, vocab, merges = (folder / n for n in ("tokenizer.json", "vocab.json", "merges.txt"))
    try:
      if path.exists():
        library = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
      elif vocab.exists() and merges.exists():
        path = vocab
        library = _byte_pairs(vocab, merges)
      else:
        return None
    except Exception as error:  # the library knows no others
      reason = " ".join(str(error).split())
      raise UserError(f"{path} is damaged ({reason}): restore it") from error
    return cls(path, library, vocab_size, max_length)

  def __call__(
    self, captions: Sequence[str]
  ) -> tuple[Int32[np.ndarray, "B T"], Int32[np.ndarray, " B"]]:
    """Ids, and the position of each caption's EOS; a long caption loses its end, not EOS."""
    ids = np.full((len(captions), self.max_length), self.eos, np.int32)
    ends = np.zeros(len(captions), np.int32)
    for i, caption in enumerate(captions):
      pieces = self._library.encode(encodable(caption), add_special_tokens=False).ids
      pieces = [self._bos, *pieces[: self.max_length - 2]]
      ids[i, : len(pieces)] = pieces
      ends[i] = len(pieces)
    return ids, ends


def _byte_pairs(vocab: Path, merges: Path) -> tokenizers.Tokenizer:
  """As OpenAI's: without regard to case, a sign for each byte, `</w>` where a word ends."""
  library = tokenizers.Tokenizer(
    models.BPE.from_file(
      str(vocab),
      str(merges),
      unk_token=EOS,
      continuing_subword_prefix="",
      end_of_word_suffix="</w>",
    )
  )
  blanks = normalizers.Replace(tokenizers.Regex(r"\s+"), " ")
  library.normalizer = normalizers.Sequence([normalizers.NFC(), blanks, normalizers.Lowercase()])
  words = pre_tokenizers.Split(tokenizers.Regex(_WORDS), "removed", invert=True)
  library.pre_tokenizer = pre_tokenizers.Sequence(
    [words, pre_tokenizers.ByteLevel(add_prefix_space=False)]
  )
  return library
