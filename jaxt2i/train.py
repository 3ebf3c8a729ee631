"""The only training loop; what it repeats is in `jaxt2i.step`."""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import jax
import numpy as np

from jaxt2i import multiprocess, summary
from jaxt2i.best import Best
from jaxt2i.checkpoints import Checkpoints
from jaxt2i.errors import UserError
from jaxt2i.sharding import whole
from jaxt2i.state import TrainState
from jaxt2i.step import StepFn
from jaxt2i.stopping import EvaluationStoppedError, Stop
from jaxt2i.types import Batch
from jaxt2i.window import BadStep, Window

logger = logging.getLogger(__name__)

# Values by name: numbers, images uint8 [N, H, W, 3], or arrays [n] to be shown as a histogram.
Evaluator = Callable[[TrainState], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class LoopOptions:
  """When the loop does what, in steps.

  Attributes:
    num_steps: length of the run.
    log_every: means over this window are written.
    eval_every: evaluators run, and after the last step.
    checkpoint_every: the state is saved, and after the last step; a multiple of log_every, so
      that a run that goes on from a checkpoint logs the same windows.
    watch: a number of the evaluation, such as "val/nll", of which less is better.
    patience: evaluations without a better one after which the run stops; the best state is kept
      beside (see `jaxt2i.best`). 0: the run has its length, and nothing is watched.
  """

  num_steps: int
  log_every: int
  eval_every: int
  checkpoint_every: int
  watch: str
  patience: int

  def __post_init__(self) -> None:
    for name in ("num_steps", "log_every", "eval_every", "checkpoint_every"):
      if getattr(self, name) < 1:
        raise UserError(f"{name} is {getattr(self, name)}: must be at least 1.")
    if self.patience < 0 or (self.patience > 0 and not self.watch):
      raise UserError(
        f"patience is {self.patience} and watch is {self.watch!r}: must be 0, or 1 or more with a "
        "number to watch, such as val/nll."
      )
    if self.checkpoint_every % self.log_every:
      raise UserError(
        f"checkpoint_every is {self.checkpoint_every}: must be a multiple of log_every "
        f"({self.log_every}), so that a resumed run logs the same windows."
      )


@dataclasses.dataclass(frozen=True)
class Surroundings:
  """What the loop reports to, and hears from.

  Attributes:
    evaluators: {name: state → {metric: value}}; written as `name/metric`.
    writer: a CLU metric writer.
    checkpoints: where the state is saved.
    best: keeps the best state and says when to stop, where the options have a patience.
    stop: says whether somebody asked the run to stop.
    on_save: is told the step of each save.
    on_bad_step: is told of a step that came to no number; answers where to read more of it.
  """

  evaluators: Mapping[str, Evaluator]
  writer: Any
  checkpoints: Checkpoints
  best: Best | None = None
  stop: Stop = dataclasses.field(default_factory=Stop)
  on_save: Callable[[int], None] = lambda step: None
  on_bad_step: Callable[[BadStep], str] = lambda bad: ""


def train(
  step_fn: StepFn,
  state: TrainState,
  batches: Iterator[Batch],
  *,
  options: LoopOptions,
  around: Surroundings,
  under_way: Mapping[str, Any] | None = None,
) -> TrainState:
  """Runs the steps from `state.step` to the end and returns the last state.

  Args:
    step_fn: from `make_train_step`, or one of your own.
    state: fresh or restored.
    batches: starts with the batch of the state's next step.
    options: when to do what.
    around: whom to tell.
    under_way: what a run that was stopped saved with the state, see `Checkpoints.under_way`.

  Raises:
    UserError: a loss or gradient is not finite; the last checkpoint is kept.
    StoppedError: somebody asked the run to stop; all is saved.
  """
  try:
    return _Loop(options, around, int(state.step), under_way or {}).run(step_fn, state, batches)
  except BadStep as bad:
    where = around.on_bad_step(bad)
    raise UserError(
      f"The {bad.name} is {bad.value} at step {bad.step}{where and f' ({where})'}. The last "
      "checkpoint is kept; lower config.optimizer.learning_rate, or check the data, and start "
      "again. (config.step.bad_gradient=skip passes over single such steps.)"
    ) from bad


class _Loop:
  """The loop's own state: the step, and the window that the next line of the log is about.

  A run that was asked to stop saves both wherever it is; one that goes on begins with what was due
  after its last step, where that had not been done.
  """

  def __init__(
    self, options: LoopOptions, around: Surroundings, step: int, under_way: Mapping[str, Any]
  ):
    self._options, self._around = options, around
    self._step = self._first = step
    self._window = Window(under_way.get("window"))
    self._is_due = bool(under_way.get("is_due"))
    self._progress = _Progress(step, options.num_steps)

  def run(self, step_fn: StepFn, state: TrainState, batches: Iterator[Batch]) -> TrainState:
    """See `train`."""
    around = self._around
    if self._is_due:
      self._after_step(state)
    while self._step < self._options.num_steps and not (around.best and around.best.is_over):
      if around.stop.asked(self._step):
        self._save_under_way(state, is_due=False)
      batch = next(batches)
      if self._step == self._first:
        step_fn = self._compiled(step_fn, state, batch)
      state, metrics = step_fn(state, batch)
      self._step += 1
      self._window.add(self._step, metrics, batch.get("index"))
      if self._step == self._first + 1:
        jax.block_until_ready(state.step)
        around.stop.in_steps()
        self._progress.compiled()
        summary.log_cost(step_fn, batch)
      self._after_step(state)
    return state

  def _compiled(self, step_fn: StepFn, state: TrainState, batch: Batch) -> StepFn:
    summary.log_parameters(state)
    logger.info("compiling the training step (once; up to a minute on a small machine) …")
    return summary.compile_step(step_fn, state, batch)

  def _after_step(self, state: TrainState) -> None:
    """Logs, evaluates and saves, whatever is due after this step."""
    options, around, step = self._options, self._around, self._step
    last = step == options.num_steps
    logged = step % options.log_every == 0 or last
    evaluated = step % options.eval_every == 0 or last
    scalars: dict[str, float] = {}
    if logged:
      scalars |= self._window.means()
      self._progress.report(step, scalars["loss"])
    if evaluated:
      try:
        with around.stop.interruptible():
          scalars |= _evaluate(around.evaluators, state, step, around.writer)
      except EvaluationStoppedError:
        self._save_under_way(state, is_due=True)
    if scalars:
      around.writer.write_scalars(step, scalars)
    if logged:
      self._window.clear()
    if around.best and evaluated:
      around.best.update(step, scalars, state)
      last = last or around.best.is_over
    if step % options.checkpoint_every == 0 or last:
      self._save(state)

  def _save_under_way(self, state: TrainState, *, is_due: bool) -> NoReturn:
    """Saves the state and what has been logged of it, and ends the run.

    `is_due`: what comes after this step has not been done.
    """
    window = self._window.to_json()  # first: a state that came to no number is not saved
    self._save(state, {"window": window, "is_due": is_due} if window or is_due else None)
    raise self._around.stop.stopped(self._step)

  def _save(self, state: TrainState, under_way: Mapping[str, Any] | None = None) -> None:
    around = self._around
    # First: of a step that is saved, the log and the best state are on disk.
    around.writer.flush()
    if around.best:
      around.best.wait()
    around.checkpoints.save(self._step, state, under_way)
    around.on_save(self._step)


def _evaluate(
  evaluators: Mapping[str, Evaluator], state: TrainState, step: int, writer: Any
) -> dict[str, float]:
  """Runs evaluators; writes pictures and histograms, returns the numbers, in every process."""
  # Evaluators know of one process: its devices have all that they ask for.
  state = whole(state.replace(params={}, opt_state={}))
  if not multiprocess.is_first():
    evaluators = {}
  values = {
    f"{name}/{metric}": value
    for name, evaluator in evaluators.items()
    for metric, value in evaluator(state).items()
  }
  rank = {name: np.ndim(value) for name, value in values.items()}
  scalars = {name: value for name, value in values.items() if rank[name] == 0}
  logger.info("  " + "  ".join(f"{name} {value:.4g}" for name, value in scalars.items()))
  for write, wanted in ((writer.write_images, 4), (writer.write_histograms, 1)):
    chosen = {name: value for name, value in values.items() if rank[name] == wanted}
    if chosen:
      write(step, chosen)
  return multiprocess.agreed(scalars)


class _Progress:
  """Lines for a person: how far, how fast, how long still."""

  def __init__(self, step: int, num_steps: int):
    self._num_steps = num_steps
    self._start = self._reported = time.monotonic()
    self._first = step

  def compiled(self) -> None:
    """Starts the clock again after the first step."""
    logger.info("compiled in %.0f s", time.monotonic() - self._start)
    self._start = time.monotonic()
    self._first += 1

  def report(self, step: int, loss: float) -> None:
    """One line, at most every 10 seconds, and at the end."""
    now = time.monotonic()
    if now - self._reported < 10 and step < self._num_steps:
      return
    self._reported = now
    seconds = (now - self._start) / max(1, step - self._first)
    left = seconds * (self._num_steps - step)
    logger.info(
      f"step {step}/{self._num_steps}  loss {loss:.4g}  "
      f"{1000 * seconds:.0f} ms/step  {int(left // 60)}:{int(left % 60):02d} left"
    )
