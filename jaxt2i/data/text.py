"""Text tokenizers learnt on training captions: byte pairs (Sennrich et al. 2016), words, bytes."""

import functools
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from jaxtyping import Int32
from tokenizers import models, normalizers, pre_tokenizers, trainers

from jaxt2i import json_file
from jaxt2i.errors import UserError

# Its threads bring nothing on one caption, and it writes a warning when a process forks later.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

PAD, UNK = 0, 1
KINDS = ("bpe", "word", "label", "byte")
_SPECIAL = ["[PAD]", "[UNK]"]
_FORMAT = 2  # 1 knew byte pairs only
_NORMALIZER = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
_WORDS = pre_tokenizers.Whitespace()  # words and runs of punctuation


class TextTokenizer:
  """Captions to token ids, NFKC-normalised and lower-cased; id 0 is padding, 1 is unknown.

  Kinds: "bpe", pieces of words, the more frequent the longer; "word", the most frequent words, all
  others are unknown; "label", whole captions in the same way: names of classes; "byte", the bytes
  of UTF-8, id − 2 is the byte and nothing is ever unknown.

  Attributes:
    kind: one of KINDS.
    vocab_size: number of ids, padding and unknown included.
    max_length: number of ids a caption is padded or cut to.
    fingerprint: sha256 hex of all that the ids depend on.
  """

  def __init__(self, kind: str, library: str, words: Sequence[str], max_length: int):
    """Use `train` or `load`. Args: kind, the library's JSON, the words that are known, length."""
    self._library = tokenizers.Tokenizer.from_str(library)
    # Otherwise "[PAD]" typed into a caption would become id 0.
    self._library.encode_special_tokens = True
    self._content = {"format": _FORMAT, "kind": kind, "max_length": max_length}
    self._content |= {"words": sorted(words), "tokenizer": json.loads(library)}
    self._words = frozenset(words)
    self.kind = kind
    self.max_length = max_length
    self.vocab_size: int = self._library.get_vocab_size()
    text = json.dumps(self._content, sort_keys=True)
    self.fingerprint: str = hashlib.sha256(text.encode()).hexdigest()

  @classmethod
  def train(
    cls, captions: Iterable[str], *, vocab_size: int, max_length: int, kind: str = "bpe"
  ) -> "TextTokenizer":
    """Learns a vocabulary; the same captions in any order give the same one.

    Args:
      captions: of the training split only.
      vocab_size: upper bound of the number of ids, 8 or more, of bytes 258; of byte pairs half of
        them at most are single characters, the rarest of which become unknown.
      max_length: see the class; 1 or more.
      kind: one of KINDS.

    Raises:
      UserError: an unknown kind, a number out of range, or no words to learn from.
    """
    require_possible(vocab_size, max_length, kind)
    ordered = sorted(encodable(caption) for caption in captions)
    words = {word for caption in ordered for word in _split(caption)}
    if not words:
      raise UserError("no captions with words in them: a text tokenizer needs some to learn from")
    library = _LEARN[kind](ordered, vocab_size)
    if kind == "word":  # to the model, a word too rare to be kept is as unknown as one never seen
      words &= library.get_vocab().keys()
    return cls(kind, library.to_str(), sorted(words), max_length)

  def __reduce__(self) -> tuple[Any, ...]:
    # The library forgets `encode_special_tokens` on the way to another process.
    content = self._content
    library = json.dumps(content["tokenizer"])
    return TextTokenizer, (self.kind, library, content["words"], self.max_length)

  def __call__(self, captions: Sequence[str]) -> Int32[np.ndarray, "B T"]:
    """Ids of each caption, padded with 0 or cut to `max_length`; "" gives padding alone."""
    ids = np.full((len(captions), self.max_length), PAD, np.int32)
    for row, caption in zip(ids, captions, strict=True):
      tokens = self.ids(caption)[: self.max_length]
      row[: len(tokens)] = tokens
    return ids

  def ids(self, caption: str) -> list[int]:
    """All ids of the caption, neither padded nor cut."""
    return self._library.encode(encodable(caption)).ids

  def num_tokens(self, caption: str) -> int:
    """How many ids the caption has before it is cut."""
    return len(self.ids(caption))

  @functools.cached_property
  def vocabulary(self) -> tuple[str, ...]:
    """What each id stands for, the first two being "[PAD]" and "[UNK]"; words by frequency."""
    names = self._library.get_vocab()
    return tuple(sorted(names, key=names.__getitem__))

  def words(self, caption: str) -> list[str]:
    """The distinct words of a caption, as the tokenizer sees them, in order."""
    return _split(encodable(caption))

  def unknown_words(self, caption: str) -> list[str]:
    """Those of `words` that no training caption contains or, of kind "word", too few of them."""
    return [word for word in self.words(caption) if word not in self._words]

  def notes(self, prompt: str) -> list[str]:
    """What of a prompt a model cannot use, a sentence each: tokens too many, unknown words."""
    if self.kind == "label":
      known = UNK not in self.ids(prompt)
      return [] if known else ["the prompt is none of the captions that the model knows."]
    notes = []
    tokens = self.num_tokens(prompt)
    if tokens > self.max_length:
      notes.append(f"the prompt has {tokens} tokens; the first {self.max_length} are used.")
    words, unknown = self.words(prompt), self.unknown_words(prompt)
    if unknown:
      shown, share = ", ".join(unknown[:8]), len(unknown) / len(words)
      notes.append(f"{share:.0%} of the words never occurred in training captions: {shown}")
    return notes

  def unknown_among(self, captions: Iterable[str]) -> tuple[list[str], int]:
    """The distinct unknown words of many captions, sorted, and the number of all distinct words."""
    words = {word for caption in captions for word in self.words(caption)}
    return sorted(words - self._words), len(words)

  def save(self, path: Path) -> None:
    """Writes one JSON file; UserError if that is not possible."""
    json_file.write(path, {**self._content, "fingerprint": self.fingerprint})

  @classmethod
  def load(cls, path: Path) -> "TextTokenizer":
    """Reads what `save` wrote; executes nothing. UserError if it is missing or damaged."""
    content = json_file.read(path, {"format": int})
    found = content["format"]
    if found != _FORMAT:
      raise UserError(
        f"text tokenizer {path} has format {found}, this version reads {_FORMAT}: train the run "
        "again, or use the version that trained it"
      )
    try:
      library = json.dumps(content["tokenizer"])
      tokenizer = cls(content["kind"], library, content["words"], content["max_length"])
      intact = tokenizer.fingerprint == content["fingerprint"]
    except Exception as error:  # the library raises bare Exception for a bad vocabulary
      raise UserError(
        f"text tokenizer {path} is damaged ({type(error).__name__}); restore it"
      ) from error
    if not intact:
      raise UserError(f"text tokenizer {path} is damaged (its fingerprint differs); restore it")
    return tokenizer


