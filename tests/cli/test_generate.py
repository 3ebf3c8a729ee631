"""`jaxt2i generate`: pictures, their metadata, notes on prompts, and what it refuses."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import jaxt2i
from jaxt2i import cli

PROMPT = "large red star left of small blue heart"


@pytest.fixture
def generate(prior_run, tmp_path, capsys):
  """`jaxt2i generate` with tiny defaults; gives (exit code, stdout, stderr)."""

  def run(*arguments: str, workdir=prior_run, out=tmp_path / "out"):
    code = cli.main(["generate", f"--workdir={workdir}", f"--out={out}", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err

  run.out = tmp_path / "out"
  return run


def text_of(path) -> dict[str, str]:
  with Image.open(path) as image:
    return dict(image.text)


def pixels_of(path) -> np.ndarray:
  with Image.open(path) as image:
    return np.asarray(image)


def one_error_line(result, code: int) -> str:
  assert result[0] == code
  assert result[1] == ""
  assert result[2].startswith("jaxt2i: error: ")
  assert result[2].count("\n") == 1
  return result[2]


def test_pictures_metadata_and_grid(generate, prior_run, prior_pipeline):
  code, out, err = generate(
    "--prompt", PROMPT, "--prompt", "corazón rojo", "--n=2", "--seed=3", "--temperature=0.5"
  )
  assert (code, err) == (0, "")
  names = sorted(path.name for path in generate.out.iterdir())
  assert names == [
    "00-large-red-star-left-of-small-blue-heart-000.png",
    "00-large-red-star-left-of-small-blue-heart-001.png",
    "01-coraz-n-rojo-000.png",
    "01-coraz-n-rojo-001.png",
    "grid.png",
  ]
  assert "4 pictures" in out
  assert str(generate.out / "grid.png") in out
  drawings = prior_pipeline([PROMPT, "corazón rojo"], n=2, seed=3, temperature=0.5)
  for number, name in enumerate(names[:4]):
    prompt, index = divmod(number, 2)
    np.testing.assert_array_equal(pixels_of(generate.out / name), drawings.images[prompt, index])
    text = text_of(generate.out / name)
    assert text["prompt"] == (PROMPT, "corazón rojo")[prompt]
    assert text["index"] == str(index)
    assert text["seed"] == "3"
    assert json.loads(text["options"]) == {
      "guidance_scale": 1.0,
      "guidance_schedule": "constant",
      "temperature": 0.5,
      "top_k": 0,
      "top_p": 1.0,
      "steps": 0,
      "choice_temperature": 4.5,
    }
    assert text["workdir"] == str(prior_run)
    assert text["software"] == f"jaxt2i {jaxt2i.__version__}"
  text = text_of(generate.out / "grid.png")
  assert text["prompt"] == f"{PROMPT} | corazón rojo"
  assert text["seed"] == "3"
  assert pixels_of(generate.out / "grid.png").shape[0] > 64


def test_metadata_reproduces_the_picture(generate, prior_run):
  generate("--prompt=green", "--n=2", "--seed=11", "--top_k=5", "--top_p=0.9", "--guidance_scale=2")
  path = generate.out / "00-green-001.png"
  text = text_of(path)
  drawings = jaxt2i.load(text["workdir"])(
    [text["prompt"]],
    n=int(text["index"]) + 1,
    seed=int(text["seed"]),
    **json.loads(text["options"]),
  )
  np.testing.assert_array_equal(drawings.images[0, -1], pixels_of(path))


def test_attribution_travels_with_the_pictures(generate, prior_run, tmp_path):
  credited = tmp_path / "credited"
  credited.mkdir()
  for name in ("checkpoints", "text.json"):
    (credited / name).symlink_to(prior_run / name)
  saved = json.loads((prior_run / "config.json").read_text())
  saved["attribution"] = "Drawings by Somebody, CC BY-SA 4.0 ©"
  (credited / "config.json").write_text(json.dumps(saved))
  assert generate("--prompt=green", "--n=1", workdir=credited)[0] == 0
  for path in generate.out.iterdir():
    assert text_of(path)["source"] == "Drawings by Somebody, CC BY-SA 4.0 ©"


def test_known_words_get_no_note(generate):
  code, out, _ = generate("--prompt", PROMPT, "--n=1")
  assert code == 0
  assert "note:" not in out


@pytest.mark.parametrize("prompt", ["", "   "])
def test_an_empty_prompt_is_noted(generate, prompt):
  code, out, _ = generate(f"--prompt={prompt}", "--n=1")
  assert code == 0
  assert "an empty prompt draws without a caption" in out
  assert (generate.out / "00-no-caption-000.png").exists()


def test_a_long_prompt_is_cut_with_a_note(generate):
  prompt = ("red star " * 2000)[:10_000]
  code, out, err = generate(f"--prompt={prompt}", "--n=1")
  assert (code, err) == (0, "")
  assert "the first 16 are used" in out
  (path,) = generate.out.glob("00-*.png")
  assert text_of(path)["prompt"] == prompt
  assert len(path.name) < 100
  assert max(pixels_of(generate.out / "grid.png").shape) < 2000


def test_one_word_of_ten_thousand_letters(generate):
  code, _, err = generate(f"--prompt={'x' * 10_000}", "--n=1")
  assert (code, err) == (0, "")


def test_unknown_words_are_shown_with_their_share(generate):
  code, out, _ = generate("--prompt=red zebra star giraffe", "--n=1")
  assert code == 0
  assert "50% of the words never occurred in training captions: zebra, giraffe" in out


@pytest.mark.parametrize(
  "prompt",
  [
    *("日本", "a\tb\nc", "../../escape", "🦒", "-n"),
    "\udcff red",  # a byte that is no UTF-8, as the shell passes it
  ],
)
def test_odd_prompts_are_drawn(generate, prompt):
  code, _, err = generate(f"--prompt={prompt}", "--n=1")
  assert (code, err) == (0, "")
  assert len(list(generate.out.glob("*.png"))) == 2
  assert {path.parent for path in generate.out.rglob("*.png")} == {generate.out}


@pytest.mark.parametrize(
  ("argument", "message"),
  [
    ("--n=0", "--n is 0"),
    ("--n=-3", "--n is -3"),
    ("--n=1000000", "--n is 1000000"),
    ("--n=two", "invalid int value: 'two'"),
    ("--seed=-1", "--seed is -1: must be from 0"),
    ("--seed=4294967296", "--seed is 4294967296"),
    ("--guidance_scale=nan", "guidance_scale is nan"),
    ("--guidance_scale=-1", "guidance_scale is -1.0"),
    ("--temperature=-0.1", "temperature is -0.1"),
    ("--temperature=inf", "temperature is inf"),
    ("--top_k=-1", "top_k is -1"),
    ("--top_p=0", "top_p is 0.0"),
    ("--top_p=1.1", "top_p is 1.1"),
    ("--temprature=1", "did you mean '--temperature'?"),
  ],
)
def test_usage_errors_are_one_line(generate, argument, message):
  line = one_error_line(generate(f"--prompt={PROMPT}", argument), 2)
  assert message in line
  assert not generate.out.exists()


def test_a_prompt_is_needed(generate):
  assert "--prompt" in one_error_line(generate(), 2)


def test_numbers_are_checked_before_anything_is_loaded(generate, tmp_path):
  line = one_error_line(generate("--prompt=x", "--top_p=2", workdir=tmp_path / "absent"), 2)
  assert "top_p" in line


def test_failures_are_one_line(generate, tokenizer_run, tmp_path):
  absent = generate("--prompt=x", workdir=tmp_path / "absent")
  assert "holds no run" in one_error_line(absent, 1)
  assert "a tokenizer without a prior" in one_error_line(
    generate("--prompt=x", workdir=tokenizer_run), 1
  )


def test_a_file_in_the_place_of_the_folder_is_noticed_before_anything_is_loaded(generate, tmp_path):
  (tmp_path / "file").write_text("")
  found = generate("--prompt=x", workdir=tmp_path / "absent", out=tmp_path / "file")
  assert "it is no folder" in one_error_line(found, 1)


def test_an_unwritable_folder_is_one_line(generate, tmp_path):
  (tmp_path / "file").write_text("")
  code, _, err = generate("--prompt=x", "--n=1", out=tmp_path / "file" / "out")
  assert code == 1
  assert err.startswith("jaxt2i: error: cannot write to ")
  assert "choose another --out" in err
  assert err.count("\n") == 1


def test_as_a_command(prior_run, prior_pipeline, tmp_path, repository):
  # Another process draws the same picture; its own stdout and exit code.
  command = [sys.executable, "-m", "jaxt2i.cli", "generate", f"--workdir={prior_run}"]
  done = subprocess.run(
    [*command, "--prompt=maçã", "--n=1", "--seed=8", f"--out={tmp_path / 'out'}"],
    cwd=repository,
    capture_output=True,
    text=True,
    env={**os.environ, "PYTHONIOENCODING": "utf-8"},
  )
  assert done.returncode == 0, done.stderr
  assert done.stderr == ""
  drawings = prior_pipeline(["maçã"], n=1, seed=8, temperature=0.8)
  (path,) = (tmp_path / "out").glob("00-*.png")
  np.testing.assert_array_equal(pixels_of(path), drawings.images[0, 0])
  assert text_of(path)["prompt"] == "maçã"
  refused = subprocess.run(
    [*command, "--prompt=x", "--n=0"], cwd=repository, capture_output=True, text=True
  )
  assert refused.returncode == 2
  assert refused.stderr.count("\n") == 1
