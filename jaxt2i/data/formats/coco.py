"""COCO's captions, and Karpathy's file of captions and splits."""

import dataclasses
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, ClassVar

from jaxt2i.data.files import Tree
from jaxt2i.data.formats import common
from jaxt2i.data.formats.photos import Pairs
from jaxt2i.data.formats.tables import parse_json
from jaxt2i.data.listing import Listing
from jaxt2i.errors import UserError

_SPLIT = re.compile(r"train|val|dev|test")


@dataclasses.dataclass(frozen=True)
class Coco:
  """COCO's layout: `annotations/captions_train2017.json`, photos in `train2017` or elsewhere.

  The split comes from the JSON file's name. A photo's id is its name without suffix; the path, if
  two photos have one name.
  """

  src: str  # the folder
  captions: str = ""  # a JSON file, relative to the folder; "": all that are named captions_*.json

  terms: ClassVar[str] = (
    "COCO's captions are CC BY 4.0; its photos belong to their Flickr authors, "
    "under Flickr's terms of use"
  )

  def __post_init__(self):
    common.check_texts(self, ("src", "captions"))

  def listing(self) -> Listing:
    """See Format."""
    tree = Tree(self.src)
    if self.captions:
      files = [common.chosen(tree, self.captions)]
    else:
      files = common.named(tree, r".*captions_.*\.json")
    if not files:
      raise UserError(
        f"no captions_*.json in {self.src}{tree.hint()}; check --src, or name one with --captions"
      )
    pairs = Pairs(tree, common.listed([f"{self.src}/{file}" for file in files]))
    for file in files:
      self._add(pairs, tree, file)
    return pairs.listing()

  def _add(self, pairs: Pairs, tree: Tree, file: str) -> None:
    where = f"{self.src}/{file}"
    stem = posixpath.basename(file).split(".json")[0]
    match = _SPLIT.search(stem.lower())
    split = common.split_named(match[0]) if match else ""
    folder = stem.rpartition("captions_")[2]
    apart = pairs.photos.any_in(folder)  # then other folders have other photos, of any names
    for name, captions in _coco_rows(tree.text(file), where):
      path = pairs.photos.find(name, ("", folder), anywhere=not apart)
      ident = posixpath.splitext(posixpath.basename(name))[0]
      pairs.add(path, captions, name=ident if path else name, split=split)


@dataclasses.dataclass(frozen=True)
class Karpathy:
  """Karpathy's `dataset_flickr8k.json`, `dataset_flickr30k.json` or `dataset_coco.json`.

  The captions and the split that most papers use, with the photos of the data set itself; its
  "restval" are for training. A photo's id is its file name.
  """

  src: str  # the folder
  captions: str = ""  # the JSON file, relative to the folder; "": the one named dataset*.json

  terms: ClassVar[str] = (
    "those of Flickr8k, Flickr30k or COCO: non-commercial research and education; "
    "the photos belong to their Flickr authors"
  )

  def __post_init__(self):
    common.check_texts(self, ("src", "captions"))

  def listing(self) -> Listing:
    """See Format."""
    tree = Tree(self.src)
    remedy = "choose one with --captions"
    file = (
      common.chosen(tree, self.captions)
      if self.captions
      else common.only(tree, common.named(tree, r"dataset.*\.json"), "caption files", remedy)
    )
    if not file:
      raise UserError(
        f"no dataset_*.json in {self.src}{tree.hint()}; check --src, or name it with --captions"
      )
    where = f"{self.src}/{file}"
    pairs = Pairs(tree, where)
    for name, folder, split, captions in _karpathy_rows(tree.text(file), where):
      path = pairs.photos.find(name, ("", folder))
      pairs.add(path, captions, name=name, split=split)
    return pairs.listing()


def _coco_rows(text: str, where: str) -> Iterator[tuple[str, list[str]]]:
  data = parse_json(text, where)
  names: dict[Any, str] = {}
  for i, image in enumerate(_objects(data, "images", where)):
    names[_key(image, "id", f"{where}: images[{i}]")] = _name(image, "file_name", where, i)
  captions: dict[Any, list[str]] = defaultdict(list)
  for i, row in enumerate(_objects(data, "annotations", where)):
    ident = _key(row, "image_id", f"{where}: annotations[{i}]")
    if ident not in names:
      raise UserError(f"{where}: annotations[{i}]: image_id {ident!r} is none of the images' ids")
    if not isinstance(row.get("caption"), str):
      raise UserError(f"{where}: annotations[{i}]: expected a caption; take captions_*.json")
    captions[ident].append(row["caption"])
  for ident, name in names.items():
    if ident in captions:
      yield name, captions[ident]


def _karpathy_rows(text: str, where: str) -> Iterator[tuple[str, str, str, list[str]]]:
  data = parse_json(text, where)
  for i, image in enumerate(_objects(data, "images", where)):
    name = _name(image, "filename", where, i)
    folder = image.get("filepath", "")
    split = common.split_named(image["split"]) if isinstance(image.get("split"), str) else ""
    if not split:
      raise UserError(
        f"{where}: images[{i}]: split {image.get('split')!r}: expected train, restval, val or test"
      )
    if not isinstance(folder, str) or (folder and common.name_problem(folder)):
      raise UserError(f"{where}: images[{i}]: filepath {folder!r}: expected a folder's name")
    rows: Any = image.get("sentences")
    captions: list[Any] = [row.get("raw") for row in rows] if _is_objects(rows) else [None]
    if not all(isinstance(caption, str) for caption in captions):
      raise UserError(f'{where}: images[{i}]: expected sentences such as {{"raw": "a red bus"}}')
    yield name, folder, split, captions


def _objects(data: Any, key: str, where: str) -> list[dict[str, Any]]:
  rows: Any = data.get(key) if isinstance(data, dict) else None
  if not _is_objects(rows):
    raise UserError(f"{where}: expected a JSON object with a list of objects, {key!r}")
  return rows


def _is_objects(rows: Any) -> bool:
  return isinstance(rows, list) and all(isinstance(row, dict) for row in rows)


def _key(row: dict[str, Any], key: str, where: str) -> int | str:
  if not isinstance(value := row.get(key), (int, str)):
    raise UserError(f"{where}: {key} {value!r}: expected a number or a text")
  return value


def _name(row: dict[str, Any], key: str, where: str, index: int) -> str:
  name = row.get(key)
  problem = common.name_problem(name) if isinstance(name, str) else "expected a file's name"
  if problem:
    raise UserError(f"{where}: images[{index}]: {key} {problem}")
  assert isinstance(name, str)
  return name
