"""Save, verify and restore training states: Orbax behind one small class.

Orbax writes each step to a temporary folder and renames it when complete. Added here: one process
a workdir, a manifest of checksums, a fall-back to the previous good step, shapes and dtypes
compared before anything is read, and reading some of a state without its structure.
"""

import concurrent.futures
import contextlib
import logging
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import orbax.checkpoint as ocp

from jaxt2i import manifest, multiprocess, stored
from jaxt2i.errors import UserError
from jaxt2i.lock import WorkdirLock

logger = logging.getLogger(__name__)

PyTree = Any


class Checkpoints:
  """The checkpoints of one run, held by one process; a context manager.

  `workdir/checkpoints/<step>/state/` holds the arrays, `<step>/manifest.sha256` the checksums.

  Raises:
    UserError: if another process holds the workdir, or it cannot be written.
  """

  def __init__(self, workdir: Path, *, keep: int):
    """Opens `workdir`, made if absent; the newest `keep` >= 1 steps are kept."""
    self._root = workdir / "checkpoints"
    self._lock = WorkdirLock(workdir)
    self._pending: concurrent.futures.Future[None] | None = None
    try:
      self._root.mkdir(parents=True, exist_ok=True)
      if multiprocess.is_first():  # for all processes of the run
        self._lock.acquire()
    except OSError as error:
      raise _unwritable(workdir, error) from error
    try:
      with tempfile.TemporaryFile(dir=self._root):
        pass  # A read-only folder fails here, before anything is compiled.
      self._manager = _make_manager(self._root, keep)
    except BaseException as error:
      self._lock.release()
      if isinstance(error, OSError):
        raise _unwritable(workdir, error) from error
      raise
    self._worker = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="seal")

  def save(self, step: int, state: PyTree, under_way: Mapping[str, Any] | None = None) -> None:
    """Copies `state` to the host and writes it in the background; its buffers may be donated next.

    Waits for the save before, if that is still being written. A step that is the newest complete
    one already is left as it is.

    Args:
      step: the state's.
      state: arrays.
      under_way: JSON that `under_way` gives back, of a run that is stopped between two logs.

    Raises:
      UserError: if this or the previous save failed, or `step` lies before a saved one.
    """
    self.wait()
    latest = self.latest_step()
    if latest is not None and step <= latest:
      if step == latest:
        return
      raise UserError(
        f"step {step} comes before step {latest} saved in {self._root}, expected a later one; "
        f"delete the folders of the steps after {step} to continue from there"
      )
    items: dict[str, Any] = {stored.ITEM: ocp.args.StandardSave(state)}
    if under_way is not None:
      items[stored.UNDER_WAY] = ocp.args.JsonSave(dict(under_way))
    try:
      # force: which steps to save is the caller's choice, not a policy's.
      self._manager.save(step, args=ocp.args.Composite(**items), force=True)
    except OSError as error:
      raise self._not_saved(step, error) from error
    self._pending = self._worker.submit(self._seal, step)

  def latest_step(self) -> int | None:
    """The newest step that is completely written, or None."""
    # Read from disk: after a failed save the manager's own answer is None.
    return next(iter(stored.complete_steps(self._root)), None)

  def under_way(self, step: int) -> dict[str, Any]:
    """What was saved with a step besides its state; {} if nothing was, or there is no such step."""
    return stored.read_under_way(self._root / str(step))

  def restore(self, target: PyTree, step: int | None = None) -> PyTree:
    """Reads a state, bit for bit as it was saved, onto the devices that `target` names.

    Args:
      target: the state's structure with `jax.ShapeDtypeStruct` leaves; one without a sharding goes
        to the first device.
      step: which one; None for the newest. A damaged newest step is set aside as
        `checkpoints/damaged-<step>`, with a warning, and the one before it is read.

    Raises:
      UserError: if there is no such step, none is undamaged, or shapes, dtypes or structure differ.
    """
    self.wait()
    steps = stored.complete_steps(self._root)
    if step is not None and step not in steps:
      raise UserError(
        f"step {step} is not in {self._root}, expected one of {sorted(steps)}; name one of these"
      )
    steps = steps if step is None else [step]
    found, state = stored.read_newest(
      self._root, steps, lambda path: stored.read_state(path, target)
    )
    multiprocess.wait_for_all("restored")  # before what they looked at is moved
    if multiprocess.is_first():
      self._mend(steps[: steps.index(found)], found)
    multiprocess.wait_for_all("mended")
    self._manager.reload()
    return state

  def _mend(self, damaged: list[int], found: int) -> None:
    for step in damaged:
      self._set_aside(step)
    if not manifest.exists(self._root / str(found)):
      # The run was killed between this step's commit and its manifest. Not done for steps that
      # were not read: a kill while an old step is deleted leaves a part of it.
      with contextlib.suppress(OSError):  # On a full disk it is the next save that reports it.
        manifest.write(self._root / str(found))

  def wait(self) -> None:
    """Waits until the save in progress is whole; UserError if it failed."""
    pending, self._pending = self._pending, None
    if pending is None:
      return
    try:
      pending.result()
    except Exception as error:
      with contextlib.suppress(Exception):
        self._manager.wait_until_finished()  # Raises the same once more, once in each thread.
      raise self._not_saved(None, error) from error

  def close(self) -> None:
    """Waits for the save in progress and gives up the workdir; call it, or the save may be lost.

    Raises:
      UserError: if the last save failed; the workdir is given up all the same.
    """
    with contextlib.ExitStack() as stack:
      stack.callback(self._lock.release)
      stack.callback(self._close_manager)
      stack.callback(self._worker.shutdown)
      self.wait()

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
  ) -> None:
    try:
      self.close()
    except UserError as failure:
      if error is None:
        raise
      logger.error("%s", failure)  # The error on its way out is the one to show.

  def _close_manager(self) -> None:
    # It raises once more what a failed save ended in, which `wait` has reported.
    with contextlib.suppress(Exception):
      self._manager.close()

  def _seal(self, step: int) -> None:
    """Runs in the background: the step's manifest, as soon as the step is complete."""
    self._manager.wait_until_finished()
    if multiprocess.is_first():
      manifest.write(self._root / str(step))

  def _not_saved(self, step: int | None, error: Exception) -> UserError:
    latest = self.latest_step()
    what = "the last checkpoint" if step is None else f"the checkpoint of step {step}"
    kept = "no earlier one exists" if latest is None else f"step {latest} is kept"
    return UserError(
      f"{what} could not be written to {self._root} ({_cause(error)}), {kept}; "
      "free some space or mend the folder, then start the same command again"
    )

  def _set_aside(self, step: int) -> None:
    """Renames a damaged step, so that training can reach and save it again."""
    for suffix in ("", *(f"-{number}" for number in range(1, 1000))):
      aside = self._root / f"damaged-{step}{suffix}"
      if not aside.exists():
        break
    (self._root / str(step)).rename(aside)
    logger.warning("the damaged checkpoint of step %d is now %s", step, aside)


