"""`jaxt2i compare` and `jaxt2i sweep`: runs side by side, and the choice of how to draw."""

import csv
import dataclasses
import json
import re
import shutil

import pytest
import safetensors.numpy

from jaxt2i import cli, evaluation, evaluation_report
from jaxt2i.cli import sweep as sweeping
from jaxt2i.evaluation_request import Request
from jaxt2i.evaluators import scores
from tests.runs import train
from tests.supplied import inception_weights, write_clip


@pytest.fixture(scope="module")
def runs(tmp_path_factory, prior_run, tokenizer_run):
  """Two priors, evaluated: autoregressive and masked."""
  folder = tmp_path_factory.mktemp("compared")
  first = shutil.copytree(prior_run, folder / "first")
  second = train(folder / "second", "prior:masked,shapes,tiny", tokenizer=str(tokenizer_run))
  for run in (first, second):
    assert cli.main(["evaluate", f"--workdir={run}", "--n=12"]) == 0
  return first, second


def one_error_line(capsys) -> str:
  captured = capsys.readouterr()
  assert captured.out == ""
  assert captured.err.startswith("jaxt2i: error: ")
  assert captured.err.count("\n") == 1
  return captured.err


def compare(*arguments) -> int:
  return cli.main(["compare", *map(str, arguments)])


def test_runs_stand_side_by_side(runs, tmp_path, capsys):
  out = tmp_path / "out"
  assert compare(*runs, "--metrics=generation,copies", f"--out={out}") == 0
  with (out / "comparison.csv").open() as file:
    (_, *names), *lines = csv.reader(file)
  assert names == [str(run) for run in runs]
  cells = {line[0]: line[1:] for line in lines}
  for column, run in enumerate(runs):
    values = evaluation_report.read(run / "eval" / "val.json").values
    low, high = values["drawn_kid_95"]
    expected = f"{values['drawn_kid']:.4g} ({low:.3g} to {high:.3g})"
    assert cells["drawn_kid"][column] == expected
    assert expected in capsys.readouterr().out or column
  assert "psnr" not in cells
  assert "% generation: drawn = 12" in (out / "comparison.tex").read_text()
  assert "- split = val" in (out / "comparison.md").read_text()


def test_what_was_measured_otherwise_is_refused(runs, capsys, tmp_path):
  assert compare(*runs) == 1  # one NLL is exact, the other a bound
  assert "likelihood: nll differs" in one_error_line(capsys)
  other = shutil.copytree(runs[1], tmp_path / "other")
  assert cli.main(["evaluate", f"--workdir={other}", "--n=11"]) == 0
  capsys.readouterr()
  assert compare(runs[1], other, "--metrics=copies") == 1
  said = one_error_line(capsys)
  assert "copies: drawn differs, '12' of " in said
  assert "and '11' of " in said
  assert compare(runs[1], other, "--metrics=copies", "--force") == 0
  assert "warning: copies: drawn differs" in capsys.readouterr().out
  assert compare(runs[1], other, "--metrics=likelihood") == 0


def test_another_split_of_the_same_name_is_refused(runs, tmp_path, capsys):
  other = shutil.copytree(runs[0], tmp_path / "other")
  path = other / "eval" / "val.json"
  tree = json.loads(path.read_text())
  tree["base"]["data"] = "0" * 12
  path.write_text(json.dumps(tree))
  assert compare(runs[0], other) == 1
  assert "data differs" in one_error_line(capsys)


@pytest.mark.parametrize(
  ("damage", "said"),
  [(None, "cannot be read"), ("{", "is damaged"), ("[]", "is damaged"), ("{}", "is damaged")],
)
def test_no_report_is_said_so(runs, tmp_path, damage, said, capsys):
  if damage is not None:
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "val.json").write_text(damage)
  assert compare(runs[0], tmp_path) == 1
  assert said in one_error_line(capsys)


def test_runs_without_anything_in_common_are_refused(runs, tokenizer_run, tmp_path, capsys):
  prior, tokenizer = (shutil.copytree(run, tmp_path / run.name) for run in (runs[0], tokenizer_run))
  (prior / "eval" / "val.json").unlink()
  assert cli.main(["evaluate", f"--workdir={prior}", "--metrics=likelihood"]) == 0
  assert cli.main(["evaluate", f"--workdir={tokenizer}"]) == 0
  capsys.readouterr()
  assert compare(prior, tokenizer) == 1
  assert "nothing was measured of two of these" in one_error_line(capsys)


def test_ways_of_drawing_stand_in_the_table(runs, tmp_path, capsys):
  other = shutil.copytree(runs[0], tmp_path / "other")
  arguments = [f"--workdir={other}", "--n=12", "--metrics=copies", "--temperature=0.5"]
  assert cli.main(["evaluate", *arguments]) == 0
  capsys.readouterr()
  assert compare(runs[0], other, "--metrics=copies") == 0
  lines = [line.split() for line in capsys.readouterr().out.splitlines()]
  assert ["temperature", "0.8", "0.5"] in lines


