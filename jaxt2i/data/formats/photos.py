"""Photos that a file names, found in a folder, and put together with what is said of them."""

import dataclasses
import posixpath
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxt2i.data.files import Tree, is_image
from jaxt2i.data.listing import Captions, Entry, Listing
from jaxt2i.errors import UserError


class Photos:
  """The photos of a tree, by the names that they are given elsewhere."""

  def __init__(self, tree: Tree):
    self.paths = [path for path in tree if is_image(path)]
    # macOS writes é as two characters where a caption file has one.
    self._paths = {unicodedata.normalize("NFC", path): path for path in tree}
    self._by_basename: dict[str, list[str]] = defaultdict(list)
    self._loosely: dict[str, list[str]] = defaultdict(list)
    for path in self.paths:
      name = unicodedata.normalize("NFC", posixpath.basename(path))
      self._by_basename[name].append(path)
      for loose in {name.casefold(), posixpath.splitext(name)[0].casefold()}:
        self._loosely[loose].append(path)

  def find(self, name: str, folders: Sequence[str] = ("",), *, anywhere: bool = True) -> str:
    """The path of the photo of that name, "" if there is none.

    Args:
      name: a path, or its end.
      folders: where to look first; relative to the tree, or the end of a folder's path.
      anywhere: whether it may lie elsewhere, when no other photo has that name.

    Raises:
      UserError: two photos go by that name.
    """
    name = posixpath.normpath(unicodedata.normalize("NFC", name.replace("\\", "/")))
    for folder in folders:
      if path := self._paths.get(posixpath.join(folder, name)):
        return path
    for folder in (*filter(None, folders), *([""] if anywhere else [])):
      wanted = "/" + posixpath.join(folder, name)
      known = self._by_basename.get(posixpath.basename(name), ())
      found = [p for p in known if unicodedata.normalize("NFC", "/" + p).endswith(wanted)]
      if len(found) > 1:
        raise UserError(
          f"{name!r} may be {found[0]!r} or {found[1]!r}: remove one of them, or name photos by "
          "their path from the folder"
        )
      if found:
        return found[0]
    # IMG_1.JPG goes by img_1.jpg, and by img_1, where no other photo does.
    alike = self._loosely.get(posixpath.basename(name).casefold(), ()) if anywhere else ()
    return alike[0] if len(alike) == 1 else ""

  def any_in(self, folder: str) -> bool:
    """Whether there is a photo in a folder of that name, wherever it lies."""
    return any(f"/{folder}/" in f"/{path}" for path in self.paths)


@dataclasses.dataclass
class _Photo:
  image_id: str
  split: str
  attributes: Mapping[str, Any]


class Pairs:
  """What is said of each photo, gathered name by name; a photo with two names is one."""

  def __init__(self, tree: Tree, source: str):
    """`source`: where the names are from, for messages."""
    self.photos = Photos(tree)
    self._tree, self._source = tree, source
    self._seen: dict[str, _Photo] = {}
    self._found, self._lost = Captions(), Captions()
    self._first_lost = ""

  def add(
    self,
    path: str,
    captions: Iterable[str],
    *,
    name: str,
    split: str = "",
    attributes: Mapping[str, Any] | None = None,
  ) -> None:
    """Adds captions of a photo.

    Args:
      path: what `photos.find` returned; "" if the photo is missing.
      captions: in order; empty ones are counted.
      name: the photo's id, unless two photos go by it: then their paths are their ids.
      split: "" if unknown.
      attributes: of the photo; those that came first are kept.

    Raises:
      UserError: the photo is in another split already.
    """
    if not path:
      self._first_lost = self._first_lost or name
    else:
      photo = self._seen.setdefault(path, _Photo(name, split, attributes or {}))
      photo.split = photo.split or split
      if split and split != photo.split:
        raise UserError(
          f"{self._source}: {name!r} is in two splits, {photo.split} and {split}; take it out of "
          "one of them"
        )
    for caption in captions:
      (self._found if path else self._lost).add(path or name, caption)

  def listing(self) -> Listing:
    """Everything that was added.

    Raises:
      UserError: no photo is there, or none of them has a caption.
    """
    captions, missing = self._found.by_image(), self._lost.by_image()
    if not captions and self._first_lost:
      raise UserError(
        f"none of the {len(missing):,} photos named in {self._source} is in {self._tree.src}; "
        f"the first is {self._first_lost!r}{self._tree.hint()}; check --src"
      )
    if not captions:
      raise UserError(f"{self._source} has no captions; check --src")
    uses = Counter(self._seen[path].image_id for path in captions)
    entries = []
    for path, texts in captions.items():
      photo = self._seen[path]
      ident = photo.image_id if uses[photo.image_id] == 1 else path
      entries.append(Entry(ident, self._tree.blob(path), texts, photo.attributes, photo.split))
    return Listing.of(
      entries,
      missing={name: len(texts) for name, texts in missing.items()},
      uncaptioned=(path for path in self.photos.paths if path not in captions),
      dropped=self._found.dropped + self._lost.dropped,
      refused=self._tree.refused,
    )
