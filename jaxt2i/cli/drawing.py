"""The options that say how tokens are drawn, for each command that draws."""

import argparse
import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from jaxt2i.sampling import SamplingOptions

# Slightly below the learnt distribution: fewer slips, still varied.
TEMPERATURE = 0.8


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """One option a field of `SamplingOptions`."""
  parser.add_argument("--guidance_scale", type=float, default=1.0, help="1 = off (default: 1)")
  parser.add_argument(
    "--temperature", type=float, default=TEMPERATURE, help=f"(default: {TEMPERATURE})"
  )
  parser.add_argument("--top_k", type=int, default=0, help="0 = off (default: 0)")
  parser.add_argument("--top_p", type=float, default=1.0, help="1 = off (default: 1)")
  masked = "of a masked prior:"
  parser.add_argument("--steps", type=int, default=0, help=f"{masked} passes (default: 8)")
  parser.add_argument(
    "--choice_temperature",
    type=float,
    default=4.5,
    help=f"{masked} how much chance there is in what is drawn first (default: 4.5)",
  )


def options(args: argparse.Namespace) -> "SamplingOptions":
  """The `SamplingOptions` of parsed arguments; UsageError for one that has no meaning."""
  from jaxt2i.sampling import SamplingOptions  # not above: `--help` should not wait for JAX

  names = [field.name for field in dataclasses.fields(SamplingOptions)]
  return SamplingOptions(**{name: getattr(args, name) for name in names})
