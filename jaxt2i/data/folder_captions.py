"""Caption files in Flickr8k's token format: `name.jpg#k<TAB>caption`, one a line."""

import logging
import re
from pathlib import Path, PurePosixPath

from jaxt2i.errors import UserError

_log = logging.getLogger(__name__)
_LINE = re.compile(r"(?P<name>[^\t]+)#(?P<k>\d+)\t(?P<caption>.*)")


def read_captions(path: Path) -> dict[str, tuple[str, ...]]:
  """Captions by image name, in the order of the file; an image's captions in the order of k.

  Blank lines, empty captions and repetitions are left out; the latter two are counted in the log.

  Raises:
    UserError: the file cannot be read, is not UTF-8, has a line in another format or a name that
      leads out of the folder; names the line.
  """
  found: dict[str, dict[str, int]] = {}  # name -> caption -> k
  empty = repeated = 0
  for number, line in enumerate(_lines(path), start=1):
    if not line.strip():
      continue
    match = _LINE.fullmatch(line)
    if match is None:
      raise UserError(
        f"{path} line {number}: {line[:80]!r}: expected name.jpg#k<TAB>caption, k a number"
      )
    name, caption = match["name"].strip(), " ".join(match["caption"].split())
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name:
      raise UserError(f"{path} line {number}: {name!r}: expected a name inside the image folder")
    if not caption:
      empty += 1
    elif caption in found.setdefault(name, {}):
      repeated += 1
    else:
      found[name][caption] = int(match["k"])
  if empty or repeated:
    _log.info("%s: %d empty captions and %d repeated ones left out", path, empty, repeated)
  if not any(found.values()):
    raise UserError(f"{path} has no captions: expected lines like name.jpg#0<TAB>a red bus")
  # `sorted` is stable: two captions with one k stay in the order of the file.
  return {name: tuple(sorted(rows, key=rows.__getitem__)) for name, rows in found.items() if rows}


def _lines(path: Path) -> list[str]:
  try:
    text = path.read_bytes().decode("utf-8-sig")  # with or without a byte-order mark
  except OSError as error:
    raise UserError(
      f"cannot read the caption file {path}: {error.strerror}; check the option captions"
    ) from error
  except UnicodeDecodeError as error:
    line = error.object[: error.start].count(b"\n") + 1
    raise UserError(f"{path} line {line}: not UTF-8; save the file as UTF-8") from error
  # Not splitlines(): it also splits at characters that a caption may contain.
  return [line.removesuffix("\r") for line in text.split("\n")]
