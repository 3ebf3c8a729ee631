"""Word vectors: nearest neighbours, text files (word2vec's and GloVe's), a text encoder's start."""

import dataclasses
import difflib
import functools
import itertools
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from jaxt2i.data.text import UNK, TextTokenizer
from jaxt2i.errors import UserError
from jaxt2i.text import TextProcessor

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class WordVectors:
  """A vector for each of some words, which are distinct and begin with the most frequent."""

  words: tuple[str, ...]
  vectors: Float32[np.ndarray, "V D"]

  @functools.cached_property
  def index(self) -> Mapping[str, int]:
    """The row of each word."""
    return {word: row for row, word in enumerate(self.words)}

  def neighbours(self, word: str, n: int) -> list[tuple[str, float]]:
    """The n words whose vectors make the smallest angles with that of `word`; with the cosines.

    The nearest comes first, of equally near ones the more frequent; `word` itself is left out, and
    so is a vector of zeros, which has no angle.

    Raises:
      UserError: `word` has no vector, or one of zeros.
    """
    row = self.index.get(word)
    if row is None or not self._directions[row].any():
      close = difflib.get_close_matches(word, self.words, n=1)
      meant = f"did you mean {close[0]!r}?" if close and row is None else "choose another word"
      raise UserError(f"no vector of {word!r} among {len(self.words)} words; {meant}")
    cosines = self._directions @ self._directions[row]
    usable = np.linalg.norm(self._directions, axis=1) > 0
    usable[row] = False
    order = [int(i) for i in np.argsort(-cosines, kind="stable") if usable[i]]
    return [(self.words[i], float(cosines[i])) for i in order[:n]]

  @functools.cached_property
  def _directions(self) -> Float32[np.ndarray, "V D"]:
    """The vectors at length 1, or 0."""
    lengths = np.linalg.norm(self.vectors, axis=1, keepdims=True)
    return np.divide(self.vectors, lengths, out=np.zeros_like(self.vectors), where=lengths > 0)

  def save(self, path: Path) -> None:
    """Writes word2vec's text format: "V D", then a word and its numbers a line.

    `load` gives back the same bits. UserError if the file cannot be written.
    """
    try:
      with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"{len(self.words)} {self.vectors.shape[1]}\n")
        for word, vector in zip(self.words, self.vectors, strict=True):
          file.write(" ".join([word, *map(str, vector)]) + "\n")
    except OSError as error:
      raise UserError(f"cannot write word vectors to {path}: {error.strerror}") from error

  @classmethod
  def load(cls, path: Path) -> "WordVectors":
    """Reads word2vec's text format, or GloVe's: the same without the first line.

    A word may contain spaces, as some of GloVe's do: the last D fields are the numbers.

    Raises:
      UserError: the file cannot be read, or is not in this format; names the line.
    """
    lines = _lines(path)
    first_line = next(lines, "")
    first = first_line.split(" ")
    header = len(first) == 2 and all(part.isdecimal() for part in first)
    dim = int(first[1]) if header else len(first) - 1
    if dim < 1:
      raise UserError(
        f"{path} line 1: no word vectors, expected 'V D' or a word and its numbers; choose another "
        "file"
      )
    words: dict[str, int] = {}
    rows: list[np.ndarray] = []
    start = 2 if header else 1
    following = lines if header else itertools.chain([first_line], lines)
    for number, line in enumerate(following, start):
      word, vector = _parse(line, dim, f"{path} line {number}")
      if word in words:
        raise UserError(
          f"{path} line {number}: the word {word!r} again, expected each once (line "
          f"{start + words[word]}); delete one of the lines"
        )
      words[word] = len(rows)
      rows.append(vector)
    if not rows or (header and len(rows) != int(first[0])):
      raise UserError(
        f"{path}: {len(rows)} words follow, expected 1 or more, and {first[0]} by line 1; fetch "
        "the file again"
      )
    return cls(tuple(words), np.stack(rows))


def _lines(path: Path) -> Iterator[str]:
  """Lines without their ends. UserError if the file cannot be read or is not UTF-8."""
  number = 0
  try:
    with path.open("rb") as file:
      for number, line in enumerate(file, 1):  # noqa: B007  (named by the error below)
        yield line.decode("utf-8").rstrip(" \r\n")  # word2vec's own files have a space at the end
  except UnicodeDecodeError as error:
    raise UserError(
      f"{path} line {number}: not UTF-8, expected a text file (not the binary format); convert it"
    ) from error
  except OSError as error:
    raise UserError(f"cannot read word vectors {path}: {error.strerror}") from error


def _parse(line: str, dim: int, where: str) -> tuple[str, Float32[np.ndarray, " D"]]:
  word, *numbers = line.rsplit(" ", dim)
  try:
    with np.errstate(over="ignore"):  # too large for float32: not finite, which is refused below
      vector = np.asarray([float(number) for number in numbers], np.float32)
  except ValueError:
    vector = np.zeros(0, np.float32)
  if not word or len(vector) != dim or not np.isfinite(vector).all():
    raise UserError(
      f"{where}: {line[:40]!r}, expected a word and {dim} finite numbers; fetch the file again"
    )
  return word, vector


def into_encoder(
  params: Mapping[str, Any], vectors: WordVectors, tokenizer: TextProcessor
) -> dict[str, Any]:
  """Parameters of a text encoder whose embeddings of known words are these vectors.

  All of them are scaled by one number, so that they are on average as long as the embeddings that
  they replace: word2vec's lengths are several times those that networks start from. Padding, the
  unknown word and words without a vector keep what they have.

  Args:
    params: of `TextEncoder` or `RecurrentTextEncoder`: `embed/embedding` is float32 [vocab, D].
    vectors: of D numbers.
    tokenizer: the encoder's, of kind "word".

  Raises:
    UserError: the tokenizer's ids are not words or not as many as embeddings, D differs, or no
      word of the tokenizer has a vector.
  """
  table = jnp.asarray(params["embed"]["embedding"])
  if not isinstance(tokenizer, TextTokenizer) or tokenizer.kind != "word":
    raise UserError("word vectors need a text of kind 'word': choose --config.text.kind=word")
  if table.shape != (tokenizer.vocab_size, vectors.vectors.shape[1]):
    raise UserError(
      f"embeddings are {list(table.shape)}, expected [{tokenizer.vocab_size}, "
      f"{vectors.vectors.shape[1]}] for this tokenizer and these word vectors; choose an encoder "
      "or vectors of another size"
    )
  ids = range(UNK + 1, tokenizer.vocab_size)
  known = [i for i in ids if tokenizer.vocabulary[i] in vectors.index]
  if not known:
    raise UserError(
      f"none of the tokenizer's {len(ids)} words is among the {len(vectors.words)} word vectors; "
      "choose others (the tokenizer's words are in lower case)"
    )
  rows = vectors.vectors[[vectors.index[tokenizer.vocabulary[i]] for i in known]]
  places = np.asarray(known)
  scale = jnp.sqrt(jnp.mean(jnp.square(table[places])) / max(np.mean(np.square(rows)), 1e-12))
  table = table.at[places].set(scale * rows)
  logger.info(f"word vectors of {len(known)} of {len(ids)} words")
  return {**params, "embed": {**params["embed"], "embedding": table}}
