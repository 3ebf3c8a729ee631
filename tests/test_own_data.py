"""From somebody's photos to a measured run: prepare, train, measure; and what is refused."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxt2i import cli, main
from jaxt2i.data import split_files
from jaxt2i.errors import UserError
from tests.runs import config, config_of, metrics_of, train

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 200)}


def make_photos(folder: Path, count: int) -> Path:
  """A folder in Flickr8k's newer layout."""
  (folder / "Images").mkdir(parents=True)
  rng = np.random.default_rng(0)
  with (folder / "captions.txt").open("w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["image", "caption"])
    for number in range(count):
      name = list(COLOURS)[number % 3]
      coarse = rng.uniform(0.3, 1.2, (6, 8, 1)) * COLOURS[name]  # no two alike
      picture = Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize((40, 30))
      picture.save(folder / "Images" / f"{number:03}.jpg")
      writer.writerow([f"{number:03}.jpg", f"a {name} wall , number {number}"])
      writer.writerow([f"{number:03}.jpg", f"everything is {name}"])
  return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory):
  """Photos, the data prepared from them, and a tokenizer trained on it."""
  root = tmp_path_factory.mktemp("own")
  make_photos(root / "photos", 30)
  prepare(root)
  assert cli.main(["data", "split", f"--data={root / 'data'}", "--protocol=caption"]) == 0
  train(root / "tokenizer", "vqvae:prepared,tiny", **{"data.path": str(root / "data")})
  return root


def prepare(root: Path) -> None:
  arguments = [f"--src={root / 'photos'}", f"--out={root / 'data'}", "--sizes=64", "--workers=1"]
  assert cli.main(["data", "prepare", "--format=flickr8k", *arguments]) == 0


def prior(root: Path, workdir: Path, **changes) -> Path:
  own_data = {"data.path": str(root / "data"), "tokenizer": str(root / "tokenizer")}
  return train(workdir, "prior:prepared,tiny", **own_data, **changes)


def test_a_prior_learns_from_own_photos_and_is_measured(own, tmp_path):
  workdir = prior(own, tmp_path / "prior")
  assert metrics_of(workdir)[-1]["step"] == 2
  assert cli.main(["evaluate", f"--workdir={workdir}", "--split=test", "--n=2"]) == 0
  results = json.loads((workdir / "eval" / "test.json").read_text())["base"]
  stored = split_files.describe(own / "data", "image")["splits"]["test"]
  assert (results["split"], results["protocol"]) == ("test", "image")
  assert results["images"] == stored["images"] >= 2
  assert "note" not in results


def test_reports_on_captions_of_known_images_say_so(own, tmp_path):
  by_caption = {"data.path": str(own / "data"), "data.protocol": "caption"}
  workdir = train(tmp_path / "tokenizer", "vqvae:prepared,tiny", **by_caption)
  assert cli.main(["evaluate", f"--workdir={workdir}", "--split=test"]) == 0
  results = json.loads((workdir / "eval" / "test.json").read_text())["base"]
  assert results["images"] == 30
  assert "share their images" in results["note"]


def test_a_tokenizer_that_knows_the_test_images_is_refused(own, tmp_path):
  with pytest.raises(UserError, match=r"splits of 'image'.*those of 'caption'.*test images"):
    prior(own, tmp_path / "prior", **{"data.protocol": "caption"})


def test_a_size_that_was_not_prepared_is_named(own, tmp_path):
  with pytest.raises(UserError, match="not prepared at image_size 32; it has 64"):
    train(
      tmp_path / "run",
      "vqvae:prepared,tiny",
      **{"data.path": str(own / "data"), "data.image_size": 32},
    )


def test_data_that_changed_is_refused_unless_forced(own, tmp_path, capsys):
  root = tmp_path / "copy"
  shutil.copytree(own / "photos", root / "photos")
  prepare(root)
  changes = {"data.path": str(root / "data")}
  workdir = train(tmp_path / "run", "vqvae:prepared,tiny", **changes)
  before = config_of(workdir)["data_fingerprint"]

  (root / "photos" / "Images" / "000.jpg").unlink()
  shutil.rmtree(root / "data")
  prepare(root)
  longer = changes | {"loop.num_steps": 4}
  with pytest.raises(UserError, match=r"config\.data_fingerprint = .*--force"):
    train(workdir, "vqvae:prepared,tiny", **longer)
  assert metrics_of(workdir)[-1]["step"] == 2

  main.run(config("vqvae:prepared,tiny", **longer), workdir, force=True)
  said = capsys.readouterr().err
  assert "data_fingerprint" in said
  assert "loop.num_steps = 2, this one has 4; forced" in said
  assert metrics_of(workdir)[-1]["step"] == 4
  assert config_of(workdir)["data_fingerprint"] != before


@pytest.mark.parametrize(("key", "value"), [("seed", 7), ("batch_size", 8)])
def test_another_order_of_the_examples_is_refused_and_named(tokenizer_run, key, value):
  with pytest.raises(UserError, match=rf"config\.{key} = \d+, this one has {value}"):
    train(tokenizer_run, "vqvae:ema,shapes,tiny", **{key: value})
