"""Training step of the image tokenizer, all networks of configs/vqvae.py, batch 32, AdamW."""

from functools import partial
from typing import Any

import numpy as np

from benchmarks.timing import Case, Prepared, num_cores
from configs import vqvae

BATCH = 32


def cases() -> list[Case]:
  """Each tokenizer with FSQ."""
  return [
    Case(f"tokenizer_{name}", partial(_ours, name), partial(_peer, name), steps=3)
    for name in ("conv", "vqgan", "vit")
  ]


def _images(config: Any) -> np.ndarray:
  """Noise: values do not change how long a step takes."""
  size = config.data.image_size
  return np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3)).astype(np.uint8)


def _ours(network: str) -> Prepared:
  from benchmarks.jax_train import prepare
  from jaxt2i import config as config_lib
  from jaxt2i import modules
  from jaxt2i.tasks.tokenizer import TokenizerTask

  chosen = vqvae.get_config(f"fsq,{network}")
  chosen.optimizer.kind = "adamw"  # what the peer has
  config = chosen.to_dict()
  model = modules.tokenizer(config["model"], config["data"]["image_size"])
  task = config_lib.build(TokenizerTask, config["loss"], "config.loss", model=model)
  return prepare(task, config, {"image": _images(vqvae.get_config())})


def _peer(network: str) -> Prepared:
  import torch

  from benchmarks.torch_models import Tokenizer, tokenizer_loss
  from benchmarks.torch_train import TrainStep

  torch.set_num_threads(num_cores())
  config = vqvae.get_config(f"fsq,{network}")
  model = Tokenizer(config.model, config.data.image_size)
  loss = partial(tokenizer_loss, model, l1_weight=config.loss.l1_weight)
  step = TrainStep(model, loss, config)
  image = torch.from_numpy(_images(config))
  return Prepared(lambda: step(image), sum(p.numel() for p in model.parameters()))
