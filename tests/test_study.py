"""A study trains what is missing, skips what is done, and refuses what does not belong to it."""

import json
import math

import pytest

from configs.studies import losses, priors, tokenizers
from jaxt2i import config as config_lib
from jaxt2i import experiment, main, study
from jaxt2i.errors import UsageError, UserError
from jaxt2i.study import Study
from tests.runs import metrics_of
from tests.sentences import random_encoder


def make(**changes) -> Study:
  options = tokenizers.get_config("shapes,tiny").to_dict()
  options["variants"] = {"fsq": options["variants"]["fsq"]}
  return config_lib.build(Study, options | changes, "config")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
  """The folder and rows of a finished study of one variant."""
  out = tmp_path_factory.mktemp("study")
  return out, study.run(make(), out)


def test_a_row_says_what_was_trained_and_what_came_out(done):
  out, (row,) = done
  assert (row["variant"], row["seed"], row["num_steps"]) == ("fsq", 0, 2)
  assert (row["tokens"], row["codebook_size"]) == (64, 1000)
  assert row["bits"] == pytest.approx(64 * math.log2(1000))
  assert row["step_ms"] > 0
  last = metrics_of(out / "fsq-s0" / "tokenizer")[-1]
  assert row["psnr"] == pytest.approx(last["val/psnr"], abs=0.01)
  priors = [line for line in metrics_of(out / "fsq-s0" / "prior") if "val/nll" in line]
  assert row["nll"] == min(line["val/nll"] for line in priors)
  assert row["prior_bits"] == pytest.approx(row["nll"] * 64 / math.log(2))


def test_what_is_done_is_skipped_and_what_was_stopped_goes_on(done, monkeypatch):
  out, rows = done
  monkeypatch.setattr(main, "run", lambda *_: pytest.fail("trained again"))
  assert study.run(make(), out) == rows
  # Stopped before its row was written: the runs themselves are complete, so nothing is trained.
  row = out / "fsq-s0" / study.ROW
  text = row.read_text()
  row.unlink()
  started = []
  monkeypatch.setattr(main, "run", lambda config, workdir: started.append(workdir.name))
  try:
    (again,) = study.run(make(), out)
  finally:
    row.write_text(text)
  assert started == ["tokenizer", "prior"]
  assert {**again, "step_ms": 0} == {**rows[0], "step_ms": 0}


def test_a_folder_of_another_config_is_refused(done):
  out, _ = done
  changed = make(minutes=1.0)
  with pytest.raises(UserError, match="made by another version of this study's config"):
    study.run(changed, out)


def test_a_run_of_another_config_is_refused_though_it_was_stopped_or_is_not_asked_for(tmp_path):
  # Its steps are planned already, so it would go on with another budget, or stand in the table.
  variants = {name: make().variants["fsq"] for name in ("fsq", "other")}
  plan = tmp_path / "other-s0" / "plan.json"
  plan.parent.mkdir()
  plan.write_text(json.dumps({"config": "of something else", "num_steps": 2}))
  with pytest.raises(UserError, match="other-s0 was made by another version"):
    study.run(make(variants=variants), tmp_path, only=("fsq",))
  assert [path.name for path in tmp_path.iterdir()] == ["other-s0"]  # nothing was trained


def test_minutes_become_steps_once(tmp_path, monkeypatch):
  monkeypatch.setattr(study, "_measure", lambda config: (0.5, {"tokens": 64}))
  config = {"loop": {"num_steps": 2, "checkpoint_every": 2}}
  path = tmp_path / "plan.json"
  assert study._plan(config, 3.0, "id", path)["num_steps"] == 360
  monkeypatch.setattr(study, "_measure", lambda config: pytest.fail("measured again"))
  assert study._plan(config, 3.0, "id", path)["num_steps"] == 360
  assert json.loads(path.read_text())["step_ms"] == 500


