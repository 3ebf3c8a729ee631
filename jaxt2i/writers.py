"""Metric writers: every scalar to `metrics.jsonl`, all else to TensorBoard, by CLU's interface.

The only module that imports CLU's metric writers, and TensorFlow is not needed for it.
"""

import contextlib
import importlib.util
import io
import json
import logging
import math
import os
import socket
import sys
import time
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tensorboardX import summary as tensorboard
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter

from jaxt2i.errors import UserError

logger = logging.getLogger(__name__)

if importlib.util.find_spec("tensorflow") is None:
  # Of CLU's writers this module alone imports TensorFlow, and their package imports it.
  _stand_in = types.ModuleType("clu.metric_writers.summary_writer")
  _stand_in.SummaryWriter = type("SummaryWriter", (), {})  # type: ignore[attr-defined]
  sys.modules.setdefault(_stand_in.__name__, _stand_in)

from clu import metric_writers  # noqa: E402


def make_writer(workdir: Path, *, start_step: int) -> metric_writers.MetricWriter:
  """Writes to `workdir/metrics.jsonl` and `workdir/tb/`; one process a workdir.

  `metrics.jsonl` holds one object a line, `{"step": 100, "loss": 0.5}`, one for each call of
  `write_scalars`, written through at once. NaN and infinities, which JSON has not, are the strings
  "NaN", "Infinity" and "-Infinity": `float` of Python and `Number` of JavaScript read them.
  Floats are the shortest decimals that read back to the same float32 (or whichever dtype).

  Should TensorBoard's files fail, that is logged once and training goes on.

  Args:
    workdir: a run's folder, made if absent.
    start_step: the step that the run continues from. What a killed run wrote after it is dropped;
      0 is a fresh start, with an empty file.

  Raises:
    UserError: if `metrics.jsonl` cannot be written, here or later.
  """
  return metric_writers.MultiWriter(
    [_JsonlWriter(workdir, start_step), _TensorBoardWriter(workdir / "tb", start_step)]
  )


class QuietWriter(metric_writers.MetricWriter):
  """Writes nothing; its parameter names are CLU's, since it is called by keyword."""

  def write_summaries(
    self, step: int, values: Mapping[str, Any], metadata: Mapping[str, Any] | None = None
  ) -> None:
    pass

  def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
    pass

  def write_images(self, step: int, images: Mapping[str, Any]) -> None:
    pass

  def write_videos(self, step: int, videos: Mapping[str, Any]) -> None:
    pass

  def write_audios(self, step: int, audios: Mapping[str, Any], *, sample_rate: int) -> None:
    pass

  def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
    pass

  def write_histograms(
    self, step: int, arrays: Mapping[str, Any], num_buckets: Mapping[str, int] | None = None
  ) -> None:
    pass

  def write_hparams(self, hparams: Mapping[str, Any]) -> None:
    pass

  def flush(self) -> None:
    pass

  def close(self) -> None:
    pass


class _JsonlWriter(QuietWriter):
  """Scalars, one JSON object a line."""

  def __init__(self, workdir: Path, start_step: int):
    self._path = workdir / "metrics.jsonl"
    try:
      workdir.mkdir(parents=True, exist_ok=True)
      _drop_later_lines(self._path, start_step)
      self._file = self._path.open("a", encoding="utf-8")
    except OSError as error:
      raise self._unwritable(error) from error

  def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
    values = {name: _to_json(value) for name, value in scalars.items()}
    line = json.dumps({"step": int(step), **values}, allow_nan=False)
    try:
      self._file.write(line + "\n")
      self._file.flush()  # To the operating system: a killed process loses nothing.
    except OSError as error:
      raise self._unwritable(error) from error

  def close(self) -> None:
    try:
      self._file.close()
    except OSError as error:  # A line that could not be written is tried once more.
      raise self._unwritable(error) from error

  def _unwritable(self, error: OSError) -> UserError:
    return UserError(
      f"{self._path} cannot be written ({error.strerror}), expected a folder of yours with space; "
      "mend that or name another workdir"
    )


