"""Shards of WebDataset and what img2dataset writes: files that belong together by their names."""

import dataclasses
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, ClassVar

from jaxt2i.data.files import Tree, is_image
from jaxt2i.data.formats import common
from jaxt2i.data.formats.tables import parse_json
from jaxt2i.data.listing import Captions, Entry, Listing
from jaxt2i.errors import UserError

_CAPTION_KEYS = ("caption", "captions", "text")
_IN_SHARD = re.compile(r"\.(?:tar|zip)/", re.IGNORECASE)
_SPLIT_WORD = re.compile(r"[a-z]+")


@dataclasses.dataclass(frozen=True)
class WebDataset:
  """Tar shards: `000.jpg`, `000.txt`, `000.json` and `000.cls` are one sample.

  The caption is that of the JSON (caption, captions or text; one text or a list), else that of
  the .txt. The rest of the JSON that is no list or object, and the class, become attributes. The
  split is that which the shard's name or folder has a word of. Ids are `shard.tar/key`.
  """

  src: str  # the folder

  terms: ClassVar[str] = ""

  def __post_init__(self):
    common.check_texts(self, ("src",))

  def listing(self) -> Listing:
    """See Format."""
    tree = Tree(self.src, apart=True)
    captions, lost = Captions(), Captions()
    images: dict[str, tuple[str, Mapping[str, Any]]] = {}
    skipped: Counter[str] = Counter()
    for key, files in _samples(tree).items():
      image = _image(key, files)
      facts = self._facts(tree, files)
      if why := self._refuses(facts):
        skipped[why] += 1
        continue
      found = _captions(tree, files, facts)
      if image:
        images[key] = image, self._attributes(tree, files, facts)
      elif not (_IN_SHARD.search(key) or "json" in files):
        continue  # a readme
      for caption in found or ([""] if image else []):
        (captions if image else lost).add(key, caption)
    texts = captions.by_image()
    if not texts:
      raise UserError(
        f"no images with captions in the shards in {self.src}{tree.hint()}: expected 000.jpg with "
        "000.txt or 000.json in .tar files; check --src"
      )
    return Listing.of(
      (
        Entry(key, tree.blob(images[key][0]), rows, images[key][1], _split(key))
        for key, rows in texts.items()
      ),
      missing={key: len(rows) for key, rows in lost.by_image().items()},
      uncaptioned=(path for key, (path, _) in images.items() if key not in texts),
      dropped=captions.dropped + lost.dropped + skipped,
      refused=tree.refused,
    )

  def _facts(self, tree: Tree, files: Mapping[str, str]) -> Mapping[str, Any]:
    """The sample's JSON object, {} without one."""
    if "json" not in files:
      return {}
    where = f"{self.src}/{files['json']}"
    facts = parse_json(tree.text(files["json"]), where)
    if not isinstance(facts, dict):
      raise UserError(f"{where}: expected a JSON object; mend the file")
    return facts

  def _refuses(self, facts: Mapping[str, Any]) -> str:
    """Why the sample is left out; "" if it is not."""
    return ""

  def _attributes(
    self, tree: Tree, files: Mapping[str, str], facts: Mapping[str, Any]
  ) -> dict[str, Any]:
    plain = {
      name: value
      for name, value in facts.items()
      if name not in _CAPTION_KEYS and isinstance(value, (str, int, float))
    }
    if "cls" in files:
      label = tree.text(files["cls"]).strip()
      plain["class"] = int(label) if re.fullmatch(r"-?[0-9]{1,18}", label) else label
    return plain


@dataclasses.dataclass(frozen=True)
class Img2dataset(WebDataset):
  """What img2dataset writes with the output formats `webdataset` and `files`.

  Only what it fetched with success is taken; the address stays as the attribute url.
  """

  terms: ClassVar[str] = "photos and captions belong to the authors of the pages they are from"

  def _refuses(self, facts: Mapping[str, Any]) -> str:
    return "not fetched" if facts.get("status", "success") != "success" else ""

  def _attributes(
    self, tree: Tree, files: Mapping[str, str], facts: Mapping[str, Any]
  ) -> dict[str, Any]:
    return {"url": facts["url"]} if isinstance(facts.get("url"), str) else {}


def _samples(tree: Tree) -> dict[str, dict[str, str]]:
  """For each sample, the path of each of its files by what follows the first dot of its name."""
  samples: dict[str, dict[str, str]] = defaultdict(dict)
  for path in tree:
    folder, name = posixpath.split(path)
    key, _, kind = name.partition(".")
    if kind.lower() not in ("tar", "zip"):
      samples[posixpath.join(folder, key)][kind.lower()] = path
  return samples


def _image(key: str, files: Mapping[str, str]) -> str:
  """The sample's image: `000.jpg` rather than `000.mask.png`; "" without one."""
  images = {kind: path for kind, path in files.items() if is_image(path)}
  found = [path for kind, path in images.items() if "." not in kind] or [*images.values()]
  if len(found) > 1:
    raise UserError(f"{key!r} has two images, {found[0]!r} and {found[1]!r}; keep one of them")
  return found[0] if found else ""


def _captions(tree: Tree, files: Mapping[str, str], facts: Mapping[str, Any]) -> Iterable[str]:
  for name in _CAPTION_KEYS:
    found = common.texts(facts.get(name))
    if found is None:
      where = f"{tree.src}/{files['json']}"
      raise UserError(f"{where}: {name}: expected a text or a list of texts")
    if any(caption.strip() for caption in found):
      return found
  return (tree.text(files["txt"]),) if "txt" in files else ()


def _split(key: str) -> str:
  """The split that the path of a shard, or of the folder that stands for it, has a word of."""
  words = _SPLIT_WORD.findall(str(PurePosixPath(key).parent).lower())
  return next(filter(None, map(common.split_named, words)), "")
