"""Photos with a caption file: Flickr8k, Flickr30k, and a folder of your own."""

import dataclasses
import posixpath
from typing import ClassVar

from jaxt2i.data.files import Tree, is_image
from jaxt2i.data.formats import common
from jaxt2i.data.formats.caption_files import read_rows
from jaxt2i.data.formats.photos import Pairs
from jaxt2i.data.listing import Listing
from jaxt2i.errors import UserError


@dataclasses.dataclass(frozen=True)
class CaptionFolder:
  """A folder of photos and a caption file; `caption_files` says how that may be written.

  A photo's id is its name in the caption file.
  """

  src: str  # the folder
  captions: str = ""  # caption file, relative to the folder; "": the one that there is

  terms: ClassVar[str] = ""
  # Names of caption files, the preferred ones first. Flickr8k's lemma file is none: its words
  # are cut to their stems.
  _KNOWN: ClassVar[tuple[str, ...]] = (
    r"(?!.*lemma).*\.token(\..*)?\.txt|.*\.token|(?!.*lemma).*captions?.*\.(txt|csv|tsv)"
    r"|results\.csv",
  )
  # Names of the lists of an official split.
  _LISTS: ClassVar[dict[str, str]] = {}

  def __post_init__(self):
    common.check_texts(self, ("src", "captions"))

  def listing(self) -> Listing:
    """See Format."""
    tree = Tree(self.src)
    path = common.chosen(tree, self.captions) if self.captions else self._find(tree)
    where = f"{self.src}/{path}"
    pairs = Pairs(tree, where)
    splits = self._splits(tree)
    folders = ("", posixpath.dirname(path))
    for name, captions in read_rows(tree.text(path), where).items():
      photo = pairs.photos.find(name, folders)
      pairs.add(photo, captions, name=name, split=splits.get(_stem(name), ""))
    return pairs.listing()

  def _find(self, tree: Tree) -> str:
    remedy = "choose one with --captions"
    for pattern in self._KNOWN:
      if path := common.only(tree, common.named(tree, pattern), "caption files", remedy):
        return path
    raise UserError(
      f"no caption file, such as captions.txt, in {self.src}{tree.hint()}; name one with --captions"
    )

  def _splits(self, tree: Tree) -> dict[str, str]:
    """The official split of each photo in a list, by the photo's name without suffix."""
    splits: dict[str, str] = {}
    for split, pattern in self._LISTS.items():
      found = common.named(tree, pattern)
      path = common.only(tree, found, f"lists of the {split} split", "keep one of them")
      for line in tree.text(path).split("\n") if path else ():
        stem = _stem(line.strip())
        if stem and splits.setdefault(stem, split) != split:
          raise UserError(
            f"{self.src}/{path}: {stem!r} is in the {splits[stem]} split too; "
            "take it out of one of the lists"
          )
    return splits


@dataclasses.dataclass(frozen=True)
class Flickr8k(CaptionFolder):
  """Flickr8k (Hodosh et al., 2013): 8,091 photos with five captions each.

  As first published (`Flicker8k_Dataset` and `Flickr8k.token.txt`, with lists of the official
  split) or as on Kaggle (`Images` and `captions.txt`).
  """

  terms: ClassVar[str] = (
    "Flickr8k is for non-commercial research and education only; "
    "the photos belong to their Flickr authors and may not be published"
  )
  _KNOWN: ClassVar[tuple[str, ...]] = (r"Flickr8k\.token\.txt", r"captions\.txt")
  _LISTS: ClassVar[dict[str, str]] = {
    "train": r"Flickr_?8k\.trainImages\.txt",
    "val": r"Flickr_?8k\.devImages\.txt",
    "test": r"Flickr_?8k\.testImages\.txt",
  }


@dataclasses.dataclass(frozen=True)
class Flickr30k(CaptionFolder):
  """Flickr30k (Young et al., 2014): 31,783 photos with five captions each.

  `flickr30k_images` with `results_20130124.token` or `results.csv`, and, where there are, the lists
  train.txt, val.txt and test.txt of the split.
  """

  terms: ClassVar[str] = (
    "Flickr30k is for non-commercial research and education only; "
    "the photos belong to their Flickr authors and may not be published"
  )
  _KNOWN: ClassVar[tuple[str, ...]] = (
    r"results_20130124\.token",
    r"results\.csv",
    r"captions\.txt",
  )
  _LISTS: ClassVar[dict[str, str]] = {
    "train": r"train\.txt",
    "val": r"val\.txt",
    "test": r"test\.txt",
  }


def _stem(name: str) -> str:
  base = posixpath.basename(name)
  return posixpath.splitext(base)[0] if is_image(base) else base
