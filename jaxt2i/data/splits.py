"""Who is trained on and who tests: explicit splits of prepared data, by protocol.

- `image`: the official lists where there are any, else 80/10/10 by a hash of the image's name;
- `caption`: of each image one caption tests, the others train, a tenth of those validate;
- `kfold:k/n`: fold k of n tests, a tenth of the others validates.

Near-duplicates are never on two sides of a split by image. Hashes depend on names alone, so a
split does not move when images are added, but for what resembles them.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from jaxt2i.data import duplicates, prepared, split_files
from jaxt2i.data.records import share_of_hash
from jaxt2i.data.shards import Facts
from jaxt2i.errors import UsageError, UserError

SHARED_IMAGES = (
  "Train, validation and test share their images: each image's captions are divided among them, "
  "so these numbers say nothing about images never seen."
)
_SHARE = 0.1  # of test, and of validation
_LEFT_OUT = "near-duplicates of an image in another split"
_OUTSIDE = "in none of the official lists"

Splits = dict[str, np.ndarray]


def make(directory: Path, protocol: str) -> dict[str, Any]:
  """Splits prepared data by a protocol, and stores the splits with it.

  Returns:
    What `split_files.describe` says of them from now on.

  Raises:
    UserError: a protocol that does not exist or that this data cannot have, or splits that
      cannot be written.
  """
  facts = prepared.read_facts(directory)
  if not facts:
    raise UserError(f"{directory} has no images to split")
  captions = np.asarray([f.num_captions for f in facts], np.int64)
  left_out: Mapping[str, int] = {}
  note = ""
  fold = re.fullmatch(r"kfold:(\d+)/(\d+)", protocol)
  if protocol == "caption":
    groups = near_duplicates(directory, facts)
    splits, note = by_caption(_captions(directory), groups), SHARED_IMAGES
  elif protocol == "image":
    splits, left_out = by_image(facts, near_duplicates(directory, facts))
  elif fold and int(fold[1]) < int(fold[2]) and int(fold[2]) >= 2:
    splits = by_fold(facts, near_duplicates(directory, facts), int(fold[1]), int(fold[2]))
  else:
    raise UsageError(
      f"protocol {protocol!r}: expected image, caption or kfold:k/n with k below n, "
      "such as kfold:0/5 (compositional is that of openmoji and shapes)"
    )
  try:
    return split_files.save(
      directory, protocol, splits, captions=captions, note=note, left_out=left_out
    )
  except OSError as error:
    why = error.strerror or error
    raise UserError(f"cannot write splits to {directory} ({why}): make room there") from error


def _captions(directory: Path) -> dict[str, tuple[str, ...]]:
  rows = prepared.Rows(directory, min(prepared.read_manifest(directory)["image_sizes"]))
  return {record.image_id: record.captions for record in rows}


def near_duplicates(directory: Path, facts: Sequence[Facts]) -> Int64[np.ndarray, "n"]:
  """The group of each image: the first row of those that nearly equal it; see `duplicates`."""
  rows = prepared.Rows(directory, min(prepared.read_manifest(directory)["image_sizes"]))
  # Copies first: however many images share a hash, no copy is ever on another side.
  first: dict[str, int] = {}
  copied = np.asarray([first.setdefault(f.sha256, row) for row, f in enumerate(facts)], np.int64)
  own = np.flatnonzero(copied == np.arange(len(facts)))
  hashes = np.asarray([facts[row].phash for row in own.tolist()], np.uint64)
  groups = copied.copy()
  groups[own] = own[duplicates.groups(hashes, lambda i: rows[own[i]].image)]
  return groups[copied]


def by_image(
  facts: Sequence[Facts], groups: Int64[np.ndarray, "n"]
) -> tuple[Splits, dict[str, int]]:
  """Rows of train, val and test; why → how many images belong to none."""
  if any(f.split == "train" for f in facts):
    return _official(facts, groups)
  return _by_share(groups, _shares(facts, groups), ("test", "val")), {}


def by_fold(
  facts: Sequence[Facts], groups: Int64[np.ndarray, "n"], fold: int, num_folds: int
) -> Splits:
  """Rows of train, val and test; over all folds, each image tests once."""
  shares = _shares(facts, groups)
  test = (shares * num_folds).astype(np.int64) == fold
  rest = np.flatnonzero(~test)
  if not test.any() or not len(rest):
    raise UserError(f"fold {fold} of {num_folds} is empty: too few images for so many folds")
  # Another hash than that of the folds, which the rest is no even sample of.
  inner = _by_share(groups[rest], _shares(facts, groups[rest], "#val"), ("val",))
  return {**{name: rest[rows] for name, rows in inner.items()}, "test": np.flatnonzero(test)}


def by_caption(captions: Mapping[str, Sequence[str]], groups: Int64[np.ndarray, "n"]) -> Splits:
  """(row, caption) pairs of train, val and test; the same words of an image stay together.

  Args:
    captions: of each image by its id, in the order of the rows.
    groups: see `near_duplicates`; copies of an image with the same captions are divided alike.

  Raises:
    UserError: no image has two different captions.
  """
  pairs: dict[str, list[tuple[int, int]]] = {"train": [], "val": [], "test": []}
  idents = list(captions)
  for row, (group, texts) in enumerate(zip(groups, captions.values(), strict=True)):
    words = [same_words(text) for text in texts]
    key = f"{idents[group]}#"
    shares = {text: share_of_hash(key + text) for text in sorted(set(words))}
    test = min(shares, key=shares.__getitem__) if len(shares) > 1 else None
    for k, text in enumerate(words):
      # Not the hash that chose the test caption: what it left over is no even sample.
      held_out = test is not None and share_of_hash(f"{key}{text}#val") < _SHARE
      pairs["test" if text == test else "val" if held_out else "train"].append((row, k))
  if not pairs["test"]:
    raise UserError("the protocol 'caption' needs images with two captions or more: take 'image'")
  return {name: np.asarray(rows, np.int64).reshape(-1, 2) for name, rows in pairs.items()}


def same_words(caption: str) -> str:
  """Equal for captions that differ in case, spaces and punctuation alone."""
  text = unicodedata.normalize("NFKC", caption).lower()
  return " ".join(re.findall(r"\w+", text)) or text


def _official(
  facts: Sequence[Facts], groups: Int64[np.ndarray, "n"]
) -> tuple[Splits, dict[str, int]]:
  rank = {"test": 0, "val": 1, "train": 2, "": 3}
  names = np.asarray([f.split if f.split in rank else "" for f in facts], dtype=object)
  if "val" not in names:
    train = np.flatnonzero(names == "train")
    inner = _by_share(groups[train], _shares(facts, groups[train]), ("val",))
    names[train[inner["val"]]] = "val"
  # The tests stay what others test on; what resembles one of them is left out of training.
  best: dict[int, str] = {}
  for group, name in zip(map(int, groups), names, strict=True):
    best[group] = min(best.get(group, ""), name, key=rank.__getitem__)
  outside = names == ""
  strays = ~outside & np.asarray([best[int(g)] != n for g, n in zip(groups, names, strict=True)])
  names[strays] = ""
  left_out = {_OUTSIDE: int(outside.sum()), _LEFT_OUT: int(strays.sum())}
  splits = {n: np.flatnonzero(names == n) for n in ("train", "val", "test") if n in names}
  return splits, {why: count for why, count in left_out.items() if count}


def _shares(
  facts: Sequence[Facts], groups: Int64[np.ndarray, "n"], salt: str = ""
) -> Float64[np.ndarray, "n"]:
  """A number in [0, 1) for each image, one for all of a group."""
  share: Callable[[int], float] = lambda row: share_of_hash(facts[row].image_id + salt)
  known = {int(group): share(int(group)) for group in np.unique(groups)}
  return np.asarray([known[int(group)] for group in groups], np.float64)


def _by_share(
  groups: Int64[np.ndarray, "n"], shares: Float64[np.ndarray, "n"], small: Sequence[str]
) -> Splits:
  """A tenth to each of `small`, of few groups at least one; the rest, never empty, to train."""
  _, first = np.unique(groups, return_index=True)
  ranked = groups[first[np.argsort(shares[first], kind="stable")]]
  splits, start = {}, 0
  in_range = Counter((shares[first] / _SHARE).astype(int).tolist())
  for place, name in enumerate(small):
    count = min(max(in_range[place], 1), max(0, len(ranked) - start - 1))
    splits[name] = np.flatnonzero(np.isin(groups, ranked[start : start + count]))
    start += count
  splits["train"] = np.flatnonzero(np.isin(groups, ranked[start:]))
  return {name: splits[name] for name in ("train", "val", "test") if name in splits}
