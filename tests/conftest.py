"""What every test runs under: two CPU devices, strict dtypes and ranks, checked annotations.

The settings that JAX reads once must be made before it is imported, hence the order below.
"""

import logging
import os
import shutil
import tempfile
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
  os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
).strip()
# Prepared data is made once a session, from the code as it is now, never found in a user's cache.
_CACHE = tempfile.mkdtemp(prefix="jaxt2i-tests-")
os.environ["JAXT2I_CACHE"] = _CACHE

import jax
import pytest
from jaxtyping import install_import_hook

_HOOK = install_import_hook("jaxt2i", "beartype.beartype")

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# After the hook above: what imports the package must come later.
from tests.runs import (  # noqa: F401
  clear_pipeline,
  main_command,
  prior_pipeline,
  prior_run,
  refused,
  tokenizer_pipeline,
  tokenizer_run,
)

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
  # What is compiled is kept for the next file, the commands that tests start, and the next session.
  cache = getattr(config, "cache", None)  # absent under `-p no:cacheprovider`
  folder = str(cache.mkdir("xla") if cache else Path(_CACHE) / "xla")
  os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
  jax.config.update("jax_compilation_cache_dir", folder)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def pytest_unconfigure() -> None:
  shutil.rmtree(_CACHE, ignore_errors=True)


@pytest.fixture(autouse=True, scope="module")
def _programs_forgotten():
  """Gives back the memory of what a file's tests compiled: all of it together is gigabytes."""
  yield
  jax.clear_caches()


@pytest.fixture(autouse=True)
def _settings_restored():
  """Undoes what an entry point that a test calls sets for the whole process."""
  logger = logging.getLogger("jaxt2i")

  def untouched() -> None:
    logger.handlers[:], logger.level, logger.propagate = [], logging.NOTSET, True

  untouched()  # a fixture of a whole module may have called one before
  cache_options = ("jax_persistent_cache_min_compile_time_secs", "jax_compilation_cache_dir")
  values = {name: getattr(jax.config, name) for name in cache_options}
  yield
  untouched()
  for name, value in values.items():
    if getattr(jax.config, name) != value:
      jax.config.update(name, value)


@pytest.fixture
def repository() -> Path:
  """The root of the checkout."""
  return REPOSITORY


@pytest.fixture
def shared_data(repository: Path) -> Path:
  """Photographs with captions that lie beside some checkouts; skips where they are absent."""
  folder = repository.parent / "shared" / "data"
  if not folder.is_dir():
    pytest.skip(f"no data sets at {folder}")
  return folder
