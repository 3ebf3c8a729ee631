"""A folder of your own: images and a caption file in Flickr8k's token format."""

import dataclasses
import hashlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from jaxt2i.data.folder_captions import read_captions
from jaxt2i.data.images import BadImageError, read_square
from jaxt2i.data.records import Record, options_fingerprint, share_of_hash
from jaxt2i.errors import UserError

_log = logging.getLogger(__name__)
_VAL_SHARE = 0.1
_BAD_SHARE = 0.01  # more than this is no accident: stop and say so
_NUM_NAMED = 20  # files named in a message


@dataclasses.dataclass(frozen=True)
class Folder:
  """Images of a folder that the caption file names, letterboxed into black squares."""

  image_size: int  # pixels, 8 to 1024
  path: str  # folder; names in the caption file are relative to it
  captions: str  # caption file, see `folder_captions`

  version: ClassVar[int] = 1
  attribution: ClassVar[str] = ""
  licence: ClassVar[str] = ""

  def __post_init__(self):
    size = self.image_size
    if not isinstance(size, int) or isinstance(size, bool) or not 8 <= size <= 1024:
      raise UserError(f"image_size {size!r}: expected a whole number of pixels from 8 to 1024")
    for name in ("path", "captions"):
      if not isinstance(getattr(self, name), str) or not getattr(self, name):
        raise UserError(f"{name} {getattr(self, name)!r}: expected the name of a file or folder")
    if not Path(self.path).is_dir():
      raise UserError(f"image folder {self.path!r} does not exist or is no folder; check path")
    if not Path(self.captions).is_file():
      raise UserError(f"caption file {self.captions!r} does not exist; check the option captions")

  def fingerprint(self) -> str:
    """Sha256 hex of the options, the caption file, and each photo's name, size and change time."""
    digest = hashlib.sha256(Path(self.captions).read_bytes())
    for name in sorted(read_captions(Path(self.captions))):
      path = Path(self.path, name)
      stat = path.stat() if os.path.isfile(path) else None
      digest.update(repr((name, stat and (stat.st_size, stat.st_mtime_ns))).encode())
    return options_fingerprint(self, digest.hexdigest())

  def splits(self) -> Mapping[str, Iterator[Record]]:
    """Records of "train" and "val" (one in ten, by hash of the name), sorted by name.

    Photos that are missing or cannot be decoded are left out, and named in the log.

    Raises:
      UserError: nothing is left, or, while reading, more than 1 % of the photos are bad.
    """
    captions = read_captions(Path(self.captions))
    # os.path.isfile: unlike Path.is_file it is also False for names too long for the system.
    names = sorted(name for name in captions if os.path.isfile(Path(self.path, name)))
    self._report_missing(captions, names)
    val = _val_names(names)
    bad: list[str] = []  # shared: the share counts over both splits

    def records(in_val: bool) -> Iterator[Record]:
      for name in names:
        if (name in val) is in_val:
          try:
            image = read_square(Path(self.path, name), self.image_size)
          except BadImageError as error:
            bad.append(name)
            _log.warning("%s left out: %s", Path(self.path, name), error)
            self._check_bad(bad, names)
          else:
            yield Record(name, image, captions[name], {})

    return {"train": records(False), "val": records(True)}

  def _report_missing(self, captions: Mapping[str, Sequence[str]], names: Sequence[str]) -> None:
    missing = sorted(set(captions) - set(names))
    if not names:
      raise UserError(
        f"none of the {len(missing)} photos named in {self.captions} is in {self.path}; "
        f"the first is {missing[0]}"
      )
    if missing:
      num_lines = sum(len(captions[name]) for name in missing)
      _log.warning(
        "%s: %d captions of %d photos that are not in %s left out: %s",
        self.captions,
        num_lines,
        len(missing),
        self.path,
        _listed(missing),
      )

  def _check_bad(self, bad: Sequence[str], names: Sequence[str]) -> None:
    if len(bad) <= _BAD_SHARE * len(names):
      return
    # It ends here, so all of them may as well be named at once.
    every = [name for name in names if not self._is_good(name)]
    raise UserError(
      f"{len(every)} of {len(names)} photos in {self.path} cannot be decoded (more than 1 %): "
      f"{_listed(every)}; repair or remove them"
    )

  def _is_good(self, name: str) -> bool:
    try:
      read_square(Path(self.path, name), self.image_size)
    except BadImageError:
      return False
    return True


def _val_names(names: Sequence[str]) -> set[str]:
  """About a tenth, by hash of the name; of few photos at least one, but not all."""
  ranked = sorted(names, key=share_of_hash)
  num_val = sum(share_of_hash(name) < _VAL_SHARE for name in names)
  return set(ranked[: min(max(num_val, 1), len(names) - 1)])


def _listed(names: Sequence[str]) -> str:
  more = len(names) - _NUM_NAMED
  return ", ".join(names[:_NUM_NAMED]) + (f" and {more} more" if more > 0 else "")
