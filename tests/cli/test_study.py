"""`jaxt2i study`: one line for a mistake, files for a study."""

import sys

import pytest

from jaxt2i import cli, study
from jaxt2i.study import Study

CONFIG = "configs/studies/tokenizers.py:shapes,tiny"


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch, repository):
  monkeypatch.chdir(repository)
  monkeypatch.setattr(sys, "path", [*sys.path])  # the command adds to it


@pytest.mark.parametrize(
  ("arguments", "named"),
  [
    (["configs/studies/nothing.py"], "configs/studies/nothing.py does not exist"),
    ([CONFIG + "x"], "'tinyx' is not an argument of this config"),
    ([CONFIG, "--seeds=a"], "--seeds is 'a': must be whole numbers"),
    ([CONFIG, "--only=fsk"], "'fsk' is no variant"),
  ],
)
def test_mistakes_are_one_line(arguments, named, tmp_path, capsys):
  assert cli.main(["study", *arguments, f"--out={tmp_path}"]) == 2
  error = capsys.readouterr().err.strip().splitlines()
  assert len(error) == 1
  assert named in error[0]


def test_options_replace_those_of_the_config(tmp_path, monkeypatch, capsys):
  seen: list[Study] = []

  def run(chosen, out, only):
    seen.append(chosen)
    assert only == ("fsq", "ema")
    return [{"variant": "fsq", "seed": 3, "psnr": 20.0, "bits": 640, "prior_bits": 300.0}]

  monkeypatch.setattr(study, "run", run)
  options = ["--seeds=3,4", "--minutes=0.5", "--only=fsq,ema", "--data=here"]
  assert cli.main(["study", CONFIG, *options, f"--out={tmp_path}"]) == 0
  assert (seen[0].seeds, seen[0].minutes) == ((3, 4), 0.5)
  assert seen[0].tokenizer["data"]["path"] == seen[0].prior["data"]["path"] == "here"
  assert "| fsq | 640 | 20.00 |" in capsys.readouterr().out
  assert (tmp_path / "table.tex").exists()
