"""The options that say how tokens are drawn, for each command that draws."""

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from jaxt2i.errors import UsageError

if TYPE_CHECKING:
  from jaxt2i.sampling import SamplingOptions

# Slightly below the learnt distribution: fewer slips, still varied.
TEMPERATURE = 0.8


def add_workdir(parser: argparse.ArgumentParser) -> None:
  """`--workdir`, of a prior; None stands for the model that comes along."""
  parser.add_argument(
    "--workdir", help="folder of a trained prior (default: a small one that comes along)"
  )


def model(args: argparse.Namespace) -> dict[str, str]:
  """What metadata say of the model that drew."""
  if args.workdir is None:
    return {"model": "the one that comes along"}
  return {"workdir": args.workdir}


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """One option a field of `SamplingOptions`."""
  parser.add_argument("--guidance_scale", type=float, default=1.0, help="1 = off (default: 1)")
  parser.add_argument(
    "--guidance_schedule",
    default="constant",
    help="constant, or rising from 1 to --guidance_scale while drawing (default: constant)",
  )
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


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
  """What every command that draws for prompts has beside: seed, negative prompt, options."""
  add_seed(parser)
  parser.add_argument(
    "--negative_prompt",
    default="",
    help="what guidance leads away from (default: from no caption)",
  )
  add_arguments(parser)


def add_rerank(parser: argparse.ArgumentParser) -> None:
  """`--rerank`, and of how many."""
  parser.add_argument("--rerank", help="workdir of a dual encoder: keep what fits the prompt best")
  parser.add_argument(
    "--candidates", type=int, help="with --rerank, drawn for each kept (default: 8)"
  )


def candidates(args: argparse.Namespace) -> int:
  """Drawn for each picture that is kept: 1 without `--rerank`, where more would be useless."""
  if not args.rerank:
    if args.candidates is not None:
      raise UsageError(f"--candidates is {args.candidates}: without --rerank nothing chooses.")
    return 1
  return 8 if args.candidates is None else args.candidates


def add_seed(parser: argparse.ArgumentParser) -> None:
  """`--seed`."""
  parser.add_argument("--seed", type=int, default=0, help="same seed, same pictures (default: 0)")


def seed(args: argparse.Namespace) -> int:
  """The seed of parsed arguments; UsageError for none that there is."""
  if not 0 <= args.seed < 2**32:
    raise UsageError(f"--seed is {args.seed}: must be from 0 to {2**32 - 1}.")
  return args.seed


def options(args: argparse.Namespace) -> "SamplingOptions":
  """The `SamplingOptions` of parsed arguments; UsageError for one that has no meaning."""
  from jaxt2i.sampling import SamplingOptions  # not above: `--help` should not wait for JAX

  names = [field.name for field in dataclasses.fields(SamplingOptions)]
  return SamplingOptions(**{name: getattr(args, name) for name in names})


def arguments(args: argparse.Namespace) -> dict[str, Any]:
  """What `add_common_arguments` added, as a pipeline takes it; UsageError as of `options`."""
  chosen = dataclasses.asdict(options(args))
  return {"seed": seed(args), "negative_prompt": args.negative_prompt, **chosen}


def note(prompt: str, text_processor: Any) -> None:
  """Says what of a prompt the model cannot use."""
  if text_processor is None:
    return  # a tokenizer without a prior: drawing will refuse
  if not prompt.strip():
    print("note: an empty prompt draws without a caption (unconditional).")
    return
  for text in text_processor.notes(prompt):
    print(f"note: {text}")
