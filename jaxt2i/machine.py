"""What a run was computed on: devices, processor, memory, versions."""

import os
import platform
from importlib import metadata
from pathlib import Path

_VERSIONS = ("jax", "jaxlib", "flax", "optax", "numpy")


def facts() -> dict[str, str]:
  """By name, for a report: devices, processor, cores, memory, system, versions."""
  import jax

  from jaxt2i import __version__

  kinds = sorted({device.device_kind for device in jax.devices()})
  found = {
    "devices": f"{jax.device_count()} × {jax.default_backend()} ({', '.join(kinds)})",
    "processor": processor(),
    "cores": cpu_cores(),
    "memory": memory(),
    "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    "versions": f"jaxt2i {__version__}, "
    + ", ".join(f"{name} {metadata.version(name)}" for name in _VERSIONS),
  }
  return {name: value for name, value in found.items() if value}


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
  """The processor's name; "" where it is not told."""
  try:
    lines = cpuinfo.read_text().splitlines()
  except OSError:
    return platform.processor()
  named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
  return next(named, platform.processor())


def cpu_cores() -> str:
  """How many CPU cores this process may use, and of how many."""
  total = os.cpu_count() or 1
  usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
  return str(total) if usable == total else f"{usable} of {total}"


def memory(meminfo: Path = Path("/proc/meminfo")) -> str:
  """All memory there is; "" where it is not known."""
  try:
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return f"{int(fields['MemTotal'].split()[0]) / 2**20:.0f} GiB"
  except (OSError, KeyError, ValueError):
    return ""
