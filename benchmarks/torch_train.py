"""The training step of jaxt2i in PyTorch: loss, gradients, clipping, AdamW, EMA of weights."""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class TrainStep:
  """One call is one step; returns the loss before it.

  Args:
    model: is changed.
    loss: of a batch, with the arguments that a call is given.
    optimizer: `config.optimizer`.
    num_steps: of the run, for the schedule.
    ema_decay: of the moving average of weights.
  """

  def __init__(
    self,
    model: nn.Module,
    loss: Callable[..., Tensor],
    *,
    optimizer: Mapping[str, Any],
    num_steps: int,
    ema_decay: float,
  ):
    self._loss = loss
    self._options = optimizer
    self._num_steps = num_steps
    self._ema_decay = ema_decay
    self._step = 0
    self.parameters = list(model.parameters())
    self.ema_model = copy.deepcopy(model).requires_grad_(False)
    self._ema_parameters = list(self.ema_model.parameters())
    decayed = _decayed(model)
    self._adamw = torch.optim.AdamW(
      [
        {"params": decayed, "weight_decay": optimizer["weight_decay"]},
        {"params": _without(self.parameters, decayed), "weight_decay": 0.0},
      ],
      betas=(optimizer["b1"], optimizer["b2"]),
      fused=True,
    )

  @classmethod
  def of(cls, model: nn.Module, loss: Callable[..., Tensor], config: Any) -> "TrainStep":
    """The step that a config asks for."""
    return cls(
      model,
      loss,
      optimizer=config.optimizer,
      num_steps=config.loop.num_steps,
      ema_decay=config.ema_decay,
    )

  def __call__(self, *batch: Tensor) -> Tensor:
    loss = self._loss(*batch)
    self._adamw.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(self.parameters, self._options["clip_norm"])
    for group in self._adamw.param_groups:
      group["lr"] = learning_rate(self._options, self._step, self._num_steps)
    self._adamw.step()
    decay = min(self._ema_decay, (self._step + 1) / (self._step + 10))
    with torch.no_grad():
      torch._foreach_lerp_(self._ema_parameters, self.parameters, 1 - decay)
    self._step += 1
    return loss.detach()


def learning_rate(options: Mapping[str, Any], step: int, num_steps: int) -> float:
  """Linear warm-up, then a cosine decay to `final_share`."""
  peak, warmup = options["learning_rate"], min(options["warmup_steps"], num_steps // 2)
  if step < warmup:
    return peak * step / warmup
  cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / (num_steps - warmup))))
  return peak * ((1 - options["final_share"]) * cosine + options["final_share"])


def _decayed(model: nn.Module) -> list[nn.Parameter]:
  """Weights of matrices, kernels and embeddings."""
  kinds = (nn.Linear, nn.Conv2d, nn.Embedding)
  return [module.weight for module in model.modules() if isinstance(module, kinds)]


def _without(parameters: list[nn.Parameter], some: list[nn.Parameter]) -> list[nn.Parameter]:
  left_out = set(map(id, some))
  return [parameter for parameter in parameters if id(parameter) not in left_out]
