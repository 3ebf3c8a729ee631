"""Bytes of single files and of members of archives, read where they lie."""

import dataclasses
import functools
import lzma
import os
import zipfile
import zlib
from typing import Protocol, runtime_checkable

MAX_IMAGE_BYTES = 128 * 2**20  # of an encoded image: a member of a zip can unpack to any size
ZIP_ERRORS = (
  zipfile.BadZipFile,
  zlib.error,
  lzma.LZMAError,
  RuntimeError,  # encrypted; also NotImplementedError: a way of packing that Python lacks
  EOFError,
  KeyError,  # the archive was replaced
)


@runtime_checkable
class Blob(Protocol):
  """The bytes of one file, wherever they lie; picklable, and small."""

  def read(self, limit: int = MAX_IMAGE_BYTES) -> bytes:
    """The bytes. OSError if they cannot be read or are more than `limit`."""
    ...

  def identity(self) -> str:
    """Changes when the bytes do, as far as can be told without reading them; OSError."""
    ...


@dataclasses.dataclass(frozen=True, slots=True)
class FileBlob:
  """A file, or `size` bytes of one from `offset` on: a member of a tar archive."""

  path: str
  offset: int = 0
  size: int = -1  # to the end

  def read(self, limit: int = MAX_IMAGE_BYTES) -> bytes:
    """See Blob."""
    with open(self.path, "rb") as file:
      size = os.fstat(file.fileno()).st_size if self.size < 0 else self.size
      if size > limit:
        raise OSError(f"more than {limit:,} bytes")
      file.seek(self.offset)
      data = file.read(size)  # not of `limit` bytes: a buffer would be made for them
    if len(data) < self.size:
      raise OSError(f"{self.path} ends too early")
    return data

  def identity(self) -> str:
    """See Blob."""
    now = os.stat(self.path)
    return f"{self.offset}+{self.size} of {now.st_size} changed {now.st_mtime_ns}"


@dataclasses.dataclass(frozen=True, slots=True)
class ZipBlob:
  """A member of a zip archive."""

  path: str
  member: str
  crc: int

  def read(self, limit: int = MAX_IMAGE_BYTES) -> bytes:
    """See Blob."""
    try:
      with _open_zip(self.path, os.getpid()).open(self.member) as file:
        return limited(file.read(limit + 1), limit)
    except ZIP_ERRORS as error:
      raise OSError(f"{self.member!r} in {self.path}: {error}") from error

  def identity(self) -> str:
    """See Blob."""
    return f"{self.crc:08x}"


def limited(data: bytes, limit: int) -> bytes:
  """The data as they are. OSError if they are more than `limit` bytes."""
  if len(data) > limit:
    raise OSError(f"more than {limit:,} bytes")
  return data


# A few stay open, since the list of members takes long; never shared with a forked process, which
# would move the same file position.
@functools.lru_cache(maxsize=4)
def _open_zip(path: str, process: int) -> zipfile.ZipFile:
  return zipfile.ZipFile(path)