def encodable(caption: str) -> str:
  """The caption without lone surrogates, which a command line may pass and UTF-8 cannot hold."""
  return caption.encode("utf-8", "replace").decode("utf-8")


def _split(caption: str) -> list[str]:
  """Distinct words, in order, without punctuation."""
  pieces = _WORDS.pre_tokenize_str(_NORMALIZER.normalize_str(caption))
  return list(dict.fromkeys(word for word, _ in pieces if any(map(str.isalnum, word))))


def require_possible(vocab_size: int, max_length: int, kind: str) -> None:
  """UserError for options of a `TextTokenizer` that cannot work."""
  if kind not in KINDS:
    raise UserError(f"text kind {kind!r}: expected one of {', '.join(map(repr, KINDS))}")
  if not (isinstance(vocab_size, int) and isinstance(max_length, int)):
    raise UserError(
      f"vocab_size {vocab_size!r} and max_length {max_length!r}: expected whole numbers"
    )
  least = 256 + len(_SPECIAL) if kind == "byte" else 8
  if vocab_size < least or max_length < 1:
    raise UserError(
      f"vocab_size {vocab_size} and max_length {max_length}: expected {least} or more "
      f"(kind {kind!r}) and 1 or more"
    )


def _learn_pairs(captions: Sequence[str], vocab_size: int) -> tokenizers.Tokenizer:
  library = _library(models.BPE(unk_token=_SPECIAL[UNK]), _WORDS)
  trainer = trainers.BpeTrainer(
    vocab_size=vocab_size,
    limit_alphabet=vocab_size // 2,
    special_tokens=_SPECIAL,
    show_progress=False,
  )
  library.train_from_iterator(captions, trainer=trainer)
  return library


def _learn_words(captions: Sequence[str], vocab_size: int) -> tokenizers.Tokenizer:
  library = _library(models.WordLevel(unk_token=_SPECIAL[UNK]), _WORDS)
  trainer = trainers.WordLevelTrainer(
    vocab_size=vocab_size, special_tokens=_SPECIAL, show_progress=False
  )
  library.train_from_iterator(captions, trainer=trainer)
  return library


def _learn_labels(captions: Sequence[str], vocab_size: int) -> tokenizers.Tokenizer:
  # The library splits at nothing where a text has no such character, and NFKC leaves none in it.
  whole = pre_tokenizers.Split("\ue000", "removed")
  library = _library(models.WordLevel(unk_token=_SPECIAL[UNK]), whole)
  trainer = trainers.WordLevelTrainer(
    vocab_size=vocab_size, special_tokens=_SPECIAL, show_progress=False
  )
  library.train_from_iterator(captions, trainer=trainer)
  return library


def _all_bytes(captions: Sequence[str], vocab_size: int) -> tokenizers.Tokenizer:
  # A fixed vocabulary: there is nothing to learn. Without merges every byte stays on its own.
  ids = {name: index for index, name in enumerate([*_SPECIAL, *_byte_names()])}
  whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
  return _library(models.BPE(vocab=ids, merges=[]), whole)


def _byte_names() -> list[str]:
  """The letter by which the library calls each byte: GPT-2's, printable bytes by their own."""
  printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
  others = iter(range(256, 512))
  return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def _library(model: Any, pre_tokenizer: Any) -> tokenizers.Tokenizer:
  library = tokenizers.Tokenizer(model)
  library.normalizer = _NORMALIZER
  library.pre_tokenizer = pre_tokenizer
  return library


_LEARN = {"bpe": _learn_pairs, "word": _learn_words, "label": _learn_labels, "byte": _all_bytes}