class _TensorBoardWriter(QuietWriter):
  """Scalars, images, texts, histograms and hyperparameters as TensorBoard event files.

  Written from the caller's thread: tensorboardX's own queue blocks for ever once its thread died
  of a full disk.
  """

  def __init__(self, folder: Path, start_step: int):
    self._reported: set[str] = set()
    self._file: RecordWriter | None = None
    # By the nanosecond: a quick restart must not overwrite. TensorBoard reads in order of names.
    name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
    try:
      folder.mkdir(parents=True, exist_ok=True)
      self._file = RecordWriter(str(folder / name))
    except OSError as error:
      self._give_up(error)
    self._write("version", lambda: [Event(file_version="brain.Event:2")])
    if start_step > 0:
      # Makes TensorBoard forget what a killed run wrote after the step it is resumed from.
      log = SessionLog(status=SessionLog.START)
      self._write("restart", lambda: [Event(step=start_step + 1, session_log=log)])

  def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
    self._add(
      step,
      "scalars",
      lambda: [
        Summary(value=[Summary.Value(tag=name, simple_value=float(np.asarray(value).item()))])
        for name, value in scalars.items()
      ],
    )

  def write_images(self, step: int, images: Mapping[str, Any]) -> None:
    """`images`: [H, W, C] or [N, H, W, C] with C 1 or 3; uint8, or floats in [0, 1]."""
    self._add(
      step, "images", lambda: [s for name, x in images.items() for s in _image_summaries(name, x)]
    )

  def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
    self._add(step, "texts", lambda: [tensorboard.text(name, x) for name, x in texts.items()])

  def write_histograms(
    self, step: int, arrays: Mapping[str, Any], num_buckets: Mapping[str, int] | None = None
  ) -> None:
    buckets = num_buckets or {}
    self._add(
      step,
      "histograms",
      lambda: [
        tensorboard.histogram(name, np.asarray(x), bins=buckets.get(name, 30))
        for name, x in arrays.items()
      ],
    )

  def write_hparams(self, hparams: Mapping[str, Any]) -> None:
    simple = {
      name: value if isinstance(value, str | bool | int | float) else str(value)
      for name, value in hparams.items()
    }
    self._add(0, "hparams", lambda: tensorboard.hparams(simple, {"loss": 0}))

  def flush(self) -> None:
    self._attempt("flush", lambda file: file.flush())

  def close(self) -> None:
    self.flush()
    self._attempt("close", lambda file: file.close())
    self._file = None

  def _add(self, step: int, kind: str, summaries: Callable[[], Iterable[Summary]]) -> None:
    self._write(kind, lambda: [Event(step=int(step), summary=each) for each in summaries()])

  def _write(self, kind: str, events: Callable[[], Iterable[Event]]) -> None:
    def write(file: RecordWriter) -> None:
      for event in events():
        event.wall_time = time.time()
        file.write(event.SerializeToString())

    self._attempt(kind, write)

  def _attempt(self, kind: str, action: Callable[[RecordWriter], Any]) -> None:
    """Runs `action` on the open file; its failure is logged once and never raised."""
    if self._file is None:
      return
    try:
      action(self._file)
    except OSError as error:
      self._give_up(error)
    except Exception:
      if kind not in self._reported:
        self._reported.add(kind)
        logger.exception("TensorBoard %s could not be written; training goes on", kind)

  def _give_up(self, error: OSError) -> None:
    # For good: after half a record the rest of a file is unreadable.
    logger.error("TensorBoard writing stopped (%s); metrics.jsonl goes on", error)
    file, self._file = self._file, None
    if file is not None:
      with contextlib.suppress(OSError):
        file.close()


def _drop_later_lines(path: Path, start_step: int) -> None:
  """Removes lines after `start_step`, and a last line torn by a kill; atomically."""
  if not path.exists():
    return
  partial = path.with_name(f"{path.name}.partial")
  with path.open("rb") as old, partial.open("wb") as new:
    new.writelines(line for line in old if start_step > 0 and _step_of(line) <= start_step)
  os.replace(partial, path)


def _step_of(line: bytes) -> int | float:
  """The step of a line; infinity if it is not a whole line as written here."""
  try:
    step = json.loads(line)["step"]
  except (ValueError, TypeError, KeyError):
    return math.inf
  return step if line.endswith(b"\n") and isinstance(step, int) else math.inf


def _to_json(value: Any) -> bool | int | float | str:
  scalar = np.asarray(value).reshape(())[()]
  if isinstance(scalar.item(), bool | int):
    return scalar.item()
  number = float(str(scalar))  # str is the shortest of its own dtype: 0.1, not 0.10000000149.
  if math.isfinite(number):
    return number
  return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _image_summaries(name: str, images: Any) -> Iterable[Summary]:
  images = np.asarray(images)
  single = images.ndim == 3
  for index, image in enumerate(images[None] if single else images):
    if image.dtype != np.uint8:
      image = np.round(np.clip(image.astype(np.float32), 0, 1) * 255).astype(np.uint8)
    height, width, channels = image.shape
    png = io.BytesIO()
    Image.fromarray(image[..., 0] if channels == 1 else image).save(png, format="PNG")
    encoded = Summary.Image(
      height=height, width=width, colorspace=channels, encoded_image_string=png.getvalue()
    )
    yield Summary(value=[Summary.Value(tag=name if single else f"{name}/{index}", image=encoded)])
