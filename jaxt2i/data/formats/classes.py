"""Photos sorted into one folder a class: captions from the classes' names."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import ClassVar

from jaxt2i.data.files import Tree
from jaxt2i.data.formats import common
from jaxt2i.data.formats.tables import BadLine, csv_rows, lines_of
from jaxt2i.data.listing import Entry, Listing, clean
from jaxt2i.errors import UserError

_SLOT = "{}"
_ARTICLE = re.compile(r"\b([Aa]) \{\}")
# By sound: a unicorn, a ukulele, a European hare, a ewe, a one-way street; an hourglass, an X-ray.
_VOWEL = re.compile(
  r"(?!uni(?![mn])|us[aeiu]|ut[ei]|ubi|ura|uro|uk|eu|ewe|one\b|once\b|ouija)[aeiou]"
  r"|hour|heir|honest|honou?r|x[ -]ray",
  re.IGNORECASE,
)
_PLURAL = re.compile(r"(?!.*lens$).*[^aiosu]s$", re.IGNORECASE)  # shorts; not a bus, mantis, dress
_OF_A_CLASS = "images"  # Tiny ImageNet's own layout: train/<class>/images/<name>.JPEG


@dataclasses.dataclass(frozen=True)
class Classes:
  """`[train|val|test/]<class>/<name>.jpg`, at any depth: the class is the folder's name.

  A caption is the template with the class's name, in small letters and with spaces for dashes and
  underscores, or with the first of its names in `class_names` as it stands there. The article "a"
  before {} becomes "an" where English has it so, and is left out where the name looks like a
  plural. A photo's id is its path.
  """

  src: str  # the folder
  template: str = "a photo of a {}"
  class_names: str = ""  # file of folder<TAB>name, other name; or .csv; relative to the folder

  terms: ClassVar[str] = ""

  def __post_init__(self):
    common.check_texts(self, ("src", "template", "class_names"))
    if self.template.count(_SLOT) != 1:
      raise UserError(f"template {self.template!r}: expected one {_SLOT}, for the class's name")

  def listing(self) -> Listing:
    """See Format."""
    tree = Tree(self.src)
    names = _read_names(tree, self.class_names) if self.class_names else None
    images = tree.images()
    classes = _classes(images)
    if not classes:
      raise UserError(
        f"no folders of classes in {self.src}: expected names like cat/1.jpg or train/cat/1.jpg, "
        f"got {next(iter(images))!r}; check --src"
      )
    captions = {name: self._caption(name, names) for name, _ in set(classes.values())}
    return Listing.of(
      (
        Entry(path, images[path], (captions[name],), {"class": name}, split)
        for path, (name, split) in classes.items()
      ),
      uncaptioned=(path for path in images if path not in classes),
      refused=tree.refused,
    )

  def _caption(self, folder: str, names: Mapping[str, str] | None) -> str:
    if names is None:
      words = re.sub(r"[_-]", " ", folder).lower()
    elif folder in names:
      words = names[folder]
    else:
      raise UserError(f"class {folder!r} is not in {self.class_names}; add a line with its name")
    words = clean(words)
    if not words:
      raise UserError(f"class {folder!r} in {self.src}: expected a folder's name with words in it")
    article = "{}" if _PLURAL.match(words) else r"\1n {}" if _VOWEL.match(words) else r"\1 {}"
    return clean(_ARTICLE.sub(article, self.template).replace(_SLOT, words))


def _classes(paths: Mapping[str, object]) -> dict[str, tuple[str, str]]:
  """The class and the split of each image that has a class."""
  folders = {}
  for path in paths:
    parts = PurePosixPath(path).parts[:-1]
    folders[path] = parts[:-1] if parts and parts[-1].lower() == _OF_A_CLASS else parts
  # "train" beside "bus" and "car" is a class; where it has only classes in it, it is a split.
  with_classes = {
    parts[:-1] for parts in folders.values() if parts and not common.split_named(parts[-1])
  }
  return {
    path: (parts[-1], common.split_of("/".join(parts)))
    for path, parts in folders.items()
    if parts and (not common.split_named(parts[-1]) or parts[:-1] in with_classes)
  }


def _read_names(tree: Tree, name: str) -> dict[str, str]:
  """The first name of each class, by folder."""
  path = common.chosen(tree, name, option="class_names")
  where = f"{tree.src}/{path}"
  lines = lines_of(tree.text(path))
  names: dict[str, str] = {}
  try:
    if path.lower().removesuffix(".gz").endswith(".csv"):
      for number, cells in csv_rows(lines):
        _add_name(names, number, [cells[0], ",".join(cells[1:])])
    else:
      for number, line in enumerate(lines, start=1):
        if line.strip():
          _add_name(names, number, line.split("\t" if "\t" in line else None, 1))
  except BadLine as error:
    raise error.told(where, lines) from error
  return names


def _add_name(names: dict[str, str], number: int, cells: list[str]) -> None:
  words = cells[1].split("\t")[0].split(",")[0].strip() if len(cells) > 1 else ""
  if not words:
    raise BadLine(number, "expected folder<TAB>name, or folder,name in a .csv file")
  names[cells[0].strip()] = words
