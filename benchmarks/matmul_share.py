"""`python -m benchmarks.matmul_share`: training a prior, as a share of the speed of a matmul.

Steps of all sizes (`prior_step.SIZES`), whose floating-point operations XLA counts, in turns with
a product of two square matrices.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.tables import head, machine, row

SIDE = 2048  # of the matrices; larger ones are no faster
ROUNDS = 7


def main() -> int:
  """Prints a table: median times and the share of each size."""
  os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
  import jax
  import jax.numpy as jnp

  from benchmarks.prior_step import SIZES, cases

  print(machine("jax", "flax") + "\n")
  print(head(("prior", "GFLOP a step", "step ms", "GFLOP/s", "matmul GFLOP/s", "share")))
  square = jax.random.normal(jax.random.key(0), (SIDE, SIDE))
  product = jax.jit(jnp.matmul)
  for size in SIZES:
    ours = next(case for case in cases() if case.name == f"prior_{size}").ours()
    steps, products = _in_turns(ours.step, lambda: jax.block_until_ready(product(square, square)))
    speed, peak = ours.flops / steps / 1e9, 2 * SIDE**3 / products / 1e9
    cells = (f"{ours.flops / 1e9:.1f}", f"{1000 * steps:.0f}", f"{speed:.0f}", f"{peak:.0f}")
    print(row([size, *cells, f"{speed / peak:.0%}"]), flush=True)
  return 0


def _in_turns(*programs: Callable[[], Any]) -> list[float]:
  """Median seconds of each."""
  for program in programs:
    program()  # compiles
  seconds: list[list[float]] = [[] for _ in programs]
  for _ in range(ROUNDS):
    for times, program in zip(seconds, programs, strict=True):
      start = time.perf_counter()
      program()
      times.append(time.perf_counter() - start)
  return [statistics.median(times) for times in seconds]


if __name__ == "__main__":
  sys.exit(main())
