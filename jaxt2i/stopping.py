"""Stopping a run when it is asked to: SIGTERM of a scheduler, Ctrl-C of a person.

Every first request waits for the moment at which nothing is lost; a second Ctrl-C does not wait.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType

from jaxt2i.errors import UserError

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PATIENCE = 5.0  # seconds that compiled code is given to come back, where nothing is to be saved


class StoppedError(UserError):
  """A run that was asked to stop and did, with all that it had learnt saved."""

  exit_code = 3


class EvaluationStoppedError(Exception):
  """A request to stop that came during an evaluation; its step is to be saved."""


class Stop:
  """Listens for requests to stop; a context manager of the main thread.

  What a request does depends on what the run is doing. While it starts and compiles there is
  nothing to save, and StoppedError is raised at once. From `in_steps` on, `asked` answers True.
  Within `interruptible`, EvaluationStoppedError is raised.

  Attributes:
    agreement: of several processes that are one run: says at which step all of them stop, once one
      was asked to by SIGTERM, for which it listens itself. Evaluations are not interrupted then.
  """

  agreement: Callable[[int], bool] | None = None

  def __init__(self) -> None:
    self._signal: int | None = None
    self._stepping = self._interruptible = False
    self._handlers: dict[int, object] = {}
    self._pipe: tuple[int, int] | None = None

  def __enter__(self) -> "Stop":
    if threading.current_thread() is not threading.main_thread():
      return self  # only the main thread may listen
    self._handlers = {number: signal.signal(number, self._handle) for number in _SIGNALS}
    # Python runs handlers between two steps of Python, so not while XLA compiles or computes; what
    # it writes into this pipe arrives at once.
    self._pipe = os.pipe()
    os.set_blocking(self._pipe[1], False)
    self._wakeup = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
    threading.Thread(target=self._watch, args=(self._pipe[0],), daemon=True).start()
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
  ) -> None:
    if self._pipe is None:
      return
    for number, handler in self._handlers.items():
      signal.signal(number, handler)  # type: ignore[arg-type]
    signal.set_wakeup_fd(self._wakeup)
    os.close(self._pipe[1])  # ends the thread
    self._pipe = None

  def in_steps(self) -> None:
    """From now on there is something to save."""
    self._stepping = True

  def asked(self, step: int) -> bool:
    """Whether the run is to save and stop before its next step, this many having been taken.

    Of several processes all have to ask, and get the same answer at the same step.
    """
    return self.agreement(step) if self.agreement else self._signal is not None

  @contextlib.contextmanager
  def interruptible(self) -> Iterator[None]:
    """A request raises EvaluationStoppedError in here."""
    self._interruptible = self.agreement is None
    try:
      if self._interruptible and self._signal is not None:
        raise EvaluationStoppedError
      yield
    finally:
      self._interruptible = False

  def stopped(self, saved: int | None) -> StoppedError:
    """The error to end the run with, once step `saved` is saved."""
    name = signal.Signals(self._signal or signal.SIGTERM).name
    what = "nothing was to be saved" if saved is None else f"step {saved} is saved"
    return StoppedError(f"stopped by {name}, {what}; the same command goes on from there")

  def _handle(self, number: int, frame: FrameType | None) -> None:
    if self._signal is not None:
      return  # the second Ctrl-C is the thread's
    self._signal = number
    if self._interruptible:
      raise EvaluationStoppedError
    if not self._stepping:
      raise self.stopped(None)
    if self.agreement:
      os.kill(os.getpid(), signal.SIGTERM)
    _say("jaxt2i: stopping; saving first (Ctrl-C again quits at once)")

  def _watch(self, pipe: int) -> None:
    """Runs in a thread of its own: answers what the main thread cannot."""
    interrupts = 0
    while numbers := os.read(pipe, 64):
      interrupts += numbers.count(signal.SIGINT)
      if interrupts > 1:
        _quit("jaxt2i: quit at once; the last checkpoint is whole", 130)
      if not self._stepping:
        threading.Timer(_PATIENCE, self._give_up).start()
    os.close(pipe)

  def _give_up(self) -> None:
    if not self._stepping and self._pipe is not None:
      error = self.stopped(None)
      _quit(f"jaxt2i: {error}", error.exit_code)


def _quit(message: str, code: int) -> None:
  _say(message)
  os._exit(code)


def _say(message: str) -> None:
  """To stderr past its buffer, which the code that a signal interrupts may be writing to."""
  with contextlib.suppress(OSError):
    os.write(2, f"{message}\n".encode())
