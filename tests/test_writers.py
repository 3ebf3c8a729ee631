"""Metric writers, read back from the files they wrote."""

import io
import json
import logging
import resource
import signal
import struct
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from jaxt2i.errors import UserError
from jaxt2i.writers import make_writer, metric_writers


def read_lines(workdir: Path) -> list[dict]:
  def refuse(constant: str):
    raise ValueError(f"{constant} is not JSON")

  text = (workdir / "metrics.jsonl").read_text()
  assert text.endswith("\n") or not text
  return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def masked_crc(data: bytes) -> int:
  crc = crc32c(data) & 0xFFFFFFFF
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_events(workdir: Path) -> list[Event]:
  """All events in file order; the record format is TFRecord: length, CRC, data, CRC."""
  events = []
  for path in sorted((workdir / "tb").iterdir()):
    data = path.read_bytes()
    while data:
      (length,) = struct.unpack("<Q", data[:8])
      body = data[12 : 12 + length]
      assert struct.unpack("<I", data[8:12])[0] == masked_crc(data[:8])
      assert struct.unpack("<I", data[12 + length : 16 + length])[0] == masked_crc(body)
      events.append(Event.FromString(body))
      data = data[16 + length :]
  return events


def values_of(events: list[Event]) -> dict:
  return {(event.step, value.tag): value for event in events for value in event.summary.value}


def test_scalars_go_to_json_lines_and_to_tensorboard(tmp_path):
  writer = make_writer(tmp_path / "run", start_step=0)
  assert isinstance(writer, metric_writers.MetricWriter)
  writer.write_scalars(1, {"loss": jnp.float32(0.1), "lr": 1e-3, "images": np.int64(32)})
  writer.write_scalars(step=2, scalars={"loss": np.array([0.25], np.float32)})
  # Before any flush or close.
  assert read_lines(tmp_path / "run") == [
    {"step": 1, "loss": 0.1, "lr": 0.001, "images": 32},
    {"step": 2, "loss": 0.25},
  ]
  writer.close()
  values = values_of(read_events(tmp_path / "run"))
  assert values[1, "loss"].simple_value == np.float32(0.1)
  assert values[1, "images"].simple_value == 32
  assert read_events(tmp_path / "run")[0].file_version == "brain.Event:2"
  assert values[2, "loss"].simple_value == 0.25


def test_floats_keep_every_bit_of_their_dtype(tmp_path):
  rng = np.random.default_rng(0)
  exact = rng.standard_normal(100).astype(np.float32) * np.float32(10) ** rng.integers(-30, 30, 100)
  exact = exact.astype(np.float32)
  writer = make_writer(tmp_path, start_step=0)
  for step, value in enumerate(exact, 1):
    writer.write_scalars(
      step, {"x": value, "double": float(value) / 3, "half": jnp.bfloat16(value)}
    )
  writer.close()
  lines = read_lines(tmp_path)
  assert [np.float32(line["x"]) for line in lines] == list(exact)
  assert [line["double"] for line in lines] == [float(value) / 3 for value in exact]
  assert [jnp.bfloat16(line["half"]) for line in lines] == [jnp.bfloat16(value) for value in exact]


def test_what_is_not_finite_is_valid_json_and_reads_back_as_float(tmp_path):
  writer = make_writer(tmp_path, start_step=0)
  scalars = {"a": np.float32("nan"), "b": float("inf"), "c": jnp.float32("-inf"), "d": True}
  writer.write_scalars(1, scalars)
  writer.close()
  (line,) = read_lines(tmp_path)
  assert line == {"step": 1, "a": "NaN", "b": "Infinity", "c": "-Infinity", "d": True}
  assert [str(float(line[name])) for name in "abc"] == ["nan", "inf", "-inf"]
  assert np.isnan(values_of(read_events(tmp_path))[1, "a"].simple_value)


def test_resuming_leaves_each_step_exactly_once(tmp_path):
  writer = make_writer(tmp_path, start_step=0)
  for step in range(0, 60, 10):
    writer.write_scalars(step, {"loss": step})
  writer.close()
  with (tmp_path / "metrics.jsonl").open("a") as file:
    file.write('{"step": 60, "lo')  # Torn by a kill.
  writer = make_writer(tmp_path, start_step=30)
  for step in range(40, 70, 10):
    writer.write_scalars(step, {"loss": step + 0.5})
  writer.close()
  assert [(line["step"], line["loss"]) for line in read_lines(tmp_path)] == [
    *[(step, step) for step in (0, 10, 20, 30)],
    *[(step, step + 0.5) for step in (40, 50, 60)],
  ]
  # TensorBoard keeps both files and is told to forget the first one's later steps.
  restarts = [e for e in read_events(tmp_path) if e.HasField("session_log")]
  assert [(e.step, e.session_log.status) for e in restarts] == [(31, SessionLog.START)]
  assert len(list((tmp_path / "tb").iterdir())) == 2


@pytest.mark.parametrize("torn", ['{"step": 20}', "20\n", '{"loss": 1}\n', "\x00\x00\n", "[]\n"])
def test_a_line_that_is_not_whole_is_dropped(tmp_path, torn):
  (tmp_path / "metrics.jsonl").write_text('{"step": 10, "loss": 1}\n' + torn)
  make_writer(tmp_path, start_step=30).close()
  assert read_lines(tmp_path) == [{"step": 10, "loss": 1}]


def test_a_fresh_start_begins_an_empty_file(tmp_path):
  for _ in range(2):
    writer = make_writer(tmp_path, start_step=0)
    writer.write_scalars(0, {"loss": 1.0})
    writer.close()
  assert read_lines(tmp_path) == [{"step": 0, "loss": 1.0}]


