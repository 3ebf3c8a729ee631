"""Files of a folder and of the archives in it, which are read in place: nothing is unpacked.

So nothing is ever written, whatever the members of an archive are called.
"""

import gzip
import io
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator

from jaxt2i.data.blobs import MAX_IMAGE_BYTES, ZIP_ERRORS, Blob, FileBlob, ZipBlob, limited
from jaxt2i.errors import UserError

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"))
_MAX_TEXT_BYTES = 2 * 2**30
_ARCHIVES = (".tar", ".zip")
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".7z", ".rar")


def is_image(name: str) -> bool:
  """Whether a file of that name should be an image."""
  return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


class Tree:
  """All files under a folder, those in its tar and zip archives included, by relative name.

  The name of a member is what it would be had the archive been unpacked where it lies; a file
  that is really there comes first. Hidden files are left out.

  Attributes:
    src: the folder.
    refused: what is no plain file, whether in a folder or in an archive, archives that cannot be
      read in place, and names in another encoding; each with the reason.
  """

  def __init__(self, src: str, *, apart: bool = False):
    """Lists the files.

    Args:
      src: the folder.
      apart: members are named as if each archive were a folder, `shard.tar/member`; so two
        archives may have members of the same name.

    Raises:
      UserError: there is no such folder, or it or an archive in it cannot be read.
    """
    if os.path.isfile(src):
      raise UserError(f"{src!r} is a file: --src is the folder that it lies in")
    if not os.path.isdir(src):
      raise UserError(f"folder {src!r} does not exist or is no folder; check --src")
    self.src = src
    self.refused: list[str] = []
    self._blobs: dict[str, Blob] = {}
    archives = []
    for path in _walk(src, self.refused):
      name = path[len(os.path.join(src, "")) :]
      self._blobs[name] = FileBlob(path)
      if name.lower().endswith(_COMPRESSED):
        self.refused.append(f"{name!r}: compressed, so it cannot be read in place: unpack it")
      elif name.lower().endswith(_ARCHIVES):
        archives.append((name, path))
    for name, path in archives:
      folder = name if apart else os.path.dirname(name)
      for member, blob in _members(path, self.refused):
        first = self._blobs.setdefault(os.path.join(folder, member), blob)
        if first is not blob and not _is_whole(first):  # else: the archive has been unpacked
          self.refused.append(f"{member!r} in {path}: there is another of that name in an archive")

  def __iter__(self) -> Iterator[str]:
    return iter(sorted(self._blobs))

  def __contains__(self, name: object) -> bool:
    return name in self._blobs

  def blob(self, name: str) -> Blob:
    """The bytes of a file; KeyError if there is none of that name."""
    return self._blobs[name]

  def images(self) -> dict[str, Blob]:
    """What has the name of an image, sorted by name.

    Raises:
      UserError: there is none.
    """
    found = {name: self._blobs[name] for name in self if is_image(name)}
    if not found:
      raise UserError(f"no images in {self.src}{self.hint()}; check --src")
    return found

  def hint(self) -> str:
    """For the end of a message that something is not there: what was refused first, if anything."""
    return f" ({self.refused[0]})" if self.refused else ""

  def text(self, name: str) -> str:
    """A text file, in UTF-8 with or without a byte-order mark, or in UTF-16 with one; `.gz` too.

    Raises:
      UserError: it cannot be read or is in another encoding; names the line.
    """
    where = f"{self.src}/{name}"
    try:
      data = self._blobs[name].read(_MAX_TEXT_BYTES)
      if name.endswith(".gz"):
        with gzip.open(io.BytesIO(data)) as file:
          data = limited(file.read(_MAX_TEXT_BYTES + 1), _MAX_TEXT_BYTES)
    except (OSError, EOFError, zlib.error) as error:
      raise UserError(f"cannot read {where}: {error}; check the file") from error
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
      return data.decode(encoding)
    except UnicodeDecodeError as error:
      line = data[: error.start].count(b"\n") + 1
      raise UserError(f"{where} line {line}: not UTF-8; save the file as UTF-8") from error


