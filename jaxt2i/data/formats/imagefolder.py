"""Hugging Face's image folders: photos with a metadata.csv or metadata.jsonl beside them."""

import dataclasses
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from jaxt2i.data.files import Tree
from jaxt2i.data.formats import common
from jaxt2i.data.formats.photos import Pairs
from jaxt2i.data.formats.tables import BadLine, csv_rows, lines_of, parse_json, shown
from jaxt2i.data.listing import Listing
from jaxt2i.errors import UserError

_COLUMNS = ("text", "caption", "captions")
_Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class ImageFolder:
  """Folders with a metadata.csv or metadata.jsonl each, whose `file_name` is relative to it.

  Captions are in the columns text, caption or captions (in JSON one text or a list); all other
  columns become attributes, in CSV as texts. The split is that of the first folder on a photo's
  path that is named after one. A photo's id is its path.
  """

  src: str  # the folder
  caption_column: str = ""  # another column with captions; "": text, caption and captions

  terms: ClassVar[str] = ""

  def __post_init__(self):
    common.check_texts(self, ("src", "caption_column"))

  def listing(self) -> Listing:
    """See Format."""
    tree = Tree(self.src)
    files = common.named(tree, r"metadata\.(csv|jsonl)")
    if not files:
      raise UserError(
        f"no metadata.csv or metadata.jsonl in {self.src}{tree.hint()}; check --src, or, where "
        "each folder is a class, choose the format 'classes'"
      )
    folders = [posixpath.dirname(file) for file in files]
    for folder in folders:
      common.only(
        tree,
        [file for file in files if posixpath.dirname(file) == folder],
        "metadata files for one folder",
        "keep one of them",
      )
    pairs = Pairs(tree, common.listed([f"{self.src}/{file}" for file in files]))
    for file in files:
      self._add(pairs, tree, file)
    return pairs.listing()

  def _add(self, pairs: Pairs, tree: Tree, file: str) -> None:
    where = f"{self.src}/{file}"
    read = _json_rows if ".jsonl" in posixpath.basename(file).lower() else _csv_rows
    folder = posixpath.dirname(file)
    columns = (self.caption_column,) if self.caption_column else _COLUMNS
    known: set[str] = set()
    for number, row in read(tree.text(file), where):
      name = row.get("file_name")
      problem = common.name_problem(name) if isinstance(name, str) else "expected a file_name"
      if problem or not isinstance(name, str):
        raise UserError(f"{where} line {number}: {problem}")
      captions: list[str] = []
      for column in columns:
        if (found := common.texts(row.get(column))) is None:
          raise UserError(f"{where} line {number}: {column}: expected a text or a list of texts")
        captions.extend(found)
      known.update(row)
      name = posixpath.normpath(posixpath.join(folder, name.replace("\\", "/")))
      pairs.add(
        pairs.photos.find(name, anywhere=False),
        captions or [""],
        name=name,
        split=common.split_of(name),
        attributes={k: v for k, v in row.items() if k not in ("file_name", *columns)},
      )
    if known and not known.intersection(columns):
      raise UserError(
        f"{where} has no column {' or '.join(columns)}, only {', '.join(sorted(known))}; "
        "name the captions' with --caption_column"
      )


def _csv_rows(text: str, where: str) -> Iterator[tuple[int, _Row]]:
  """Each row with the number of its first line."""
  lines = lines_of(text)
  header: list[str] = []
  try:
    # Where the comma is the decimal sign, Excel divides cells by semicolons.
    semicolons = bool(lines) and "," not in lines[0] and ";" in lines[0]
    for number, cells in csv_rows(lines, ";" if semicolons else ","):
      if not header:
        header = [cell.strip() for cell in cells]
      elif len(cells) != len(header):
        raise BadLine(
          number,
          f"expected {len(header)} columns as in the header, got {len(cells)}; a text with commas "
          "needs quotes",
        )
      else:
        yield number, dict(zip(header, cells, strict=True))
  except BadLine as error:
    raise error.told(where, lines) from error


def _json_rows(text: str, where: str) -> Iterator[tuple[int, _Row]]:
  for number, line in enumerate(lines_of(text), start=1):
    if line.strip():
      row = parse_json(line, where, line=number)
      if not isinstance(row, dict):
        raise UserError(
          f"{where} line {number}: {shown(line)}: expected a JSON object with a file_name"
        )
      yield number, row