WORKER = """
import itertools, sys
from pathlib import Path
from jaxt2i.writers import make_writer
writer = make_writer(Path(sys.argv[1]), start_step=0)
for step in itertools.count(1):
  writer.write_scalars(step, {"loss": step / 7})
  if step == 50: print("written", flush=True)
"""


def test_a_killed_process_loses_no_line(tmp_path, repository):
  command = [sys.executable, "-c", WORKER, str(tmp_path)]
  with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True) as process:
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
  make_writer(tmp_path, start_step=50).close()
  assert read_lines(tmp_path) == [{"step": step, "loss": step / 7} for step in range(1, 51)]


def decode(value) -> np.ndarray:
  return np.asarray(Image.open(io.BytesIO(value.image.encoded_image_string)))


def test_images_are_lossless_and_floats_are_rounded_and_clipped(tmp_path):
  exact = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), np.uint8)
  floats = jnp.array([[[-0.5], [0.0]], [[0.5], [2.0]]])  # [2, 2, 1]
  writer = make_writer(tmp_path, start_step=0)
  writer.write_images(3, {"grid": exact[0], "batch": exact, "floats": floats})
  writer.close()
  values = values_of(read_events(tmp_path))
  np.testing.assert_array_equal(decode(values[3, "grid"]), exact[0])
  np.testing.assert_array_equal(decode(values[3, "batch/1"]), exact[1])
  np.testing.assert_array_equal(decode(values[3, "floats"]), [[0, 0], [128, 255]])
  assert (values[3, "grid"].image.height, values[3, "grid"].image.width) == (5, 7)


def test_texts_histograms_and_hyperparameters(tmp_path):
  writer = make_writer(tmp_path, start_step=0)
  writer.write_hparams({"model": "fsq", "levels": (8, 5), "lr": 1e-3, "ema": True})
  writer.write_texts(2, {"prompts": "red heart, äöü"})
  writer.write_histograms(2, {"counts": jnp.array([0.0, 1.0, 1.0])}, num_buckets={"counts": 2})
  writer.flush()
  events = read_events(tmp_path)  # After flush, before close.
  writer.close()
  values = values_of(events)
  assert values[2, "prompts/text_summary"].tensor.string_val == ["red heart, äöü".encode()]
  assert values[2, "counts"].histo.num == 3
  start = values[0, "_hparams_/session_start_info"].metadata.plugin_data.content
  hparams = HParamsPluginData.FromString(start).session_start_info.hparams
  assert hparams["model"].string_value == "fsq"
  assert hparams["levels"].string_value == "(8, 5)"
  assert hparams["lr"].number_value == 1e-3
  assert hparams["ema"].bool_value is True


def test_every_method_of_the_interface_can_be_called_by_keyword(tmp_path):
  writer = make_writer(tmp_path, start_step=0)
  writer.write_summaries(step=1, values={}, metadata={})
  writer.write_images(step=1, images={})
  writer.write_videos(step=1, videos={})
  writer.write_audios(step=1, audios={}, sample_rate=1)
  writer.write_texts(step=1, texts={})
  writer.write_histograms(step=1, arrays={}, num_buckets={})
  writer.write_hparams(hparams={})
  writer.flush()
  writer.close()
  assert read_lines(tmp_path) == []


def test_a_picture_that_tensorboard_refuses_is_logged_once(tmp_path, caplog):
  writer = make_writer(tmp_path, start_step=0)
  for step in (1, 2):
    writer.write_images(step, {"bad": np.zeros((2, 2))})
    writer.write_scalars(step, {"loss": step})
  writer.close()
  assert [record.levelno for record in caplog.records] == [logging.ERROR]
  assert "images" in caplog.text
  assert [line["step"] for line in read_lines(tmp_path)] == [1, 2]
  assert {(1, "loss"), (2, "loss")} <= values_of(read_events(tmp_path)).keys()


def test_training_goes_on_without_tensorboard(tmp_path, caplog):
  (tmp_path / "tb").write_text("in the way")
  writer = make_writer(tmp_path, start_step=5)
  for step in (6, 7):
    writer.write_scalars(step, {"loss": step})
    writer.flush()
  writer.close()
  assert [line["step"] for line in read_lines(tmp_path)] == [6, 7]
  assert len(caplog.records) == 1
  assert "TensorBoard writing stopped" in caplog.text


def test_training_goes_on_when_tensorboard_files_hit_a_limit(tmp_path, caplog):
  limit = resource.getrlimit(resource.RLIMIT_FSIZE)
  writer = make_writer(tmp_path, start_step=0)
  noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
  resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limit[1]))
  try:
    for step in range(1, 31):
      writer.write_images(step, {"noise": noise})
      writer.write_scalars(step, {"loss": step})
      writer.flush()
    writer.close()
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
  assert [line["step"] for line in read_lines(tmp_path)] == list(range(1, 31))
  assert len(caplog.records) == 1


def test_an_unwritable_metrics_file_is_a_user_error(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match="cannot be written") as error:
    make_writer(tmp_path / "file" / "run", start_step=0)
  assert "\n" not in str(error.value)
  limit = resource.getrlimit(resource.RLIMIT_FSIZE)
  writer = make_writer(tmp_path / "run", start_step=0)
  resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))
  try:
    with pytest.raises(UserError, match="File too large"):
      writer.write_scalars(1, {"a long name" * 10: 1.0})
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
  writer.close()


def test_writers_import_without_tensorflow(repository):
  script = """
import sys
sys.modules["tensorflow"] = None  # An import of it fails.
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "tensorflow" else find_spec(name)
from jaxt2i import writers
from clu import metric_writers, periodic_actions
metric_writers.AsyncMultiWriter([metric_writers.LoggingWriter()]).close()
assert not any(name.startswith("tensorflow") for name, m in sys.modules.items() if m is not None)
"""
  subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=repository, check=True)