def _walk(folder: str, refused: list[str]) -> Iterator[str]:
  """Paths of the visible plain files; follows links to folders, each real folder once.

  Raises:
    UserError: a folder cannot be read.
  """
  seen = set()
  waiting = [folder]
  while waiting:
    current = waiting.pop()
    real = os.path.realpath(current)
    if real in seen:
      continue  # a link to what encloses it: without this there is no end
    seen.add(real)
    try:
      with os.scandir(current) as found:
        items = sorted(found, key=lambda item: item.name)
    except OSError as error:
      raise UserError(f"cannot read folder {current!r}: {error.strerror}; check --src") from error
    folders = []
    for item in items:
      if _is_hidden(item.name):
        continue
      if problem := _name_problem(item.name):
        refused.append(f"{item.path!r}: {problem}")
      elif os.path.isdir(item) if item.is_symlink() else item.is_dir():
        folders.append(item.path)
      elif os.path.isfile(item) if item.is_symlink() else item.is_file():
        yield item.path
      else:
        refused.append(f"{item.path!r}: no plain file")  # reading from a pipe would never end
    waiting.extend(reversed(folders))


def _is_whole(blob: Blob) -> bool:
  return isinstance(blob, FileBlob) and blob.size < 0


def _is_hidden(name: str) -> bool:
  return name.startswith(".") or name == "__MACOSX"  # what macOS adds to archives


def _name_problem(name: str) -> str:
  # Python stands in for undecodable bytes by what no text file can hold: such a name would only
  # fail later, when it is written down.
  try:
    name.encode()
  except UnicodeEncodeError:
    return "its name is not UTF-8: rename it"
  return ""


def _members(path: str, refused: list[str]) -> Iterator[tuple[str, Blob]]:
  """Names and bytes of an archive's plain files; what is none is added to `refused`.

  Raises:
    UserError: the archive is damaged.
  """
  read = _tar_members if path.lower().endswith(".tar") else _zip_members
  try:
    for name, blob, problem in read(path):
      parts = [part for part in name.split("/") if part not in ("", ".")]
      if name.startswith("/") or ".." in parts:
        problem = "leads out of the archive"
      elif name.lower().endswith(_ARCHIVES + _COMPRESSED):
        problem = "an archive in an archive: unpack the outer one"
      if problem := problem or _name_problem(name):
        refused.append(f"{name!r} in {path}: {problem}")
      elif parts and not any(map(_is_hidden, parts)):
        yield "/".join(parts), blob
  except (tarfile.TarError, *ZIP_ERRORS, OSError, ValueError) as error:
    raise UserError(f"archive {path} is damaged ({error}); fetch it again") from error


def _tar_members(path: str) -> Iterator[tuple[str, Blob, str]]:
  size = os.path.getsize(path)
  with tarfile.open(path, "r:") as archive:
    while (member := archive.next()) is not None:
      archive.members.clear()  # type: ignore[attr-defined]  # else a million take a gigabyte
      if member.isdir():
        continue
      plain = member.isreg() and not member.issparse()
      if plain and member.offset_data + member.size > size:
        raise tarfile.ReadError("it ends too early")
      blob = FileBlob(path, member.offset_data, member.size)
      yield member.name, blob, "" if plain else "no plain file"
    end = archive.offset
  # tarfile takes whatever is no header for the end: only an empty block is, or the file's own end.
  with open(path, "rb") as file:
    file.seek(end)
    if any(file.read(tarfile.BLOCKSIZE)):
      raise tarfile.ReadError(f"no header at byte {end}")


def _zip_members(path: str) -> Iterator[tuple[str, Blob, str]]:
  with zipfile.ZipFile(path) as archive:
    for member in archive.infolist():
      if member.is_dir():
        continue
      link = stat.S_ISLNK(member.external_attr >> 16)
      encrypted = member.flag_bits & 1
      problem = "a link" if link else "encrypted" if encrypted else ""
      yield member.filename, ZipBlob(path, member.filename, member.CRC), problem


__all__ = ["IMAGE_SUFFIXES", "MAX_IMAGE_BYTES", "Blob", "FileBlob", "Tree", "ZipBlob", "is_image"]
