"""Tiny training runs, made once a session, and how to start `jaxt2i.main` inside a test.

The fixtures hand out folders that all tests share: copy one before changing it.
"""

import dataclasses
import importlib
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from absl import flags
from ml_collections import ConfigDict, config_flags

TOKENIZER = "vqvae:ema,shapes,tiny"
PRIOR = "prior:shapes,tiny"


def config(name: str, **changes: Any) -> dict[str, Any]:
  """The config of `vqvae:ema,tiny`, with changes: `config("prior:tiny", **{"loop.num_steps": 3})`.

  A path that the config does not have is a KeyError, as on the command line.
  """
  module, _, arg = name.partition(":")
  found: ConfigDict = importlib.import_module(f"configs.{module}").get_config(arg)
  found.update_from_flattened_dict(changes)
  return found.to_dict()


def train(workdir: Path, name: str, **changes: Any) -> Path:
  """Trains a config in a workdir, in this process; returns the workdir."""
  from jaxt2i import main

  main.run(config(name, **changes), workdir)
  return workdir


@pytest.fixture(scope="session")
def tokenizer_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """The workdir of a tokenizer (EMA, 512 codes, 8×8 tokens) after two steps on `shapes`."""
  return train(tmp_path_factory.mktemp("runs") / "tokenizer", TOKENIZER)


@pytest.fixture(scope="session")
def prior_run(tmp_path_factory: pytest.TempPathFactory, tokenizer_run: Path) -> Path:
  """The workdir of a prior over the tokens of `tokenizer_run`, after two steps."""
  workdir = tmp_path_factory.mktemp("runs") / "prior"
  return train(workdir, PRIOR, tokenizer=str(tokenizer_run))


@pytest.fixture(scope="session")
def tokenizer_pipeline(tokenizer_run: Path):
  """The loaded pipeline of `tokenizer_run`."""
  import jaxt2i

  return jaxt2i.load(tokenizer_run)


@pytest.fixture(scope="session")
def clear_pipeline(tokenizer_pipeline):
  """`tokenizer_pipeline` with random codes: after two steps many of the learnt ones are equal.

  Between equal codes rounding decides, so two programs may give an image different tokens.
  """
  import jax.numpy as jnp

  from jaxt2i.models.vqvae import VQVAE

  def latents(model: VQVAE, images: jnp.ndarray) -> jnp.ndarray:
    return model.to_code(model.encoder(images))

  rng = np.random.default_rng(0)
  variables = tokenizer_pipeline.tokenizer_variables
  images = jnp.asarray(rng.uniform(-1, 1, (8, 64, 64, 3)), jnp.float32)
  z = np.asarray(tokenizer_pipeline.tokenizer.apply(variables, images, method=latents))
  codes = rng.normal(z.mean((0, 1, 2)), 2 * z.std((0, 1, 2)), (512, 16))
  codebook = {**variables["codebook"]["quantizer"], "codes": jnp.asarray(codes, jnp.float32)}
  return dataclasses.replace(
    tokenizer_pipeline,
    tokenizer_variables={**variables, "codebook": {"quantizer": codebook}},
  )


@pytest.fixture(scope="session")
def prior_pipeline(prior_run: Path):
  """The loaded pipeline of `prior_run`."""
  import jaxt2i

  return jaxt2i.load(prior_run)


@pytest.fixture
def main_command(monkeypatch: pytest.MonkeyPatch, repository: Path):
  """`python -m jaxt2i.main <arguments>` in this process, from the checkout; gives the exit code."""
  from jaxt2i import main

  def run(*arguments: str) -> int:
    # Flags are global and grow with every config that is parsed: each call gets new ones.
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", flag_values=values)
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    flags.DEFINE_bool("force", False, "", flag_values=values)
    flags.DEFINE_bool("distributed", False, "", flag_values=values)
    monkeypatch.setattr(main, "FLAGS", values)
    argv = ["jaxt2i.main", *arguments]
    monkeypatch.setattr(sys, "argv", argv)  # ml_collections looks there for --config.x
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(repository)
    with warnings.catch_warnings():
      # ml_collections imports config files in an old way.
      warnings.filterwarnings("ignore", r"the load_module\(\)", DeprecationWarning)
      return main.main(argv)

  return run


@pytest.fixture
def refused(main_command, capsys, tmp_path):
  """Runs the command; checks the exit code and that the complaint is one line, and returns it."""

  def run(*arguments: str, code: int, workdir=tmp_path / "run") -> str:
    flags = [] if any(a.startswith("--workdir") for a in arguments) else [f"--workdir={workdir}"]
    assert main_command(*arguments, *flags) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if not line.startswith("preparing data")]
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("jaxt2i: error: ")
    assert "\\n" not in lines[0]  # nor a line break in disguise
    return lines[0]

  return run


def metrics_of(workdir: Path) -> list[dict[str, Any]]:
  """The lines of a run's metrics.jsonl."""
  return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def config_of(workdir: Path) -> dict[str, Any]:
  """A run's config.json."""
  return json.loads((workdir / "config.json").read_text())
