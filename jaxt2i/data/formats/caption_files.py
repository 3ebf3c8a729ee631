"""Caption files, whichever way they are written: one caption a line, with the photo's name.

The first line that is not blank tells how:

- `name.jpg#k<TAB>caption`: Flickr8k's tokens; captions come in the order of k;
- a header that names a column of photos and one of captions (or several: caption_1, caption_2),
  divided by commas, semicolons, tabs or, like Flickr30k's `image_name| comment_number| comment`, by
  bars;
- `name.jpg, caption` or `name.jpg<TAB>caption`: the caption is all that follows, commas too.
"""

import re
from collections.abc import Iterator, Sequence

from jaxt2i.data.files import is_image
from jaxt2i.data.formats.common import name_problem
from jaxt2i.data.formats.tables import BadLine, csv_rows, lines_of
from jaxt2i.errors import UserError

# In the order of preference, where a header has several of them.
_NAMES = (
  *("file_name", "filename", "image_name", "image", "image_file", "image_path", "img_name", "img"),
  *("filepath", "file_path", "file", "path", "photo", "name", "image_id", "img_id"),
)
_CAPTIONS = ("caption", "captions", "text", "comment", "sentence", "description")
_TOKEN = re.compile(r"(?P<name>[^\t]+)#(?P<k>[0-9]{1,9})\t(?P<caption>.*)")
_AS_TOKEN = "expected name.jpg#k<TAB>caption, k a number"
_NO_DELIMITER = re.compile(r"\s*\d+\s+(?P<comment>\S.*)")

_Rows = Iterator[tuple[int, str, Sequence[str]]]  # line number, photo, captions


def read_rows(text: str, where: str) -> dict[str, list[str]]:
  """The captions of each photo as they stand there, by its name, in the order of the file.

  Args:
    text: the file's.
    where: the file's name, for messages.

  Raises:
    UserError: a line is not as the first one makes expect, or its name leads out of the folder,
      or there are no captions; names the line.
  """
  lines = lines_of(text)
  found: dict[str, list[str]] = {}
  try:
    for number, name, captions in _rows(lines):
      if problem := name_problem(name):
        raise UserError(f"{where} line {number}: {problem}")
      found.setdefault(name, []).extend(captions)
  except BadLine as error:
    raise error.told(where, lines) from error
  if not any(caption.strip() for captions in found.values() for caption in captions):
    raise UserError(f"{where} has no captions: expected lines like name.jpg#0<TAB>a red bus")
  return found


def _rows(lines: Sequence[str]) -> _Rows:
  """What the lines say; the first one tells how they are written."""
  number = next((n for n, line in enumerate(lines, 1) if line.strip()), 0)
  if not number:
    return iter(())
  first = lines[number - 1]
  if _TOKEN.fullmatch(first):
    return _tokens(lines)
  for delimiter in "|\t,;":
    if delimiter not in first:
      continue
    if columns := _header(number, first.split(delimiter)):
      return _table(lines, number, delimiter, *columns)
    if delimiter in "\t," and is_image(_unquoted(first.split(delimiter)[0])):
      return _plain(lines, delimiter)
  raise BadLine(
    number,
    "expected name.jpg#0<TAB>caption, or name.jpg, caption, or a header such as image,caption",
  )


def _header(number: int, cells: Sequence[str]) -> tuple[int, list[int]] | None:
  """Which column has the photo's name, and which have captions; None if this is no header."""
  names = [re.sub(r"[ -]", "_", _unquoted(cell).lower()) for cell in cells]
  photo = next((names.index(name) for name in _NAMES if name in names), None)
  if photo is None:
    return None
  for base in _CAPTIONS:
    if found := [i for i, name in enumerate(names) if re.fullmatch(rf"{base}_?\d*", name)]:
      return photo, found
  raise BadLine(number, f"expected a column named {', '.join(_CAPTIONS[:-1])} or {_CAPTIONS[-1]}")


def _tokens(lines: Sequence[str]) -> _Rows:
  rows = []
  for number, line in enumerate(lines, start=1):
    if line.strip():
      match = _TOKEN.fullmatch(line)
      if match is None:
        raise BadLine(number, _AS_TOKEN)
      rows.append((int(match["k"]), number, match["name"].strip(), match["caption"]))
  # `sorted` is stable: two captions with one k stay in the order of the file.
  for _, number, name, caption in sorted(rows, key=lambda row: row[0]):
    yield number, name, (caption,)


def _plain(lines: Sequence[str], delimiter: str) -> _Rows:
  for number, line in enumerate(lines, start=1):
    if line.strip():
      name, found, caption = line.partition(delimiter)
      name = _unquoted(name)
      if not found or not name:
        sign = "<TAB>" if delimiter == "\t" else ", "
        raise BadLine(number, f"expected name.jpg{sign}caption")
      yield number, name, (_unquoted(caption),)


def _table(
  lines: Sequence[str], header: int, delimiter: str, photo: int, captions: Sequence[int]
) -> _Rows:
  """Rows under a header; delimiters that a last column of captions has too many are part of it."""
  width = len(lines[header - 1].split(delimiter))
  is_csv = delimiter in ",;"
  unquoted = _spaced if is_csv else _unquoted
  split = ((n, line.split(delimiter)) for n, line in enumerate(lines, start=1))
  for number, cells in csv_rows(lines, delimiter) if is_csv else split:
    if number <= header or not any(cell.strip() for cell in cells):
      continue
    if len(cells) > width and captions[-1] == width - 1:
      cells = [*cells[: width - 1], delimiter.join(cells[width - 1 :])]
    elif delimiter == "|" and (len(cells), width, *captions) == (2, 3, 2):
      # Of Flickr30k's 158,915 rows one lacks a bar: `2199200615.jpg| 4   A dog runs ...`.
      match = _NO_DELIMITER.fullmatch(cells[1])
      cells = [cells[0], "", match["comment"]] if match else cells
    if len(cells) != width:
      raise BadLine(number, f"expected {width} columns as in the header, got {len(cells)}")
    yield number, unquoted(cells[photo]).strip(), [unquoted(cells[i]) for i in captions]


def _spaced(cell: str) -> str:
  """A cell that csv took as it is because a space stands before its quotes."""
  return _unquoted(cell) if cell.startswith(" ") else cell


def _unquoted(cell: str) -> str:
  """A cell without space around it and, where all of it is quoted, without the quotes."""
  cell = cell.strip()
  inner = cell[1:-1].replace('""', "")
  if len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in inner:
    return cell[1:-1].replace('""', '"')
  return cell
