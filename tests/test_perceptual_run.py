"""A tokenizer with a perceptual loss: its network rides in the run, untrained, and stays there."""

import jax
import numpy as np
import pytest

import jaxt2i
from jaxt2i import experiment, pretrained
from jaxt2i.checkpoints import read_arrays
from tests.features import features
from tests.runs import config, metrics_of, train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """The workdir of two steps."""
  workdir = tmp_path_factory.mktemp("perceptual")
  return train(workdir, "vqvae:ema,shapes,tiny", **{"loss.perceptual_weight": 0.1})


def test_the_network_rides_along_unchanged(run):
  _, arrays = read_arrays(run, ("collections", "ema_params", "params"))
  assert set(arrays["collections"]) == {"codebook", "features"}
  jax.tree.map(np.testing.assert_array_equal, arrays["collections"]["features"], features())
  assert set(arrays["params"]) == set(arrays["ema_params"]) == {"encoder", "decoder", "to_code"}
  last = metrics_of(run)[-1]
  assert last["perceptual"] > 0
  assert last["val/perceptual"] > 0
  assert "val/rfd" not in last  # of 16 images


def test_what_uses_the_tokenizer_does_without_it(run):
  assert set(jaxt2i.load(run).tokenizer_variables) == {"params", "codebook"}
  prior = experiment.make(config("prior:shapes,tiny", tokenizer=str(run)))
  assert set(prior.init(jax.random.key(0))["frozen"]) == {"params", "codebook"}


def test_with_weight_0_nothing_is_loaded(monkeypatch):
  monkeypatch.setattr(pretrained, "efficientnet_lite0", None)
  what = experiment.make(config("vqvae:shapes,tiny"))
  assert "features" not in what.init(jax.random.key(0))
