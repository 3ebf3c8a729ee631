"""Goals: what may be wanted, and when it is reached."""

import json
import math
import shutil

import pytest

from jaxt2i import config as config_lib
from jaxt2i import main
from jaxt2i.analysis.latent_goals import LatentGoals, judge, of_config
from jaxt2i.errors import UsageError, UserError
from tests.runs import config, config_of, train


def test_each_goal_is_held_against_its_measure():
  goals = LatentGoals(complete="under", usage=0.9, gini=0.6, smooth=0.3, sampleable=0.5)
  values = {"complete": "over", "usage": 0.95, "gini": 0.7, "smooth": 0.32}
  found = {
    v.property: v for v in judge(goals, values, {"smooth": (0.2, 0.4), "gini": (0.65, 0.75)})
  }
  assert list(found) == ["complete", "usage", "gini", "smooth", "sampleable"]
  reached = {name: verdict.reached for name, verdict in found.items()}
  assert reached == {
    "complete": False,
    "usage": True,
    "gini": False,
    "smooth": None,  # its interval includes the threshold
    "sampleable": None,  # not measured
  }
  assert found["smooth"].value is True
  assert found["sampleable"].measured is None
  assert (found["gini"].wanted, found["usage"].wanted) == ("at most 0.6", "at least 0.9")


def test_an_interval_on_one_side_decides():
  goals = LatentGoals(gini=0.6, smooth=0.3, distribution="zipf")
  values = {"gini": 0.5, "smooth": 0.2, "distribution": "zipf"}
  verdicts = judge(goals, values, {"gini": (0.4, 0.59), "smooth": (0.1, 0.29)})
  assert {v.property: v.reached for v in verdicts} == {
    "distribution": True,
    "gini": True,
    "smooth": False,
  }


def test_what_is_not_defined_is_not_measured():
  (verdict,) = judge(LatentGoals(sampleable=0.5), {"sampleable": math.nan}, {})
  assert (verdict.measured, verdict.reached) == (None, None)


def test_a_run_from_before_there_were_goals_has_none():
  assert of_config({"task": "tokenizer"}) == LatentGoals()
  assert judge(LatentGoals(), {"usage": 0.5}, {}) == []


@pytest.mark.parametrize(
  ("section", "message"),
  [
    ({"useage": 0.9}, "config.latent_goals.useage is not an option; did you mean 'usage'?"),
    ({"usage": 90.0}, "config.latent_goals.usage is 90.0: must be from 0"),
    ({"gini": -0.1}, "config.latent_goals.gini is -0.1"),
    ({"complete": "yes"}, "config.latent_goals.complete is 'yes': must be one of '', 'under'"),
    ({"smooth": "much"}, "config.latent_goals.smooth is 'much': must be float"),
  ],
)
def test_goals_that_mean_nothing_are_refused(section, message):
  with pytest.raises(UsageError) as error:
    of_config({"latent_goals": section})
  assert message in str(error.value)


def test_the_config_wants_what_can_be_wanted():
  assert of_config(config("vqvae")).wanted().keys() > {"complete", "usage", "gini", "smooth"}


def test_training_refuses_unknown_goals_at_its_start(tmp_path):
  chosen = config("vqvae:tiny")
  chosen["latent_goals"]["useage"] = 1.0
  with pytest.raises(UsageError, match=r"latent_goals\.useage is not an option"):
    main.run(chosen, tmp_path / "run")
  assert not (tmp_path / "run" / "config.json").exists()


def test_goals_may_change_while_a_run_goes_on(tmp_path):
  chosen = config("vqvae:tiny")
  config_lib.save(tmp_path, chosen)
  chosen["latent_goals"]["usage"] = 0.5
  config_lib.check(tmp_path, chosen)
  del chosen["latent_goals"]
  config_lib.check(tmp_path, chosen)
  chosen["seed"] += 1
  with pytest.raises(UserError, match=r"config.seed"):
    config_lib.check(tmp_path, chosen)


def test_a_prior_has_the_goals_of_its_tokenizer(prior_run, tokenizer_run):
  assert config_of(prior_run)["latent_goals"] == config_of(tokenizer_run)["latent_goals"]


def test_a_prior_of_an_old_tokenizer_has_none(tmp_path, tokenizer_run):
  old = tmp_path / "old"
  shutil.copytree(tokenizer_run, old)
  saved = config_of(old)
  del saved["latent_goals"]
  (old / "config.json").write_text(json.dumps(saved))
  run = train(tmp_path / "prior", "prior:shapes,tiny", tokenizer=str(old))
  assert "latent_goals" not in config_of(run)
