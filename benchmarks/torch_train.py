"""The training step of jaxt2i in PyTorch: loss, gradients, clipping, AdamW, EMA of weights."""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class TrainStep:
  """One call is one step; returns the loss before it.

  Args:
    model: is changed.
    loss: of a batch, with the arguments that a call is given.
    config: of the run that does this.
  """

  def __init__(self, model: nn.Module, loss: Callable[..., Tensor], config: Any):
    self._loss = loss
    self._config = config
    self._step = 0
    self._parameters: list[Tensor] = list(model.parameters())
    self.ema_model = copy.deepcopy(model).requires_grad_(False)
    self._ema_parameters: list[Tensor] = list(self.ema_model.parameters())
    decayed = _decayed(model)
    self._adamw = torch.optim.AdamW(
      [
        {"params": decayed, "weight_decay": config.optimizer.weight_decay},
        {"params": _without(self._parameters, decayed), "weight_decay": 0.0},
      ],
      betas=(config.optimizer.b1, config.optimizer.b2),
      fused=True,
    )

  def __call__(self, *batch: Tensor) -> Tensor:
    loss = self._loss(*batch)
    self._adamw.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(self._parameters, self._config.optimizer.clip_norm)
    for group in self._adamw.param_groups:
      group["lr"] = learning_rate(self._config, self._step)
    self._adamw.step()
    decay = min(self._config.ema_decay, (self._step + 1) / (self._step + 10))
    with torch.no_grad():
      torch._foreach_lerp_(self._ema_parameters, self._parameters, 1 - decay)
    self._step += 1
    return loss.detach()


def learning_rate(config: Any, step: int) -> float:
  """Linear warm-up, then a cosine decay to `final_share`."""
  options, num_steps = config.optimizer, config.loop.num_steps
  warmup = min(options.warmup_steps, num_steps // 2)
  if step < warmup:
    return options.learning_rate * step / warmup
  cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / (num_steps - warmup))))
  return options.learning_rate * ((1 - options.final_share) * cosine + options.final_share)


def _decayed(model: nn.Module) -> list[Tensor]:
  """Weights of matrices, kernels and embeddings."""
  kinds = (nn.Linear, nn.Conv2d, nn.Embedding)
  return [module.weight for module in model.modules() if isinstance(module, kinds)]


def _without(parameters: list[Tensor], some: list[Tensor]) -> list[Tensor]:
  left_out = set(map(id, some))
  return [parameter for parameter in parameters if id(parameter) not in left_out]
