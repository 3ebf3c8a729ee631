"""`jaxt2i words train|neighbours`: vectors of words, learnt from captions."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxt2i.errors import UsageError, UserError

if TYPE_CHECKING:
  from jaxt2i.word_vectors import WordVectors

_ACTIONS = {
  "train": "learns vectors from captions by word2vec, writes them and shows some neighbours",
  "neighbours": "shows the nearest neighbours of words, in a file of word2vec's or of GloVe's",
}
# Those of `word2vec.Options` that one may want to change; it has the defaults.
_OPTIONS = {
  "kind": (str, "skipgram or cbow (default: skipgram)"),
  "dim": (int, "numbers a word (default: 64)"),
  "vocab_size": (int, "most words to keep (default: 10000)"),
  "window": (int, "words to either side that are context (default: 5)"),
  "negatives": (int, "random words an example (default: 5)"),
  "subsample": (float, "share from which on frequent words are left out (default: 0.001)"),
  "epochs": (int, "times the captions are read (default: 20)"),
  "learning_rate": (float, "of the first step (default: 0.025)"),
  "seed": (int, "(default: 0)"),
}
_SHOWN = 10  # words whose neighbours are shown if none are named


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The options of `jaxt2i words`, of each of its actions."""
  actions = parser.add_subparsers(dest="action", required=True, metavar="|".join(_ACTIONS))
  train, neighbours = (
    actions.add_parser(
      name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
    )
    for name, text in _ACTIONS.items()
  )
  train.add_argument("--data", help="folder of prepared data, whose training captions are read")
  train.add_argument("--protocol", default="image", help="of its splits (default: image)")
  train.add_argument("--captions", help="instead of --data: a text file, one caption a line")
  train.add_argument("--out", required=True, help="file to write, in word2vec's text format")
  for name, (kind, text) in _OPTIONS.items():
    train.add_argument(f"--{name}", type=kind, help=text)
  neighbours.add_argument("--vectors", required=True, help="file of word vectors")
  neighbours.add_argument("words", nargs="*", help="(default: the most frequent)")
  for each in (train, neighbours):
    each.add_argument("--n", type=int, default=6, help="neighbours of each word (default: 6)")


def run(args: argparse.Namespace) -> int:
  """Runs the action."""
  if args.n < 1:
    raise UsageError(f"--n is {args.n}: must be 1 or more.")
  return {"train": _train, "neighbours": _neighbours}[args.action](args)


def _train(args: argparse.Namespace) -> int:
  if bool(args.data) == bool(args.captions):
    raise UsageError("give either --data or --captions.")
  from jaxt2i import word2vec

  given = {name: getattr(args, name) for name in _OPTIONS}
  options = word2vec.Options(**{name: v for name, v in given.items() if v is not None})
  captions = _of_data(Path(args.data), args.protocol) if args.data else _of_file(args.captions)
  vectors = word2vec.train(captions, options)
  vectors.save(Path(args.out))
  print(f"{len(vectors.words):,} words of {len(captions):,} captions: {args.out}")
  _show(vectors, _frequent(vectors), args.n)
  return 0


def _neighbours(args: argparse.Namespace) -> int:
  from jaxt2i.word_vectors import WordVectors

  vectors = WordVectors.load(Path(args.vectors))
  _show(vectors, args.words or _frequent(vectors), args.n)
  return 0


def _of_data(directory: Path, protocol: str) -> list[str]:
  """Captions of the training split."""
  from jaxt2i.data import prepared, split_files

  rows = prepared.Rows(directory, min(prepared.read_manifest(directory)["image_sizes"]))
  return [caption for _, caption in split_files.load(directory, protocol, "train").pairs(rows)]


def _of_file(name: str) -> list[str]:
  try:
    return Path(name).read_text(encoding="utf-8-sig").splitlines()
  except OSError as error:
    raise UserError(f"cannot read --captions {name}: {error.strerror}") from error
  except UnicodeDecodeError as error:
    raise UserError(f"--captions {name} is not UTF-8: save the file as UTF-8") from error


def _frequent(vectors: "WordVectors") -> list[str]:
  """The most frequent words that mean something."""
  from jaxt2i.analysis.words import STOP_WORDS

  telling = (w for w in vectors.words if w.isalpha() and len(w) > 1 and w not in STOP_WORDS)
  return [word for word, _ in zip(telling, range(_SHOWN), strict=False)]


def _show(vectors: "WordVectors", words: Sequence[str], n: int) -> None:
  found = {word: vectors.neighbours(word, n) for word in words}  # all, before a line is printed
  width = max(map(len, found), default=0)
  for word, near in found.items():
    print(f"{word:<{width}}  " + "  ".join(f"{other} {cosine:.2f}" for other, cosine in near))
