"""Training step of the prior, batch 32: 64 tokens of 1,000 codes, captions of 16 ids."""

from functools import partial
from typing import Any

import numpy as np

from benchmarks.timing import Case, Prepared, num_cores
from configs import prior

BATCH = 32
GRID = (8, 8)
CODEBOOK_SIZE = 1000
SIZES: dict[str, dict[str, int]] = {
  "default": {},  # of configs/prior.py
  "large": {"width": 256, "layers": 8, "heads": 8},
}


def cases() -> list[Case]:
  """Both sizes."""
  return [
    Case(f"prior_{size}", partial(_ours, size), partial(_peer, size), steps=3) for size in SIZES
  ]


def sized_config(size: str) -> Any:
  """configs/prior.py with a model of this size."""
  config = prior.get_config()
  config.model.update(SIZES[size])
  return config


def model_options(config: Any) -> dict[str, Any]:
  """What both priors are built with."""
  sizes = {"grid": GRID, "codebook_size": CODEBOOK_SIZE, "vocab_size": config.text.vocab_size}
  ours_alone = ("name", "any_order", "positions", "conditioning")
  return {key: value for key, value in config.model.items() if key not in ours_alone} | sizes


def captions(config: Any, batch: int) -> np.ndarray:
  """`[B, T]` random ids, the second half of each PAD."""
  rng = np.random.default_rng(0)
  text = rng.integers(1, config.text.vocab_size, (batch, config.text.max_length))
  text[:, config.text.max_length // 2 :] = 0
  return text.astype(np.int32)


def _tokens() -> np.ndarray:
  return np.random.default_rng(1).integers(0, CODEBOOK_SIZE, (BATCH, *GRID)).astype(np.int32)


def _ours(size: str) -> Prepared:
  from benchmarks.jax_train import prepare
  from jaxt2i import config as config_lib
  from jaxt2i.models.autoregressive import AutoregressivePrior
  from jaxt2i.tasks.prior import AutoregressiveTask

  config = sized_config(size)
  model = AutoregressivePrior(**model_options(config))
  config.loss.token_dropout = 0.0  # the peer has none; it costs next to nothing
  task = config_lib.build(AutoregressiveTask, config.loss.to_dict(), "config.loss", model=model)
  return prepare(task, config.to_dict(), {"tokens": _tokens(), "text": captions(config, BATCH)})


def _peer(size: str) -> Prepared:
  import torch

  from benchmarks.torch_prior import Prior, prior_loss
  from benchmarks.torch_train import TrainStep

  torch.set_num_threads(num_cores())
  config = sized_config(size)
  model = Prior(**model_options(config), max_length=config.text.max_length)
  loss = partial(prior_loss, model, condition_dropout=config.loss.condition_dropout)
  step = TrainStep(model, loss, config)
  tokens = torch.from_numpy(_tokens()).long().flatten(1)
  text = torch.from_numpy(captions(config, BATCH)).long()
  return Prepared(lambda: step(tokens, text), sum(p.numel() for p in model.parameters()))
