"""The state that was best on validation, and when to stop looking for a better one."""

import json
import logging
import math
import shutil
from pathlib import Path
from typing import Any

from jaxt2i import multiprocess, stored
from jaxt2i.checkpoints import Checkpoints
from jaxt2i.errors import UserError

logger = logging.getLogger(__name__)

FOLDER = "best"  # in the workdir: a workdir of its own, which holds one checkpoint


class Best:
  """Early stopping: a context manager that keeps the state with the lowest value of a metric.

  Nothing of it is kept in the state: a run that goes on reads from `metrics.jsonl` what was best so
  far, and stops at the step at which it would have stopped.

  Attributes:
    metric: such as "val/nll"; lower is better.
    patience: evaluations without a better value until the run stops, 1 or more.
  """

  def __init__(self, workdir: Path, *, metric: str, patience: int, start_step: int):
    """`start_step`: the step that the run continues from; what was logged later does not count."""
    self.metric, self.patience = metric, patience
    self._value, self._since = math.inf, 0
    for value in _logged(workdir / "metrics.jsonl", metric, start_step):
      self._note(value)
    # What a killed run found later is found again, at the same step; what a run found that was here
    # before, and of which nothing else is left, must not stand for this one.
    if multiprocess.is_first():
      for step in steps(workdir):
        if step > start_step:
          shutil.rmtree(workdir / FOLDER / "checkpoints" / str(step))
    multiprocess.wait_for_all("best")
    self._saved = Checkpoints(workdir / FOLDER, keep=1)

  def __enter__(self) -> "Best":
    return self

  def __exit__(self, *error: Any) -> None:
    self._saved.__exit__(*error)

  @property
  def is_over(self) -> bool:
    """Whether the run is to stop."""
    return self._since >= self.patience

  def update(self, step: int, scalars: dict[str, float], state: Any) -> None:
    """Looks at what an evaluation found; saves the state if it is the best so far.

    Raises:
      UserError: no evaluation gives the metric, or the state cannot be saved.
    """
    if self.metric not in scalars:
      known = ", ".join(sorted(scalars))
      raise UserError(
        f"config.loop.watch is {self.metric!r}: must be a number of the evaluation ({known})."
      )
    if self._note(scalars[self.metric]):
      self._saved.save(step, state)
    if self.is_over:
      logger.info(
        "no better %s for %d evaluations (best %.4g): stopping",
        self.metric,
        self._since,
        self._value,
      )

  def wait(self) -> None:
    """Waits until the best state is whole on disk; UserError if it could not be saved."""
    self._saved.wait()

  def _note(self, value: float) -> bool:
    better = value < self._value
    self._value, self._since = (value, 0) if better else (self._value, self._since + 1)
    return better


def _logged(path: Path, metric: str, start_step: int) -> list[float]:
  if not start_step:
    return []
  try:
    text = path.read_text(encoding="utf-8", errors="replace")
  except OSError as error:
    raise UserError(
      f"{path} cannot be read ({error.strerror}), expected what config.loop.patience counts; "
      "restore it from a copy, or start in another workdir"
    ) from error
  values = []
  for written in text.splitlines():
    try:
      line = json.loads(written)
      if metric in line and line["step"] <= start_step:
        values.append(float(line[metric]))
    except (ValueError, TypeError, KeyError):
      continue  # torn by a kill
  return values


def steps(workdir: Path) -> list[int]:
  """The steps of a run whose states were kept as its best; newest first."""
  return stored.complete_steps(workdir / FOLDER / "checkpoints")