def test_mistakes_are_one_line(runs, capsys):
  assert compare(runs[0], runs[0]) == 2
  assert "is given twice" in one_error_line(capsys)
  assert compare(runs[0]) == 2
  assert "two or more can be compared" in one_error_line(capsys)
  assert compare(*runs, "--metrics=copied") == 2
  assert "did you mean 'copies'?" in one_error_line(capsys)


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
  return train(tmp_path_factory.mktemp("judge") / "judge", "dual_encoder:shapes,tiny")


def sweep(*arguments) -> int:
  return cli.main(["sweep", *map(str, arguments)])


def test_all_ways_are_recorded_and_the_best_is_named(prior_run, tmp_path, capsys):
  run = shutil.copytree(prior_run, tmp_path / "run")
  axes = ["--temperature", 0.5, 1, "--guidance_scale", 1, 2]
  assert sweep(f"--workdir={run}", "--n=4", "--by=colours", *axes) == 0
  lines = [json.loads(line) for line in (run / "eval" / "sweep.jsonl").read_text().splitlines()]
  ways = [(line["temperature"], line["guidance_scale"]) for line in lines]
  assert ways == [(0.5, 1), (0.5, 2), (1, 1), (1, 2)]
  assert {line["split"] for line in lines} == {"val"}
  best = max(lines, key=lambda line: line["colours"])
  expected = f"--temperature={best['temperature']} --guidance_scale={best['guidance_scale']}"
  assert f"by colours, on validation: {expected} --steps=0" in capsys.readouterr().out


def test_of_distances_the_least_is_best(prior_run, tmp_path, capsys):
  run = shutil.copytree(prior_run, tmp_path / "run")
  axes = ["--temperature", 0.5, 1, "--n=12"]
  assert sweep(f"--workdir={run}", "--by=drawn_kid", *axes) == 0
  lines = [json.loads(line) for line in (run / "eval" / "sweep.jsonl").read_text().splitlines()]
  best = min(lines, key=lambda line: line["drawn_kid"])
  assert f"validation: --temperature={best['temperature']} " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["drawn_fid", "random_kid", "drawn_cmmd", "drawn_fd"])
def test_distances_are_better_the_smaller(name):
  assert name.endswith(sweeping.LESS)


def test_a_sweep_has_validation_alone(prior_run, capsys):
  assert sweep(f"--workdir={prior_run}", "--by=colours", "--split=compositional") == 2
  assert "unrecognized arguments: --split" in one_error_line(capsys)


def test_a_sweep_that_cannot_be_is_one_line(prior_run, tokenizer_run, tmp_path, capsys):
  assert sweep(f"--workdir={tokenizer_run}", "--by=psnr") == 1
  assert "draws nothing" in one_error_line(capsys)
  assert sweep(f"--workdir={prior_run}", "--by=x", "--temperature", *range(1, 66)) == 2
  assert "must be 64 at most" in one_error_line(capsys)


@pytest.mark.parametrize(
  ("by", "said"),
  [
    ("colors", "did you mean 'colours'?"),
    ("drawn_kid", "choose one of"),  # of 2 pictures there is none
    ("drawn_fd", "choose one of"),
    ("r_precision", "choose one of"),  # nobody judges
    ("copy_recognised", "choose one of"),  # not of how pictures are drawn
    ("position", "choose one of"),  # of scenes of one object
  ],
)
def test_what_will_not_be_measured_is_refused_before_anything_is(
  prior_run, by, said, monkeypatch, capsys
):
  monkeypatch.setattr(evaluation, "evaluate", None)
  assert sweep(f"--workdir={prior_run}", f"--by={by}", "--n=2") == 2
  captured = capsys.readouterr()
  assert captured.out == ""
  line = captured.err.splitlines()[-1]  # before it stands what 2 pictures are too few for
  assert f"error: --by is {by!r}, which is not measured here" in line
  assert said in line


def test_what_can_be_chosen_by_is_what_is_measured(prior_run, tmp_path, judge):
  weights = tmp_path / "inception.safetensors"
  safetensors.numpy.save_file(inception_weights(), weights)
  (tmp_path / "clip").mkdir()
  write_clip(tmp_path / "clip")
  asked = Request(n=12, judge=judge, inception=(weights, ""), clip=(tmp_path / "clip", ""))
  choices = evaluation.choices(prior_run, asked)
  assert set(choices) == set(scores.NAMES)
  report = evaluation.evaluate(prior_run, dataclasses.replace(asked, metrics=tuple(choices)))
  named = {name for names in choices.values() for name in names}
  measured = {name for name, *_ in evaluation_report.rows(report.values)}
  assert named <= measured
  # The others say how to read these: they do not depend on how pictures are drawn.
  fixed = (
    r"floor_.*|copy_(distance|recognised).*|.*_(chance|real|reconstructed)|ceiling|judge_accuracy"
  )
  assert {name for name in measured - named if not re.fullmatch(fixed, name)} == set()


def test_a_sweep_says_so_when_two_ways_tie(prior_run, tmp_path, capsys):
  run = shutil.copytree(prior_run, tmp_path / "run")
  assert sweep(f"--workdir={run}", "--n=3", "--by=count", "--temperature", 0.5, 0.5) == 0
  out = capsys.readouterr().out
  assert "best of 2 by count, on validation: --temperature=0.5" in out
  assert "note: as good by count: --temperature=0.5 --guidance_scale=1.0 --steps=0;" in out
