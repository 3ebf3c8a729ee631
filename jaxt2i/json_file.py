"""Small JSON files that belong to a run: written, and read without trusting them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxt2i.errors import UserError


def write(path: Path, content: Mapping[str, Any]) -> None:
  """Writes one line; UserError if that is not possible."""
  try:
    path.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
  except OSError as error:
    raise UserError(f"cannot write {path}: {error.strerror}") from error


def read(path: Path, fields: Mapping[str, type]) -> dict[str, Any]:
  """The object in a file; executes nothing.

  Args:
    path: of the file.
    fields: names that it must have, and the types of their values; it may have more.

  Raises:
    UserError: the file is missing, no JSON, or without these.
  """
  try:
    content = json.loads(path.read_text(encoding="utf-8"))
  except OSError as error:
    raise UserError(f"cannot read {path}: {error.strerror}") from error
  except ValueError as error:
    raise UserError(f"{path} is damaged: it is not JSON; restore it") from error
  if not isinstance(content, dict):
    raise UserError(f"{path} is damaged: it holds no object; restore it")
  for name, kind in fields.items():
    if not isinstance(content.get(name), kind):
      raise UserError(f"{path} is damaged: its {name!r} is missing or odd; restore it")
  return content
