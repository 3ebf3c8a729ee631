"""The text tokenizer: byte-pair encoding learnt on training captions (Sennrich et al. 2016)."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tokenizers
from jaxtyping import Int32
from tokenizers import models, normalizers, pre_tokenizers, trainers

from jaxt2i.errors import UserError

# Its threads bring nothing on one caption, and it writes a warning when a process forks later.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

PAD, UNK = 0, 1
_SPECIAL = ["[PAD]", "[UNK]"]
_FORMAT = 1


class TextTokenizer:
  """Captions to token ids, NFKC-normalised and lower-cased; id 0 is padding, 1 is unknown.

  Attributes:
    vocab_size: number of ids, padding and unknown included.
    max_length: number of ids a caption is padded or cut to.
    fingerprint: sha256 hex of all that the ids depend on.
  """

  def __init__(self, bpe: str, words: Sequence[str], max_length: int):
    """Use `train` or `load`. Args: the library's JSON, words of the training captions, length."""
    self._bpe = tokenizers.Tokenizer.from_str(bpe)
    # Otherwise "[PAD]" typed into a caption would become id 0.
    self._bpe.encode_special_tokens = True
    self._content = {"format": _FORMAT, "max_length": max_length, "words": sorted(words)}
    self._content["bpe"] = json.loads(bpe)
    self._words = frozenset(words)
    self.max_length = max_length
    self.vocab_size: int = self._bpe.get_vocab_size()
    text = json.dumps(self._content, sort_keys=True)
    self.fingerprint: str = hashlib.sha256(text.encode()).hexdigest()

  @classmethod
  def train(cls, captions: Iterable[str], *, vocab_size: int, max_length: int) -> "TextTokenizer":
    """Learns a vocabulary; the same captions in any order give the same one.

    Args:
      captions: of the training split only.
      vocab_size: upper bound of the number of ids, 8 or more; half of them at most are single
        characters, the rarest of which become unknown.
      max_length: see the class; 1 or more.

    Raises:
      UserError: a number out of range, or no words to learn from.
    """
    if vocab_size < 8 or max_length < 1:
      raise UserError(
        f"vocab_size {vocab_size} and max_length {max_length}: expected 8 or more and 1 or more"
      )
    bpe = tokenizers.Tokenizer(models.BPE(unk_token=_SPECIAL[UNK]))
    bpe.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
      vocab_size=vocab_size,
      limit_alphabet=vocab_size // 2,
      special_tokens=_SPECIAL,
      show_progress=False,
    )
    ordered = sorted(_encodable(caption) for caption in captions)
    words = {word for caption in ordered for word in _split(bpe, caption)}
    if not words:
      raise UserError("no captions with words in them: a text tokenizer needs some to learn from")
    bpe.train_from_iterator(ordered, trainer=trainer)
    return cls(bpe.to_str(), sorted(words), max_length)

  def __call__(self, captions: Sequence[str]) -> Int32[np.ndarray, "B T"]:
    """Ids of each caption, padded with 0 or cut to `max_length`; "" gives padding alone."""
    ids = np.full((len(captions), self.max_length), PAD, np.int32)
    for row, caption in zip(ids, captions, strict=True):
      tokens = self._bpe.encode(_encodable(caption)).ids[: self.max_length]
      row[: len(tokens)] = tokens
    return ids

  def num_tokens(self, caption: str) -> int:
    """How many ids the caption has before it is cut."""
    return len(self._bpe.encode(_encodable(caption)).ids)

  def words(self, caption: str) -> list[str]:
    """The distinct words of a caption, as the tokenizer sees them, in order."""
    return _split(self._bpe, _encodable(caption))

  def unknown_words(self, caption: str) -> list[str]:
    """Those of `words` that no training caption contains."""
    return [word for word in self.words(caption) if word not in self._words]

  def save(self, path: Path) -> None:
    """Writes one JSON file; UserError if that is not possible."""
    content = {**self._content, "fingerprint": self.fingerprint}
    try:
      path.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
      raise UserError(f"cannot write the text tokenizer to {path}: {error.strerror}") from error

  @classmethod
  def load(cls, path: Path) -> "TextTokenizer":
    """Reads what `save` wrote; executes nothing. UserError if it is missing or damaged."""
    try:
      content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
      raise UserError(f"cannot read the text tokenizer {path}: {error.strerror}") from error
    except ValueError as error:
      raise UserError(f"text tokenizer {path} is damaged: it is not JSON; restore it") from error
    try:
      tokenizer = cls(json.dumps(content["bpe"]), content["words"], content["max_length"])
      intact = content["format"] == _FORMAT and tokenizer.fingerprint == content["fingerprint"]
    except Exception as error:  # the library raises bare Exception for a bad vocabulary
      raise UserError(
        f"text tokenizer {path} is damaged ({type(error).__name__}); restore it"
      ) from error
    if not intact:
      raise UserError(f"text tokenizer {path} is damaged (its fingerprint differs); restore it")
    return tokenizer


def _encodable(caption: str) -> str:
  """The caption without lone surrogates, which a command line may pass and UTF-8 cannot hold."""
  return caption.encode("utf-8", "replace").decode("utf-8")


def _split(bpe: tokenizers.Tokenizer, caption: str) -> list[str]:
  """Distinct words, in order, without punctuation."""
  pieces = bpe.pre_tokenizer.pre_tokenize_str(bpe.normalizer.normalize_str(caption))
  return list(dict.fromkeys(word for word, _ in pieces if any(map(str.isalnum, word))))
