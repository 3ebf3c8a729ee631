"""SHA-256 of every file of a checkpoint: Orbax loads flipped bits of array data silently."""

import hashlib
import os
from pathlib import Path

NAME = "manifest.sha256"


def exists(folder: Path) -> bool:
  """Whether `folder` has a manifest."""
  return (folder / NAME).exists()


def write(folder: Path) -> None:
  """Writes `<folder>/manifest.sha256` atomically, as `sha256sum --check` reads it."""
  names = sorted(
    path.relative_to(folder).as_posix()
    for path in folder.rglob("*")
    if path.is_file() and not path.name.startswith(NAME)
  )
  partial = folder / f"{NAME}.partial"
  partial.write_text("".join(f"{_sha256(folder / name)}  {name}\n" for name in names))
  os.replace(partial, folder / NAME)


def find_damage(folder: Path) -> str | None:
  """Checks `folder` against its manifest; says what is wrong with the first bad file, if any."""
  lines = (folder / NAME).read_text(errors="replace").splitlines()
  for line in lines:
    digest, separator, name = line.partition("  ")
    if len(digest) != 64 or not separator:
      return f"{NAME} is truncated or altered"
    if not (folder / name).is_file():
      return f"{name} is missing"
    if _sha256(folder / name) != digest:
      return f"{name} is truncated or altered"
  return None if lines else f"{NAME} is empty"


def find_stranger(folder: Path) -> str | None:
  """The first file in `folder` that its manifest does not name, if any."""
  lines = (folder / NAME).read_text(errors="replace").splitlines()
  known = {NAME, *(line.partition("  ")[2] for line in lines)}
  found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
  return next((name for name in sorted(found) if name not in known), None)


def _sha256(path: Path) -> str:
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
