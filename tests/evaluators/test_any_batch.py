"""The same figures from batches of 7 or 64, on one device or on eight."""

import json
import subprocess
import sys

import pytest

from tests.runs import train

SCRIPT = """
import json, sys
from functools import partial
from pathlib import Path
import jax
from jaxt2i import config as config_lib
from jaxt2i import data, pipeline, pretrained
from jaxt2i.data.transforms import FirstCaption, image_row
from jaxt2i.evaluators.likelihood import Likelihood
from jaxt2i.evaluators.reconstruction import Reconstruction
from jaxt2i.experiment import parts
from jaxt2i.state import FEATURES
from jaxt2i.tokenized import Tokenized

jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
devices, batch, *runs = sys.argv[1:]
assert jax.device_count() == int(devices)
parts.EVAL_BATCH = int(batch)
for run in map(Path, runs):
  config = config_lib.load(run)
  val, road = data.load("train", **config["data"]), pipeline.load(run)
  variables = {**road.tokenizer_variables, FEATURES: pretrained.efficientnet_lite0()}
  reconstruction = Reconstruction(road.tokenizer, partial(parts.eval_batches, val, image_row))
  tokens = Tokenized.of(val, road)
  row = FirstCaption(road.text_processor)
  task = parts.prior_task(config["loss"], road.prior)
  likelihood = Likelihood(task, partial(parts.eval_batches, tokens, row))
  print(json.dumps({**reconstruction(variables), **likelihood(road.prior_variables)}))
"""


def figures(runs, devices, batch, monkeypatch):
  monkeypatch.setenv("XLA_FLAGS", f"--xla_force_host_platform_device_count={devices}")
  arguments = [sys.executable, "-c", SCRIPT, str(devices), str(batch), *map(str, runs)]
  done = subprocess.run(arguments, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
  return [json.loads(line) for line in done.stdout.splitlines()]


def test_batches_and_devices_do_not_matter(tmp_path, monkeypatch):
  # Not a codebook after two steps: between codes that are still equal rounding decides.
  tokenizer = str(train(tmp_path / "tokenizer", "vqvae:fsq,shapes,tiny"))
  kinds = ("autoregressive", "masked")
  runs = [train(tmp_path / k, f"prior:{k},shapes,tiny", tokenizer=tokenizer) for k in kinds]
  expected = figures(runs, 1, 7, monkeypatch)
  assert {"psnr", "ssim", "perceptual", "codebook_usage", "perplexity", "nll"} <= expected[0].keys()
  for devices, batch in ((1, 64), (8, 64)):
    for found, wanted in zip(figures(runs, devices, batch, monkeypatch), expected, strict=True):
      for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=1e-6, abs=1e-7), name
