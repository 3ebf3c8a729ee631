"""The command `jaxt2i`: one thin module a subcommand, with `add_arguments(parser)` and `run(args)`.

Only the module of the chosen subcommand is imported, and it imports JAX inside `run` alone, so
help and typing errors come at once.
"""

import argparse
import importlib
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from jaxt2i import __version__, environment
from jaxt2i.errors import UsageError, UserError, suggest

COMMANDS = {
  "quickstart": "train on drawings or shapes for some minutes, then draw from words",
  "launch": "train on a cluster, in a cloud, or in several processes here",
  "generate": "draw pictures for your own words with a trained run",
  "edit": "draw a part of a picture anew, what lies beside it, or a variation",
  "data": "prepare, split, check and explore images and captions of your own",
  "analyze": "say what a tokenizer's latent space is like, and write a page about it",
  "study": "train and compare many variants at one budget",
  "evaluate": "measure a trained run on a split of its data",
  "compare": "put evaluations of several runs side by side, if they may be compared",
  "sweep": "evaluate many ways of drawing on validation, to choose one",
  "export": "make a small folder of a trained run, to be passed on",
  "words": "learn word vectors from captions, show nearest neighbours",
  "doctor": "show devices, versions, folders and disk, and say what looks wrong",
}


def main(argv: Sequence[str] | None = None) -> int:
  """Runs `jaxt2i <argv>`; returns the exit code: 0, or 1 (failure), 2 (usage), 130 (Ctrl-C).

  A user's mistake is one line on stderr; any other exception is a bug and keeps its traceback.
  """
  try:
    return _run(list(sys.argv[1:] if argv is None else argv))
  except UserError as error:
    print(f"jaxt2i: error: {' '.join(str(error).split())}", file=sys.stderr)
    return error.exit_code
  except KeyboardInterrupt:
    print("jaxt2i: interrupted", file=sys.stderr)
    return 130


def _run(argv: list[str]) -> int:
  name = argv[0] if argv else "--help"
  if name not in COMMANDS:
    _top_parser().parse_args([name])  # --help and --version exit in there
    raise UsageError(
      f"unknown command {name!r}; {suggest(name, COMMANDS)} (`jaxt2i --help` describes them)"
    )
  command = importlib.import_module(f"jaxt2i.cli.{name}")
  parser = _Parser(prog=f"jaxt2i {name}", description=_sentence(COMMANDS[name]), allow_abbrev=False)
  command.add_arguments(parser)
  args = parser.parse_args(argv[1:])
  environment.configure()
  return command.run(args)


def _top_parser() -> argparse.ArgumentParser:
  lines = [f"  {name:<12}{text}" for name, text in COMMANDS.items()]
  parser = _Parser(
    prog="jaxt2i",
    usage="jaxt2i <command> [options]",
    description="commands:\n" + "\n".join(lines),
    epilog="`jaxt2i <command> --help` lists the options of a command.",
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  parser.add_argument("--version", action="version", version=f"jaxt2i {__version__}")
  parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
  return parser


class _Parser(argparse.ArgumentParser):
  """An argument parser whose complaints are one line, with the option that was probably meant."""

  def parse_known_args(self, args=None, namespace=None):
    """As argparse's, but what is unknown to an action is answered by that action.

    A command with a default of `config_options` gets every --config.x=y there, as it was typed.
    """
    namespace, unknown = super().parse_known_args(args, namespace)
    if hasattr(namespace, "config_options"):
      is_option = re.compile(r"--config\.[^=\s]+=").match
      namespace.config_options = [word for word in unknown if is_option(word)]
      unknown = [word for word in unknown if not is_option(word)]
    if unknown:
      self.error(f"unrecognized arguments: {' '.join(unknown)}")
    return namespace, unknown

  def error(self, message: str) -> NoReturn:
    known = set(re.findall(r"--[\w-]+", self.format_help()))
    for word in re.findall(r"--[\w-]+", message):
      if word not in known:
        message += f"; {suggest(word, known)}"
    message = " ".join(message.split())
    raise UsageError(f"{message} (`{self.prog} --help` lists the options)")


def _sentence(text: str) -> str:
  return text[0].upper() + text[1:] + "."
