"""`jaxt2i edit`: pictures beside the old one, metadata, and what it refuses."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxt2i import cli


@pytest.fixture
def photo(tmp_path):
  """A picture of 96 × 64 pixels."""
  path = tmp_path / "photo.png"
  pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8)
  Image.fromarray(pixels).save(path)
  return path


@pytest.fixture
def edit(prior_run, photo, tmp_path, capsys):
  """`jaxt2i edit` of the picture; gives (exit code, stdout, stderr)."""

  def run(*arguments: str, image=photo, workdir=prior_run):
    fixed = [
      f"--workdir={workdir}",
      f"--image={image}",
      "--prompt=red",
      f"--out={tmp_path / 'out'}",
    ]
    code = cli.main(["edit", *fixed, *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err

  run.out = tmp_path / "out"
  return run


def pixels_of(path) -> np.ndarray:
  with Image.open(path) as image:
    return np.asarray(image)


def test_only_the_masked_part_changes(edit, photo, tmp_path):
  white = np.zeros((64, 96), np.uint8)
  white[:, 48:] = 255
  Image.fromarray(white).save(tmp_path / "mask.png")
  code, out, err = edit(f"--mask={tmp_path / 'mask.png'}", "--n=2", "--seed=4")
  assert (code, err) == (0, "")
  assert "2 pictures in" in out
  first, second = (pixels_of(edit.out / f"00-red-00{i}.png") for i in range(2))
  # 96 × 64 pixels fill the middle 43 rows of a square of 64; the mask its right half.
  np.testing.assert_array_equal(first[:, :32], second[:, :32])
  assert np.any(first[20:40, 32:] != second[20:40, 32:])
  with Image.open(edit.out / "00-red-001.png") as image:
    text = dict(image.text)
  assert json.loads(text["edit"]) == {"mask": str(tmp_path / "mask.png")}
  assert (text["image"], text["seed"], text["index"]) == (str(photo), "4", "1")
  # The old one stands first in the grid.
  assert pixels_of(edit.out / "grid.png").shape[1] > 3 * 64


@pytest.mark.parametrize("how", ["--move=0,16", "--move=-8,0", "--strength=0.3"])
def test_what_comes_into_view_or_a_share_of_it_is_drawn(edit, how):
  assert edit(how, "--n=1")[0] == 0
  assert pixels_of(edit.out / "00-red-000.png").shape == (64, 64, 3)


@pytest.mark.parametrize(
  ("arguments", "named"),
  [
    ([], "nothing given: must be one of --mask, --move, --strength"),
    (["--move=0,1", "--strength=0.5"], "--move and --strength given: must be one of"),
    (["--move=1"], "--move is '1': must be down,right"),
    (["--move=0,64"], "down, right are 0, 64: must be within"),
    (["--strength=1.5"], "strength is 1.5: must be from 0"),
    (["--strength=0.5", "--n=0"], "--n is 0: must be from 1"),
    (["--strength=0.5", "--seed=-1"], "--seed is -1: must be from 0"),
    (["--strength=0.5", "--negative_prompt=x"], "with a guidance_scale of 1"),
  ],
)
def test_mistakes_are_one_line(edit, arguments, named):
  code, out, err = edit(*arguments)
  assert (code, out) == (2, "")
  assert err.count("\n") == 1
  assert named in err


def test_files_that_cannot_be_read_are_named(edit, photo, tmp_path, tokenizer_run):
  code, _, err = edit("--strength=0.5", image=tmp_path / "nothing.png")
  assert (code, err.count("\n")) == (1, 1)
  assert "cannot read" in err
  text = tmp_path / "text.png"
  text.write_text("not a picture")
  assert "is no picture that can be read" in edit("--strength=0.5", image=text)[2]
  small = tmp_path / "small.png"
  Image.new("L", (95, 64)).save(small)
  assert "--mask has 95 x 64 pixels: must have 96 x 64" in edit(f"--mask={small}")[2]
  assert "without a prior" in edit("--strength=0.5", workdir=tokenizer_run)[2]
