"""The record of a run's starts: when, on what, from which step to which, how long."""

import datetime
import json
import logging
import time
from pathlib import Path
from typing import Any

from jaxt2i import machine

logger = logging.getLogger(__name__)

FILE = "run.json"


class Sessions:
  """Keeps `run.json` of a workdir up to date: one entry a start, all of them kept."""

  def __init__(self, workdir: Path, start_step: int):
    """Begins a new entry; it is written with the first save."""
    self._path = workdir / FILE
    self._before = read(workdir)
    self._start = time.monotonic()
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    self._entry = {"started": now, "from_step": start_step, **machine.facts()}

  def saved(self, step: int) -> None:
    """Notes how far this start has come, and how long it took."""
    seconds = round(time.monotonic() - self._start, 1)
    entry = {**self._entry, "to_step": step, "seconds": seconds}
    partial = self._path.with_suffix(".partial")
    try:
      partial.write_text(json.dumps({"sessions": [*self._before, entry]}, indent=2) + "\n")
      partial.replace(self._path)  # at once: a killed run leaves no half a file
    except OSError as error:  # a record is not worth a training
      logger.warning("%s is not written (%s)", self._path, error.strerror)


def read(workdir: Path) -> list[dict[str, Any]]:
  """The entries of a run, in order; none where there is no record, or none that can be read."""
  try:
    sessions = json.loads((workdir / FILE).read_text())["sessions"]
    return [dict(entry) for entry in sessions]
  except (OSError, ValueError, KeyError, TypeError):
    return []
