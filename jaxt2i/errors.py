"""Errors that are the user's to mend: shown as one line, without a traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
  """A failure that the message explains: the value, what was expected, what to do."""

  exit_code = 1


class UsageError(UserError):
  """A command or config that was typed wrongly."""

  exit_code = 2


def suggest(word: str, known: Iterable[str]) -> str:
  """The end of a message about an unknown word: the one that was probably meant, or all."""
  words = sorted(known)
  if not words:
    return "there are none."
  close = difflib.get_close_matches(word, words, n=1)
  return f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(words)}"
