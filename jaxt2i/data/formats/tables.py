"""Lines, CSV and JSON of text files that come from anywhere; what is wrong names its line."""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from jaxt2i.errors import UserError

_SHOWN = 80  # characters of a line in a message
_CELL_OF_NAME = re.compile(
  r"(?:^|,) ?\"?[^,\"]+\.(?:jpe?g|png|webp|gif|bmp|tiff?)\"? *(?:,|$)", re.IGNORECASE
)


class BadLine(Exception):
  """A line that is not as expected: its number, from 1 on, and what was expected."""

  def __init__(self, number: int, expected: str):
    super().__init__(expected)
    self.number, self.expected = number, expected

  def told(self, where: str, lines: Sequence[str]) -> UserError:
    """The error in one line, for a file of these lines."""
    return UserError(
      f"{where} line {self.number}: {shown(lines[self.number - 1])}: {self.expected}"
    )


def lines_of(text: str) -> list[str]:
  """The lines of a text, whichever system wrote it, but not cut inside a caption."""
  # Not splitlines(): it also splits at characters that a caption may contain.
  text = text.replace("\r\n", "\n")
  return text.replace("\r", " " if "\n" in text else "\n").split("\n")


def shown(line: str) -> str:
  """A line as it stands in a message: quoted, and cut."""
  return repr(line[:_SHOWN]) + ("..." if len(line) > _SHOWN else "")


def csv_rows(lines: Sequence[str], delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
  """Cells of each row that is not blank, with the number of its first line.

  A quoted cell may go on over several lines. But a quote that is never closed would swallow rows,
  up to where the next one opens: so no further line of a cell may have a photo's name as a cell.

  Raises:
    BadLine: quotes that are not closed or not doubled inside a cell, or a cell that is too long.
  """
  reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter, strict=True)
  while True:
    number = reader.line_num + 1
    try:
      cells = next(reader, None)
    except csv.Error as error:
      raise BadLine(
        number,
        "expected quotes that are closed, and doubled inside a cell, and at most "
        f"{csv.field_size_limit():,} characters a cell ({error})",
      ) from error
    if cells is None:
      return
    if any(map(_CELL_OF_NAME.search, lines[number : reader.line_num])):
      raise BadLine(number, "expected quotes that are closed: this one takes in another row")
    if any(cell.strip() for cell in cells):
      yield number, cells


def parse_json(text: str, where: str, *, line: int = 0) -> Any:
  """What a JSON text says; NaN and infinities, which are no JSON, become None.

  Args:
    text: the JSON.
    where: the file's name, for messages.
    line: the number of the line that the text is, if it is only one of the file's.

  Raises:
    UserError: it is no JSON; names the line.
  """
  try:
    return json.loads(text, parse_constant=lambda _: None)
  except json.JSONDecodeError as error:
    number = line or error.lineno
    raise UserError(f"{where} line {number}: no JSON ({error.msg}); mend the file") from error
  except (ValueError, RecursionError) as error:  # numbers too long, brackets too deep
    place = f"{where} line {line}" if line else where
    raise UserError(f"{place}: JSON that cannot be read ({error}); mend the file") from error
