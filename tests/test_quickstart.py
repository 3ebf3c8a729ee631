"""The quick start: its stages are commands that work, in the right order, stopped by a failure."""

import functools
import logging
import re
import subprocess
import sys

import pytest

from jaxt2i import cli, config, environment, evaluation_report, quickstart
from jaxt2i.errors import UserError
from jaxt2i.quickstart import recipe_for
from jaxt2i.train import LoopOptions
from tests.runs import config as config_of_name


def flags_of(command: list[str], prefix: str) -> dict[str, str]:
  found = [part.removeprefix(prefix) for part in command if part.startswith(prefix)]
  return dict(part.split("=", 1) for part in found)


@pytest.fixture
def commands(monkeypatch):
  """What the quick start runs; `codes[i]` is the exit code of its stage i."""
  seen: list[list[str]] = []
  codes = [0, 0, 0, 0]

  def run(command, *, env, check):
    assert env["GLIBC_TUNABLES"]
    assert not check
    seen.append(command)
    return subprocess.CompletedProcess(command, codes[len(seen) - 1])

  monkeypatch.setattr(quickstart.subprocess, "run", run)
  seen_codes = type("Commands", (), {"seen": seen, "codes": codes})
  return seen_codes


@pytest.mark.parametrize(
  ("data", "minutes"), [("openmoji", 10.0), ("openmoji", 60.0), ("shapes", 10.0)]
)
def test_configs_of_the_recipes_exist(data, minutes):
  recipe = recipe_for(data, minutes)
  tokenizer = config_of_name(f"vqvae:{recipe.tokenizer}")
  prior = config_of_name(f"prior:{recipe.prior}")
  assert tokenizer["data"]["name"] == prior["data"]["name"] == data
  assert tokenizer["data"]["image_size"] == prior["data"]["image_size"]
  for section, options in ((tokenizer, recipe.tokenizer_options), (prior, recipe.prior_options)):
    for path in flags_of(list(options), "--config."):
      functools.reduce(lambda part, key: part[key], path.split("."), section)
  assert recipe.prompts
  assert recipe.note


@pytest.mark.parametrize("minutes", [0.1, 0.25, 0.5, 1.0, 2.0, 3.7, 7.0, 10.0, 42.0, 60.0, 1e4])
@pytest.mark.parametrize("data", quickstart.DATA)
def test_every_length_has_a_schedule_that_works(data, minutes):
  recipe = recipe_for(data, minutes)
  for name, steps in (
    (f"vqvae:{recipe.tokenizer}", recipe.tokenizer_steps),
    (f"prior:{recipe.prior}", recipe.prior_steps),
  ):
    flags = flags_of(quickstart._schedule(steps, minutes), "--config.loop.")
    loop = config_of_name(name)["loop"] | {key: int(value) for key, value in flags.items()}
    options = config.build(LoopOptions, loop, "config.loop")
    assert options.num_steps == pytest.approx(max(20, steps * minutes), abs=10)
    assert options.checkpoint_every <= options.num_steps
    assert options.eval_every <= options.num_steps
    if options.num_steps >= 200:  # a stop costs at most a tenth and some
      assert options.checkpoint_every <= options.num_steps / 10
      assert 3 <= options.num_steps / options.eval_every <= 5


