"""Lines of a Markdown table, and the machine that the numbers come from."""

import importlib.metadata
import platform
from collections.abc import Sequence

from benchmarks.timing import num_cores
from jaxt2i.machine import processor


def row(cells: Sequence[str]) -> str:
  """One line, the first cell left-aligned and wide."""
  first, *others = cells
  return f"| {first:24} | " + " | ".join(f"{cell:>10}" for cell in others) + " |"


def head(cells: Sequence[str]) -> str:
  """The two lines that open a table."""
  return "\n".join((row(cells), row(["---", *["---:"] * (len(cells) - 1)])))


def machine(*packages: str) -> str:
  """Processor, cores that may be used, and versions of Python and of the packages."""
  versions = (f"{name} {importlib.metadata.version(name)}" for name in packages)
  return f"{processor()}, {num_cores()} cores; Python {platform.python_version()}, " + ", ".join(
    versions
  )
