"""What makes a caption into what a text encoder reads: ids of its pieces, or features."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxt2i import caption_features, json_file
from jaxt2i.data.text import KINDS, TextTokenizer, require_possible
from jaxt2i.errors import UsageError
from jaxt2i.feature_file import FeatureFile
from jaxt2i.sentence import SentenceEncoder

TEXT_FILE = "text.json"  # of a run
# What `config.text` has for kinds that give features, beside the kind.
_OPTIONS: Mapping[str, tuple[str, ...]] = {"minilm": ("max_length",), "file": ("path",)}


@runtime_checkable
class TextProcessor(Protocol):
  """Captions to arrays; "" gives padding alone.

  Attributes:
    fingerprint: sha256 hex of all that the arrays depend on.
  """

  fingerprint: str

  @property
  def vocab_size(self) -> int | None:
    """Number of ids; None where captions become features."""
    ...

  def __call__(self, captions: Sequence[str]) -> np.ndarray:
    """Ids int32 [B, T], 0 being padding, or features float32 [B, T, F], padded with rows of 0."""
    ...

  def notes(self, prompt: str) -> list[str]:
    """What of a prompt the model cannot use, a sentence each."""
    ...

  def save(self, path: Path) -> None:
    """Writes one JSON file, which `load` reads; UserError if that is not possible."""
    ...


def check(section: Mapping[str, Any]) -> int | None:
  """Looks at `config.text` without any captions.

  Returns:
    The bound of the number of ids; None where captions become features.

  Raises:
    UsageError: an unknown kind, or options of another one. UserError: a number out of range.
  """
  kind = section.get("kind", "")
  if kind not in (*KINDS, *_OPTIONS):
    known = ", ".join(map(repr, (*KINDS, *_OPTIONS)))
    raise UsageError(f"config.text.kind is {kind!r}: must be one of {known}.")
  expected = _OPTIONS.get(kind, ("vocab_size", "max_length"))
  given = tuple(name for name in section if name != "kind")
  if set(given) != set(expected):
    raise UsageError(
      f"config.text has {', '.join(given)}: kind {kind!r} takes {', '.join(expected)}; choose it "
      "after the colon, as in --config=configs/prior.py:minilm."
    )
  if kind in _OPTIONS:
    return None
  require_possible(**section)
  return int(section["vocab_size"])


def make(section: Mapping[str, Any], captions: Iterable[str]) -> TextProcessor:
  """The processor of `config.text`.

  Args:
    section: `kind` and its options; see `configs/prior.py`.
    captions: those of the training split, which a tokenizer learns from.

  Raises:
    UsageError, UserError: see `check` and the kinds.
  """
  check(section)
  kind = section["kind"]
  if kind == "minilm":
    return SentenceEncoder(section["max_length"])
  if kind == "file":
    return FeatureFile(Path(section["path"]))
  return TextTokenizer.train(captions, **section)


def load(path: Path) -> TextProcessor:
  """Reads what `save` wrote; executes nothing. UserError if it is missing or damaged."""
  loaders: Mapping[str, Callable[[Path], TextProcessor]]
  loaders = {"minilm": SentenceEncoder.load, "file": FeatureFile.load}
  kind = json_file.read(path, {}).get("kind")
  return loaders.get(str(kind), TextTokenizer.load)(path)  # which says what is wrong


def of_known(
  processor: TextProcessor, captions: Iterable[str], keep: Path | None = None
) -> Callable[[Sequence[str]], np.ndarray]:
  """What gives the same arrays for these captions, without a network in the way of training.

  Args:
    processor: any.
    captions: all that will be asked for; "" may be in any case.
    keep: where features that took time are kept; None: in memory.

  Raises:
    UserError: a file of features lacks one of the captions.
  """
  if isinstance(processor, SentenceEncoder):
    return caption_features.of_known(captions, processor, keep)
  if isinstance(processor, FeatureFile):
    processor.require(captions)
  return processor