@pytest.mark.parametrize("data", quickstart.DATA)
def test_stages(data, commands, tmp_path, caplog):
  with caplog.at_level(logging.INFO, logger="jaxt2i.quickstart"):
    quickstart.quickstart(data, 2.0, tmp_path)
  tokenizer, prior, draw, measure = commands.seen
  assert all(command[0] == sys.executable for command in commands.seen)
  assert tokenizer[1:3] == prior[1:3] == ["-m", "jaxt2i.main"]
  assert flags_of(prior, "--config.")["tokenizer"] == str(tmp_path / "tokenizer")
  assert f"--workdir={tmp_path / 'tokenizer'}" in tokenizer
  assert f"--workdir={tmp_path / 'prior'}" in prior
  assert str(environment.configs_dir()) in tokenizer[3]
  # What the later stages are given is what the commands take.
  for command in (draw, measure):
    assert command[1:3] == ["-m", "jaxt2i.cli"]
    assert f"--workdir={tmp_path / 'prior'}" in command
    assert set(recipe_for(data, 2.0).drawing) <= set(command)  # measured as it is drawn
  assert [p for p in draw if p.startswith("--prompt=")] == [
    f"--prompt={prompt}" for prompt in recipe_for(data, 2.0).prompts
  ]
  assert f"--split={recipe_for(data, 2.0).split}" in measure
  # Each is shown before it runs, and the end says where things are.
  for number in range(1, 5):
    assert f"== {number}/4" in caplog.text
  assert caplog.text.count("\n$ ") == 4
  assert str(tmp_path / "pictures" / "grid.png") in caplog.text
  assert str(tmp_path / "prior" / "eval" / f"{recipe_for(data, 2.0).split}.json") in caplog.text
  assert recipe_for(data, 2.0).note in caplog.text


@pytest.mark.parametrize("stage", range(4))
def test_a_failing_stage_stops_it(stage, commands, tmp_path):
  commands.codes[stage] = 1
  with pytest.raises(UserError) as error:
    quickstart.quickstart("shapes", 1.0, tmp_path)
  assert len(commands.seen) == stage + 1
  assert f"stopped at '{stage + 1}/4" in str(error.value)
  assert "what is done is kept" in str(error.value)
  assert "\n" not in str(error.value)


def test_the_command(commands, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert cli.main(["quickstart", "--data=shapes", "--minutes=0.5"]) == 0
  workdirs = {flags_of(command, "--")["workdir"] for command in commands.seen}
  assert workdirs == {
    "runs/quickstart-shapes-0.5/tokenizer",
    "runs/quickstart-shapes-0.5/prior",
  }
  commands.seen.clear()
  commands.codes[1] = 3
  assert cli.main(["quickstart", "--workdir=elsewhere"]) == 1
  assert len(commands.seen) == 2
  err = capsys.readouterr().err
  assert err.splitlines()[-1].startswith("jaxt2i: error: quickstart stopped at '2/4")


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf", "1e9"])
def test_minutes_without_meaning_are_refused(minutes, commands, capsys):
  assert cli.main(["quickstart", f"--minutes={minutes}"]) == 2
  assert re.match(r"jaxt2i: error: --minutes is \S+: must be from", capsys.readouterr().err)
  assert not commands.seen


def test_unknown_data_lists_those_known(commands, capsys):
  assert cli.main(["quickstart", "--data=shape"]) == 2
  err = capsys.readouterr().err
  assert "openmoji" in err
  assert "shapes" in err
  assert err.count("\n") == 1


@pytest.mark.parametrize("data", quickstart.DATA)
def test_prompts_fit_into_the_text_tokenizer(data):
  # A generous bound: a word is one to three pieces in a vocabulary of some thousands.
  length = config_of_name(f"prior:{recipe_for(data, 2.0).prior}")["text"]["max_length"]
  assert all(len(prompt.split()) <= length for prompt in recipe_for(data, 2.0).prompts)


@pytest.mark.slow
def test_the_whole_road(tmp_path, monkeypatch):
  # The real commands, a few steps each: about three minutes on two cores.
  quickstart.quickstart("shapes", 0.1, tmp_path)
  assert (tmp_path / "pictures" / "grid.png").exists()
  results = evaluation_report.read(tmp_path / "prior" / "eval" / "compositional.json").values
  assert {"everything_95", "compositional_nll"} <= results.keys()
  assert 0 <= results["everything"] <= 1
  before = (tmp_path / "prior" / "metrics.jsonl").read_text()
  quickstart.quickstart("shapes", 0.1, tmp_path)  # goes on where it was: nothing is left to train
  assert (tmp_path / "prior" / "metrics.jsonl").read_text() == before
