"""Errors that are the user's to mend: shown as one line, without a traceback."""


class UserError(Exception):
  """A failure that the message explains: the value, what was expected, what to do."""

  exit_code = 1


class UsageError(UserError):
  """A command or config that was typed wrongly."""

  exit_code = 2
