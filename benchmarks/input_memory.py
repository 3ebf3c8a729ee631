"""`python -m benchmarks.input_memory`: memory of a long read, opening a million records."""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.timing import num_cores
from jaxt2i.data import prepared
from jaxt2i.data.prepared import PreparedSource
from jaxt2i.data.records import Record
from jaxt2i.data.stream import train_stream
from jaxt2i.data.transforms import image_row

NUM_READ = 100_000  # examples
NUM_OPENED = 1_000_000  # records
BATCH = 64
OPENINGS = 5


def main() -> int:
  """Prints both measurements."""
  with tempfile.TemporaryDirectory(prefix="jaxt2i-benchmark-") as folder:
    small, large = Path(folder, "small"), Path(folder, "large")
    _write(small, 2_000, 64)
    before, after = _read(small)
    print(f"{num_cores()} cores")
    print(
      f"resident memory before and after {NUM_READ:,} examples of 64×64 in batches of {BATCH}: "
      f"{before:.0f} and {after:.0f} MiB, {after - before:+.1f}"
    )
    _write(large, NUM_OPENED, 8)
    seconds = [_open_anew(large) for _ in range(OPENINGS)]
    print(
      f"opening {NUM_OPENED:,} records and reading the first and the last, in a new process: "
      f"{statistics.median(seconds):.2f} s (median of {OPENINGS}, {min(seconds):.2f}–"
      f"{max(seconds):.2f}, imports not counted)"
    )
  return 0


def _write(directory: Path, count: int, size: int) -> None:
  prepared.write(directory, {"train": _records(count, size)}, attribution="", info={})


def _records(count: int, size: int) -> Iterator[Record]:
  rng = np.random.default_rng(0)
  for number in range(count):
    image = rng.integers(0, 256, (size, size, 3), np.uint8)
    yield Record(f"{number:07d}", image, (f"picture number {number}",), {})


def _read(directory: Path) -> tuple[float, float]:
  """Resident MiB after the first thousand examples, and after all."""
  source = PreparedSource(directory, "train", image_size=64, protocol=prepared.COMPOSITIONAL)
  batches = train_stream(source, image_row, batch_size=BATCH, seed=0, start_step=0)
  for _ in range(1_000 // BATCH):
    next(batches)
  before = _resident()
  for _ in range((NUM_READ - 1_000) // BATCH):
    next(batches)
  return before, _resident()


def _resident() -> float:
  """MiB now, not at the peak."""
  pages = int(Path("/proc/self/statm").read_text().split()[1])
  return pages * resource.getpagesize() / 2**20


def _open_anew(directory: Path) -> float:
  program = f"from benchmarks import input_memory as m; m.open_once({str(directory)!r})"
  done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
  return float(done.stdout)


def open_once(directory: str) -> None:
  """Prints the seconds it takes."""
  start = time.perf_counter()
  source = PreparedSource(Path(directory), "train", image_size=8, protocol=prepared.COMPOSITIONAL)
  assert source[0].image_id == "0000000"
  assert source[len(source) - 1].image_id == f"{NUM_OPENED - 1:07d}"
  print(time.perf_counter() - start)


if __name__ == "__main__":
  sys.exit(main())
