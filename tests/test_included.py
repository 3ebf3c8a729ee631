"""The model that comes along: whole, small, credited, and of what it is said to be."""

import json

import numpy as np
import pytest
from PIL import Image

import jaxt2i
from jaxt2i import cli, config, data, manifest, weights
from jaxt2i.evaluators.recall import pixel_distances

PROMPTS = ("red heart", "rocket", "penguin", "pizza", "whale", "sailboat")


@pytest.fixture(scope="module")
def pipe():
  return jaxt2i.load()


def test_is_small_and_whole():
  sizes = [path.stat().st_size for path in weights.INCLUDED.iterdir()]
  assert sum(sizes) < 25e6
  assert manifest.find_damage(weights.INCLUDED) is None


def test_its_data_is_that_of_the_config():
  stored = config.load(weights.INCLUDED)
  assert data.load("train", **stored["data"]).fingerprint == stored["data_fingerprint"]


def test_the_card_names_source_and_licence(pipe):
  card = (weights.INCLUDED / "README.md").read_text(encoding="utf-8")
  for words in ("OpenMoji", "CC BY-SA 4.0", "python -m jaxt2i.main", "Limits"):
    assert words in card
  assert "OpenMoji" in pipe.attribution


def test_draws_what_the_words_say(pipe):
  """Each drawing is nearer to the real drawing of its name than to those of the other names."""
  source = data.load("train", **config.load(weights.INCLUDED)["data"])
  records = (source[i] for i in range(len(source)))
  real = {record.captions[0]: record.image for record in records}
  expected = np.stack([real[prompt] for prompt in PROMPTS])
  drawn = pipe(PROMPTS, n=2, seed=0, temperature=0.8).images
  for k in range(2):
    nearest = np.argmin(pixel_distances(drawn[:, k], expected), axis=1)
    np.testing.assert_array_equal(nearest, np.arange(len(PROMPTS)))


def test_drawing_and_editing_need_no_workdir(pipe, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert cli.main(["generate", "--prompt=red heart", "--n=1"]) == 0
  assert "1 picture in pictures" in capsys.readouterr().out
  path = "pictures/00-red-heart-000.png"
  assert cli.main(["edit", f"--image={path}", "--prompt=rocket", "--strength=0.3", "--out=e"]) == 0
  with Image.open("e/grid.png") as image:
    assert image.text["model"] == "the one that comes along"
  with Image.open(path) as image:
    assert image.text["model"] == "the one that comes along"
    options = json.loads(image.text["options"])
    expected = pipe([image.text["prompt"]], seed=int(image.text["seed"]), **options)
    np.testing.assert_array_equal(image, expected.images[0, 0])


@pytest.fixture
def linked(tmp_path):
  """Its folder by another name."""
  (tmp_path / "model").symlink_to(weights.INCLUDED)
  return tmp_path / "model"


@pytest.mark.parametrize(
  ("command", "folder", "instead"),
  [
    ("evaluate --metrics=likelihood", "eval", "give the copy as --workdir"),
    ("evaluate --metrics=efficiency", "eval", "give the copy as --workdir"),
    ("sweep --by=drawn_kid --n=10", "eval", "give the copy as --workdir"),
    ("analyze latents", "analysis/latents", "choose another --out"),
  ],
)
def test_nothing_is_written_into_its_folder(command, folder, instead, linked, monkeypatch, capsys):
  monkeypatch.setattr(jaxt2i.Pipeline, "__call__", None)  # nor is anything drawn before
  before = sorted(weights.INCLUDED.rglob("*"))
  for workdir in (weights.INCLUDED, linked):
    assert cli.main([*command.split(), f"--workdir={workdir}"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert f"{workdir}/{folder} would be in the model that comes along with jaxt2i" in line
    assert instead in line
  assert sorted(weights.INCLUDED.rglob("*")) == before
