"""Where caches and configs lie, what is logged, and the persistent compilation cache.

Nothing here runs on import: `configure` is called once by each entry point (`jaxt2i`,
`python -m jaxt2i.main`), never by the library.
"""

import logging
import os
import stat
import sys
from pathlib import Path
from typing import Any

from jaxt2i.errors import UserError

_logger = logging.getLogger(__name__)

# Libraries that narrate at INFO what they do; their warnings and errors stay.
_CHATTY = ("absl", "clu", "etils", "grain", "jax", "orbax", "tensorflow_datasets")


def _is_for_people(record: logging.LogRecord) -> bool:
  """False for tracebacks of Orbax's threads and tasks: `checkpoints` says in a line what failed."""
  of_orbax = "orbax" in record.pathname or record.name == "asyncio"  # which Orbax alone uses here
  return not (record.exc_info and of_orbax)


def _report_unraisable(unraisable: Any) -> None:
  """As Python does; nothing of writes that end after Orbax has given up a save, dozens at times."""
  if str(unraisable.exc_value) != "Event loop is closed":
    sys.__unraisablehook__(unraisable)


def cache_dir() -> Path:
  """The folder of prepared data and compiled programs: $JAXT2I_CACHE or ~/.cache/jaxt2i.

  $XDG_CACHE_HOME replaces ~/.cache where it is set. The folder may not exist yet.
  """
  chosen = os.environ.get("JAXT2I_CACHE")
  if chosen:
    return Path(chosen).expanduser().absolute()
  base = os.environ.get("XDG_CACHE_HOME")
  return (Path(base) if base else Path.home() / ".cache") / "jaxt2i"


def configs_dir() -> Path:
  """The folder `configs/` of the checkout that the package was installed from.

  Raises UserError where the package was installed without its checkout (configs are files to be
  read, copied and changed, so they are no part of the package).
  """
  return _of_checkout("configs")


def launch_dir() -> Path:
  """The folder `launch/` of the checkout, templates to be read and changed; as `configs_dir`."""
  return _of_checkout("launch")


def _of_checkout(name: str) -> Path:
  folder = Path(__file__).resolve().parents[1] / name
  if not folder.is_dir():
    raise UserError(
      f"no {name} at {folder}: expected an installation from a checkout; clone the repository, "
      "run `pip install -e .` in it and try again"
    )
  return folder


def configure() -> None:
  """Sets up logging to stderr and the persistent compilation cache; call it once, at the start."""
  _configure_logging()
  _configure_compilation_cache()


def _configure_logging() -> None:
  """INFO and above of jaxt2i as plain lines on stderr; of other libraries only warnings."""
  ours = logging.getLogger("jaxt2i")
  for handler in ours.handlers[:]:
    ours.removeHandler(handler)  # a second call must not print everything twice
  handler = logging.StreamHandler(sys.stderr)
  handler.setFormatter(logging.Formatter("%(message)s"))
  ours.addHandler(handler)
  ours.setLevel(logging.INFO)
  ours.propagate = False  # absl installs a root handler, which would print it again
  for name in _CHATTY:
    logging.getLogger(name).setLevel(logging.WARNING)
  if sys.unraisablehook is sys.__unraisablehook__:  # and not a debugger's or a test's
    sys.unraisablehook = _report_unraisable
  for name in ("absl", "asyncio"):  # where those log
    logging.getLogger(name).addFilter(_is_for_people)


def compilation_cache() -> str:
  """Where compiled programs are kept: $JAX_COMPILATION_CACHE_DIR or `xla` in the cache folder."""
  return os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(cache_dir() / "xla")


def _configure_compilation_cache() -> None:
  """Keeps every compiled program: small ones too add up to seconds of each start."""
  if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    problem = _prepare_private_folder(Path(compilation_cache()))
    if problem:
      _logger.warning("Compiled programs are not kept, so starts are slower: %s", problem)
      return
  import jax

  jax.config.update("jax_compilation_cache_dir", compilation_cache())
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _prepare_private_folder(folder: Path) -> str:
  """Makes `folder`; returns why it can't be trusted with programs that will be run, or ""."""
  try:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
  except OSError as error:
    return f"{folder} can't be made ({error.strerror})"
  if status.st_uid != os.geteuid():
    return f"{folder} belongs to another user"
  if status.st_mode & stat.S_IWOTH:
    return f"{folder} can be written by everybody (chmod o-w it)"
  if not os.access(folder, os.W_OK | os.X_OK):
    return f"{folder} is not writable"
  return ""