@pytest.mark.parametrize(
  ("changes", "only", "named"),
  [
    (dict(minutes=-1.0), (), "minutes is -1.0"),
    (dict(seeds=()), (), "needs config.variants and config.seeds"),
    (dict(variants={"a/b": {}}), (), "'a/b' must be a name that a folder can have"),
    (dict(variants={"a": {"modle": {}}}), (), "a.modle is no section .*did you mean 'model'"),
    (dict(), ("fsk",), "'fsk' is no variant: there are fsq"),
  ],
)
def test_what_cannot_work_is_refused(changes, only, named, tmp_path):
  with pytest.raises(UsageError, match=named):
    study.run(make(**changes), tmp_path, only)


def test_a_study_of_losses_trains_no_prior(tmp_path):
  options = losses.get_config("shapes,tiny").to_dict()
  options["variants"] = {"mse": options["variants"]["mse"]}
  (row,) = study.run(config_lib.build(Study, options, "config"), tmp_path)
  assert row["psnr"] > 0
  assert "nll" not in row
  saved = config_lib.load(tmp_path / "mse-s0" / "tokenizer")
  assert (saved["loss"]["l1_weight"], saved["loss"]["perceptual_weight"]) == (0.0, 0.0)
  assert not (tmp_path / "mse-s0" / "prior").exists()


def test_losses_are_what_their_names_say():
  variants = losses.get_config("openmoji").variants.to_dict()
  for name, sections in variants.items():
    assert sections["loss"]["l1_weight"] == (0.0 if name == "mse" else 0.1)
    assert (sections["loss"]["perceptual_weight"] > 0) == ("perceptual" in name)
    assert (sections["adversarial"]["weight"] > 0) == ("adversarial" in name)
    assert sections["adversarial"]["start_step"] > 0  # the options of a full run stay


def test_priors_share_a_tokenizer_and_a_judge(tmp_path, monkeypatch):
  monkeypatch.setattr(study, "DRAWN", 8)
  options = priors.get_config("shapes,tiny").to_dict()
  options["variants"] = {"one-caption": options["variants"]["one-caption"]}
  started = []
  train = main.run
  monkeypatch.setattr(
    main, "run", lambda config, workdir: (started.append(workdir.name), train(config, workdir))
  )
  (row,) = study.run(config_lib.build(Study, options, "config"), tmp_path)
  assert started == ["tokenizer-s0", "judge", "prior"]
  assert (row["tokens"], row["num_steps"], row["r_precision_chance"]) == (64, 2, 1 / 8)
  for name in ("r_precision", "r_precision_real", "copy_rate", "everything"):
    assert 0 <= row[name] <= 1
  assert row["nll"] == metrics_of(tmp_path / "one-caption-s0" / "prior")[-1]["val/nll"]
  assert "psnr" not in row


def test_variants_of_a_prior_are_what_their_names_say(tokenizer_run, monkeypatch):
  random_encoder(monkeypatch, 24)
  options = priors.get_config("shapes,tiny").to_dict()
  base = {**options["prior"], "tokenizer": str(tokenizer_run)}
  for name, sections in options["variants"].items():
    assert bool(sections) == (name != "base")
    assert all(base[key] != section for key, section in sections.items()) or name == "train-on"
    what = experiment.make({**base, **sections})
    assert type(what.task).__name__.startswith("Masked") == (name == "masked")


@pytest.mark.parametrize(
  "changes", [dict(judge=None), dict(prior=None), dict(of="tokenizer")], ids=str
)
def test_a_study_of_priors_needs_all_three(changes):
  options = priors.get_config("shapes,tiny").to_dict()
  with pytest.raises(UsageError, match=r"config.judge and config.prior are needed|is no section"):
    config_lib.build(Study, options | changes, "config")


@pytest.mark.parametrize("words", ["openmoji", "shapes,sizes", "prepared,tiny"])
def test_variants_are_networks_of_the_size_and_codes_that_they_are_named_after(words):
  from jaxt2i import modules

  for name, section in tokenizers.get_config(words).variants.to_dict().items():
    model = modules.tokenizer(section["model"], 64)
    h, w = modules.grid(model, 64)
    if name.startswith("fsq-"):
      codes, tokens = map(int, name.removeprefix("fsq-").split("x"))
      assert h * w == tokens
      assert abs(model.quantizer.codebook_size / codes - 1) < 0.1
    else:
      assert h * w * math.log2(model.quantizer.codebook_size) / 640 < 1.7
