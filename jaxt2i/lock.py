"""One process a workdir: a lock file that names its owner."""

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxt2i.errors import UserError


class WorkdirLock:
  """Holds `<workdir>/lock` for this process; a lock whose process is dead is taken over.

  Raises:
    UserError: from `acquire`, if a live process, or one on another host, holds the lock.
    OSError: from `acquire`, if the file cannot be written.
  """

  def __init__(self, workdir: Path):
    self._path = workdir / "lock"
    self._owner: dict[str, Any] | None = None

  def acquire(self) -> None:
    """Takes the lock or raises a UserError that names its owner."""
    with _exclusive(self._path) as descriptor:
      held_by = _parse(os.read(descriptor, 4096))
      if held_by is not None and not _is_dead(held_by):
        raise UserError(self._refusal(held_by))
      owner = _describe_this_process()
      os.ftruncate(descriptor, 0)
      os.pwrite(descriptor, json.dumps(owner).encode(), 0)
      self._owner = owner

  def release(self) -> None:
    """Removes the lock file if it is still this process's; a second call does nothing."""
    owner, self._owner = self._owner, None
    # A forked child inherits this object, but not the right to release its parent's lock.
    if owner is None or owner["pid"] != os.getpid() or not self._path.exists():
      return
    with _exclusive(self._path) as descriptor:
      if _parse(os.read(descriptor, 4096)) == owner:
        self._path.unlink()

  def _refusal(self, held_by: dict[str, Any]) -> str:
    where = f"{self._path.parent} is in use by process {held_by['pid']} on {held_by['host']}"
    if held_by["host"] == socket.gethostname():
      return f"{where}, expected one process a workdir; stop that one or name another workdir"
    return (
      f"{where}, expected one process a workdir; "
      f"if that process is gone, delete {self._path}, else name another workdir"
    )


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[int]:
  """Opens `path` read-write while no other process inspects it; yields the descriptor."""
  while True:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
      # Held only while the file is read and rewritten: a lasting flock would pass to forked data
      # workers and outlive a killed trainer. Some network file systems have no flock at all.
      with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
      if _is_still(path, descriptor):
        yield descriptor
        return
    finally:
      os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
  """False if an owner unlinked the file between our open and our flock."""
  try:
    return os.path.samestat(os.stat(path), os.fstat(descriptor))
  except FileNotFoundError:
    return False


def _parse(content: bytes) -> dict[str, Any] | None:
  """The owner written in a lock file; None if it is empty or torn (its writer was killed)."""
  try:
    owner = json.loads(content)
  except ValueError:
    return None
  if not isinstance(owner, dict) or not isinstance(owner.get("host"), str):
    return None
  pid = owner.get("pid")
  return owner if isinstance(pid, int) and 0 < pid < 2**31 else None


def _describe_this_process() -> dict[str, Any]:
  return {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}


def _is_dead(owner: dict[str, Any]) -> bool:
  """True if the owner ran on this host and is gone; another host's processes cannot be seen."""
  if owner["host"] != socket.gethostname():
    return False
  try:
    os.kill(owner["pid"], 0)
  except ProcessLookupError:
    return True
  except PermissionError:
    pass  # It lives and belongs to another user.
  started = _started(owner["pid"])
  if started == "zombie" or started is None or owner.get("started") is None:
    return started == "zombie"
  # The same pid with another start time is another process: pids are reused, after a restarted
  # container even at once.
  return started != owner["started"]


def _started(pid: int) -> str | None:
  """When the process started, in clock ticks since boot; "zombie" if killed but not yet reaped.

  None where there is no /proc.
  """
  try:
    stat = Path(f"/proc/{pid}/stat").read_text()
  except OSError:
    return None
  state, *fields = stat.rpartition(")")[2].split()  # The name before it may hold spaces and ")".
  return "zombie" if state in "ZX" else fields[18]
