"""Training step of the prior, batch 32: 64 or 256 tokens of 1,000 codes, captions of 16 or 32."""

from functools import partial
from typing import Any

import numpy as np

from benchmarks.timing import Case, Prepared, num_cores
from configs import prior
from jaxt2i import modules
from jaxt2i.models.autoregressive import AutoregressivePrior

BATCH = 32
GRID, LARGE_GRID = (8, 8), (16, 16)
CODEBOOK_SIZE = 1000
SIZES: dict[str, dict[str, int]] = {
  "default": {},  # of configs/prior.py
  "large": {"width": 256, "layers": 8, "heads": 8},
  "long": {},  # on LARGE_GRID
}


def cases() -> list[Case]:
  """All sizes."""
  return [
    Case(f"prior_{size}", partial(_ours, size), partial(_peer, size), steps=3) for size in SIZES
  ]


def sized_config(size: str) -> Any:
  """configs/prior.py with a model of this size, captions that fit it, and the peer's optimiser."""
  config = prior.get_config()
  config.model.update(SIZES[size])
  config.optimizer.kind = "adamw"  # what the peer has
  if size == "long":
    config.text.max_length = 32
  return config


def build_both(
  config: Any, *, grid: tuple[int, int] = GRID, codebook_size: int = CODEBOOK_SIZE
) -> tuple[AutoregressivePrior, dict[str, Any]]:
  """Our prior of a config, and what the peer of the same sizes is built with."""
  vocab_size, max_length = config.text.vocab_size, config.text.max_length
  sizes = ("width", "layers", "heads", "dropout")
  shared = {key: config.model[key] for key in sizes}
  shared |= {"grid": grid, "codebook_size": codebook_size}
  others = {key: x for key, x in config.model.items() if key not in (*sizes, "name", "text")}
  section = config.model.text.to_dict()
  encoder = modules.text_encoder(
    section, vocab_size, width=config.model.width, heads=config.model.heads
  )
  of_text = {"vocab_size": vocab_size, "max_length": max_length, "text_layers": section["layers"]}
  ours = AutoregressivePrior(text_encoder=encoder, depth=1, **shared, **others)
  return ours, {**shared, **of_text}


def captions(config: Any, batch: int) -> np.ndarray:
  """`[B, T]` random ids, the second half of each PAD."""
  rng = np.random.default_rng(0)
  text = rng.integers(1, config.text.vocab_size, (batch, config.text.max_length))
  text[:, config.text.max_length // 2 :] = 0
  return text.astype(np.int32)


def _grid(size: str) -> tuple[int, int]:
  return LARGE_GRID if size == "long" else GRID


def _tokens(size: str) -> np.ndarray:
  shape = (BATCH, *_grid(size))
  return np.random.default_rng(1).integers(0, CODEBOOK_SIZE, shape).astype(np.int32)


def _ours(size: str) -> Prepared:
  from benchmarks.jax_train import prepare
  from jaxt2i import config as config_lib
  from jaxt2i.tasks.prior import AutoregressiveTask

  config = sized_config(size)
  model, _ = build_both(config, grid=_grid(size))
  config.loss.token_dropout = 0.0  # the peer has none; it costs next to nothing
  task = config_lib.build(AutoregressiveTask, config.loss.to_dict(), "config.loss", model=model)
  return prepare(task, config.to_dict(), {"tokens": _tokens(size), "text": captions(config, BATCH)})


def _peer(size: str) -> Prepared:
  import torch

  from benchmarks.torch_prior import Prior, prior_loss
  from benchmarks.torch_train import TrainStep

  torch.set_num_threads(num_cores())
  config = sized_config(size)
  model = Prior(**build_both(config, grid=_grid(size))[1])
  loss = partial(prior_loss, model, condition_dropout=config.loss.condition_dropout)
  step = TrainStep(model, loss, config)
  tokens = torch.from_numpy(_tokens(size)).long().flatten(1)
  text = torch.from_numpy(captions(config, BATCH)).long()
  return Prepared(lambda: step(tokens, text), sum(p.numel() for p in model.parameters()))