def read_arrays(workdir: Path, keys: tuple[str, ...]) -> tuple[int, dict[str, Any]]:
  """Reads top-level entries of the newest good state, without its structure, lock or devices.

  Writes nothing: the workdir may be read-only, or another process's.

  Args:
    workdir: a run's folder.
    keys: entries of the state, such as `("ema_params", "collections")`.

  Returns:
    The step and `{key: nested dict of numpy arrays}`, dtypes as saved (bfloat16 by ml_dtypes).

  Raises:
    UserError: if there is no checkpoint, none is undamaged, or an entry is not in it.
  """
  root = workdir / "checkpoints"
  steps = stored.complete_steps(root)
  try:
    return stored.read_newest(root, steps, lambda path: stored.read_entries(path, keys))
  except Exception:
    if stored.complete_steps(root) == steps:
      raise
  # A training under way has saved newer steps, and removed the one that was being read.
  return read_arrays(workdir, keys)


def _make_manager(root: Path, keep: int) -> ocp.CheckpointManager:
  options = ocp.CheckpointManagerOptions(
    preservation_policy=ocp.checkpoint_managers.LatestN(keep),
    cleanup_tmp_directories=True,  # Left by a save that was killed.
    create=False,
  )
  return ocp.CheckpointManager(root.absolute(), options=options)


def _cause(error: Exception) -> str:
  """What the system said, if that is known: TensorStore's messages have it between much else."""
  code = re.search(r"\[os_error_code='(\d+)'\]", str(error))
  return os.strerror(int(code[1])) if code else stored.one_line(error)


def _unwritable(workdir: Path, error: OSError) -> UserError:
  return UserError(
    f"{workdir} cannot be written ({error.strerror}), expected a folder of yours; "
    "name another workdir or change its permissions"
  )
