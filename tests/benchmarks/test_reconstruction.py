"""Equal minutes: what is planned, what is trained, what is measured, on both sides."""

import importlib.util
import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jaxt2i
from benchmarks import equal_minutes, reconstruction
from benchmarks.jax_tokenizer import JaxTokenizer, make_config
from jaxt2i import data
from jaxt2i.data import splits
from jaxt2i.data.records import Record
from jaxt2i.data.stream import eval_stream
from jaxt2i.data.transforms import image_row
from jaxt2i.errors import UsageError
from jaxt2i.evaluators.reconstruction import Reconstruction
from tests.photos import entries, prepared_photos
from tests.runs import config, train

ROW = {
  **{"num_parameters": 1_600_000, "steps": 90, "seconds": 66.0, "images_per_second": 24.0},
  **{"psnr": 19.25, "ssim": 0.5, "codebook_usage": 0.5, "perplexity": 300.0},
}


class Repeater:
  """Learns nothing; gives images back a little brighter, the first pixel's red as the token."""

  num_parameters, codebook_size, batch_size, seed = 7, 256, 2, 0

  def __init__(self, seconds: float = 0.0) -> None:
    self.seconds = seconds
    self.now = 0.0
    self.calls: list[Any] = []

  def start(self, num_steps: int) -> None:
    self.calls.append(num_steps)

  def step(self, images: np.ndarray) -> None:
    self.calls.append(images)
    self.now += self.seconds

  def wait(self) -> None:
    self.calls.append("wait")

  def reconstruct(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return images + np.uint8(10), images[:, 0, 0, 0].astype(int)


def _records(count: int) -> list[Record]:
  """Grey images whose first pixel has the number of the record."""
  images = np.full((count, 16, 16, 3), 100, np.uint8)
  images[:, 0, 0, 0] = np.arange(count)
  return [Record(str(i), image, ("grey",), {}) for i, image in enumerate(images)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
  folder = tmp_path_factory.mktemp("photos")
  made = prepared_photos(folder, entries(folder / "files", 40), size=64)
  splits.make(made, "image")
  return made


def _options(photos: Path) -> dict[str, Any]:
  return {"name": "prepared", "path": str(photos), "image_size": 64, "protocol": "image"}


def _source(photos: Path, split: str) -> list[Record]:
  source = data.load(split, **_options(photos))
  return [source[i] for i in range(len(source))]


def test_as_many_steps_are_planned_as_fit_into_the_minutes(monkeypatch):
  learner = Repeater(seconds=0.5)
  monkeypatch.setattr(time, "perf_counter", lambda: learner.now)
  assert equal_minutes.planned_steps(learner, _records(6), minutes=1.5) == 180
  assert learner.calls[-1] == "wait", "steps that are still under way would not be timed"


def test_even_the_shortest_training_takes_a_step(monkeypatch):
  learner = Repeater(seconds=0.5)
  monkeypatch.setattr(time, "perf_counter", lambda: learner.now)
  assert equal_minutes.planned_steps(learner, _records(6), minutes=1e-6) == 1


def test_a_training_starts_anew_after_planning(photos, monkeypatch):
  learner = Repeater(seconds=0.5)
  monkeypatch.setattr(time, "perf_counter", lambda: learner.now)
  result = equal_minutes.train_and_evaluate(learner, _options(photos), minutes=0.1)
  assert (result.steps, result.seconds, result.images_per_second) == (12, 6.0, 4.0)
  planning, last = (i for i, call in enumerate(learner.calls) if isinstance(call, int))
  assert learner.calls[last] == 12
  images = [call for call in learner.calls[last:] if isinstance(call, np.ndarray)]
  assert len(images) == 12
  np.testing.assert_array_equal(images[0], learner.calls[planning + 1])  # the order, from the top


def test_half_of_the_training_images_are_mirrored(photos):
  records = _source(photos, "train")
  known = np.stack([record.image for record in records])
  batches = equal_minutes._batches(Repeater(), records)
  seen = np.concatenate([next(batches) for _ in range(30)])
  as_is = [(known == image).all((1, 2, 3)).any() for image in seen]
  mirrored = [(known[:, :, ::-1] == image).all((1, 2, 3)).any() for image in seen]
  assert np.all(np.not_equal(as_is, mirrored))
  assert 0.2 < np.mean(mirrored) < 0.8


def test_qualities_are_of_the_whole_split_without_its_padding():
  count = equal_minutes.EVAL_BATCH + 5
  found = equal_minutes.evaluate(Repeater(), _records(count))
  assert found["psnr"] == pytest.approx(20 * np.log10(255 / 10), abs=1e-3)
  assert found["codebook_usage"] == count / 256
  assert found["perplexity"] == pytest.approx(count)


def test_a_brighter_image_has_the_similarity_of_its_luminance():
  records = [Record("", np.full((16, 16, 3), 100, np.uint8), ("grey",), {})]
  a, b, c1 = 100 / 255, 110 / 255, 0.01**2
  expected = (2 * a * b + c1) / (a * a + b * b + c1)  # no structure: the other factor is 1
  assert equal_minutes.evaluate(Repeater(), records)["ssim"] == pytest.approx(expected, abs=1e-4)


STEPS = 3
TINY = "vqvae:fsq,prepared,tiny"
CHANGES = {"augment.flip": True, "seed": 3, "loop.num_steps": STEPS}


@pytest.fixture(scope="module")
def ours(photos: Path) -> JaxTokenizer:
  """A tiny one after three steps."""
  learner = JaxTokenizer(config(TINY, **{"data.path": str(photos), **CHANGES}))
  learner.start(STEPS)
  batches = equal_minutes._batches(learner, _source(photos, "train"))
  for _ in range(STEPS):
    learner.step(next(batches))
  learner.wait()
  return learner


def test_our_training_is_the_one_that_jaxt2i_runs(ours, photos, tmp_path):
  train(tmp_path / "run", TINY, **{"data.path": str(photos), **CHANGES})
  images = np.stack([record.image for record in _source(photos, "val")])
  decoded, tokens = ours.reconstruct(images)
  pipeline = jaxt2i.load(tmp_path / "run")
  expected = np.asarray(pipeline.encode(images))
  assert len(np.unique(expected)) > 1
  assert np.mean(tokens == expected) > 0.99  # between two codes rounding may decide
  apart = np.abs(decoded.astype(int) - np.asarray(pipeline.decode(tokens)).astype(int))
  assert apart.max() <= 1


def test_both_sides_are_evaluated_as_jaxt2i_evaluates_itself(ours, photos):
  val = _source(photos, "val")
  model, variables = ours._experiment.task.model, ours._state.ema_variables
  own = Reconstruction(model, lambda: eval_stream(val, image_row, batch_size=len(val)))
  means, _ = own.measure(variables)
  assert equal_minutes.evaluate(ours, val) == pytest.approx(means, rel=1e-4)


def test_each_training_starts_with_fresh_weights(ours):
  first = JaxTokenizer(ours._config)
  first.start(STEPS)
  params = jax.tree.map(np.asarray, first._state.params)
  first.step(np.zeros((first.batch_size, 64, 64, 3), np.uint8))
  first.start(STEPS)
  assert int(first._state.step) == 0
  jax.tree.map(np.testing.assert_array_equal, first._state.params, params)


def test_ours_has_the_codes_that_it_is_compared_by():
  assert make_config("ema", {})["model"]["quantizer"]["codebook_size"] == 1024
  assert make_config("fsq", {})["model"]["quantizer"]["levels"] == (8, 5, 5, 5)


def test_a_change_comes_last():
  found = make_config("ema", {"model.quantizer.codebook_size": 64, "optimizer.b2": 0.95})
  assert found["model"]["quantizer"]["codebook_size"] == 64
  assert found["optimizer"]["b2"] == 0.95


@pytest.mark.parametrize("name", ["optimizer.lerning_rate", "optimzer.b1", "batch_size.x"])
def test_a_change_of_nothing_is_refused(name):
  with pytest.raises(UsageError, match=rf"^{name} is 0\.5: must be an option of configs"):
    make_config("fsq", {name: 0.5})


def _main(*arguments: str) -> int:
  return reconstruction.main(["--data", "x", "--quantizer", "fsq", *arguments])


@pytest.mark.parametrize(
  "given", [("--minutes", "0"), ("--minutes", "nan"), ("--batch_size", "0"), ("--seed", "-1")]
)
def test_numbers_that_cannot_be_are_usage_errors(given, capsys):
  with pytest.raises(SystemExit) as exit_info:
    _main(*given)
  assert exit_info.value.code == 2
  assert f"{given[0]} is " in capsys.readouterr().err


def test_a_change_without_a_value_is_a_usage_error(capsys):
  assert _main("--side", "jaxt2i", "--set", "batch_size") == 2
  assert "--set is 'batch_size': must be NAME=VALUE." in capsys.readouterr().err


def test_a_missing_peer_is_named(monkeypatch, capsys):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  assert _main("--side", "pytorch") == 1
  assert "torch is not installed" in capsys.readouterr().err


def test_data_that_cannot_be_read_are_one_line(tmp_path, capfd):
  arguments = ["--data", str(tmp_path), "--quantizer", "fsq", "--side", "jaxt2i"]
  assert reconstruction.main(arguments) == 1
  lines = capfd.readouterr().err.splitlines()
  assert lines[-1].startswith(f"benchmarks: error: no usable prepared data in {tmp_path}")


def test_a_run_is_a_line_of_the_table_and_of_the_file(monkeypatch, tmp_path, capsys):
  runs = []
  monkeypatch.setattr(reconstruction, "_in_its_own_process", lambda run: runs.append(run) or ROW)
  file = tmp_path / "rows.jsonl"
  given = [
    "--side",
    "jaxt2i",
    "--minutes",
    "1.1",
    "--set",
    "optimizer.b2=0.95",
    "--json",
    str(file),
  ]
  assert _main(*given) == _main(*given) == 0
  first, second = map(json.loads, file.read_text().splitlines())
  assert first == second
  assert (first["side"], first["seed"], first["psnr"]) == ("jaxt2i", 0, 19.25)
  assert first["changes"] == {"batch_size": 16, "optimizer.b2": 0.95}
  assert runs[0].changes == first["changes"]
  out = capsys.readouterr().out
  cells = [cell.strip() for cell in out.splitlines()[4].strip("|").split("|")]
  assert cells == ["jaxt2i fsq", "1,600,000", "1.10", "90", "24", "19.25", "0.500", "50.0 %", "300"]
  assert "speed changed" not in out


def test_minutes_that_were_not_equal_are_remarked_upon(monkeypatch, capsys):
  monkeypatch.setattr(reconstruction, "_in_its_own_process", lambda run: ROW)
  assert _main("--side", "jaxt2i", "--minutes", "1") == 0
  assert "jaxt2i's speed changed meanwhile" in capsys.readouterr().out
