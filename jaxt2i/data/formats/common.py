"""What formats share: names of splits, files found by name, names that stay inside."""

import posixpath
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

from jaxt2i.data.files import Tree
from jaxt2i.data.formats.tables import shown
from jaxt2i.errors import UserError

_SPLITS = {
  "train": "train",
  "training": "train",
  "restval": "train",  # Karpathy's: the rest of COCO's validation set, to train on
  "val": "val",
  "valid": "val",
  "validation": "val",
  "dev": "val",
  "test": "test",
  "testing": "test",
}
_LISTED = 5  # files named in a message


def split_named(word: str) -> str:
  """ "validation" -> "val"; "" if the word names no split."""
  return _SPLITS.get(word.lower(), "")


def split_of(path: str) -> str:
  """The split after which the first folder is named that is named after one; else ""."""
  return next(filter(None, map(split_named, PurePosixPath(path).parts[:-1])), "")


def named(tree: Tree, pattern: str) -> list[str]:
  """The files whose own name matches the whole pattern, upper or lower case; `.gz` may follow."""
  regex = re.compile(rf"(?:{pattern})(?:\.gz)?", re.IGNORECASE)
  return [path for path in tree if regex.fullmatch(posixpath.basename(path))]


def chosen(tree: Tree, name: str, option: str = "captions") -> str:
  """The file that the user named, relative to the tree. UserError if it is not there."""
  path = posixpath.normpath(name)
  if path not in tree:
    files = [other for other in tree if posixpath.basename(other) == posixpath.basename(path)]
    end = f"did you mean {files[0]!r}?" if files else f"check --{option}"
    raise UserError(f"file {name!r} is not in {tree.src}, which it is looked for in; {end}")
  return path


def only(tree: Tree, found: Sequence[str], what: str, remedy: str) -> str:
  """The one file that was found; "" if there is none. UserError if there are several."""
  if len(found) > 1:
    raise UserError(f"several {what} in {tree.src}: {listed(found)}; {remedy}")
  return found[0] if found else ""


def listed(names: Sequence[str]) -> str:
  """The first few names, and how many more there are."""
  more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
  return ", ".join(names[:_LISTED]) + more


def name_problem(name: str) -> str:
  """Why a name in a caption file cannot be that of a photo in the folder; "" if it can."""
  parts = PurePosixPath(name.replace("\\", "/")).parts
  outside = not parts or parts[0] == "/" or ".." in parts or re.match(r"[A-Za-z]:[\\/]", name)
  if outside or "\0" in name or not _is_text(name):
    return f"{shown(name)}: expected a name inside the folder"
  return ""


def _is_text(name: str) -> bool:
  try:
    name.encode()
  except UnicodeEncodeError:
    return False  # half a character, which JSON can name
  return True


def texts(value: Any) -> tuple[str, ...] | None:
  """Captions that JSON gives as one text or a list of them; None if it gives something else."""
  values = [value] if isinstance(value, str) else () if value is None else value
  if isinstance(values, (list, tuple)) and all(isinstance(text, str) for text in values):
    return tuple(values)
  return None


def check_texts(instance: Any, options: Iterable[str]) -> None:
  """UserError if an option of a format is no text."""
  for option in options:
    if not isinstance(value := getattr(instance, option), str):
      raise UserError(f"{option} {value!r}: expected a text")
