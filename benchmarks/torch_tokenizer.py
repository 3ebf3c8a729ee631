"""The tokenizer that people build today: eager PyTorch and vector-quantize-pytorch.

The network is as wide and deep as PyTorch likes it best, not a copy of ours: space-to-depth by 4,
two residual blocks of 64 channels at 16×16, two of 128 at 8×8, and the same backwards.
"""

import copy
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from ml_collections import ConfigDict
from torch import Tensor, nn
from vector_quantize_pytorch import FSQ, VectorQuantize

from benchmarks.torch_models import ConvDecoder, ConvEncoder
from benchmarks.torch_train import TrainStep

CHANNELS, BLOCKS, STEM = (64, 128), 2, 4
CODEBOOK_SIZE, CODE_DIM = 1024, 16
LEVELS = (8, 5, 5, 5)
L1_WEIGHT = 0.1
BATCH_SIZE = 16


def recipe(num_steps: int) -> ConfigDict:
  """Optimiser, schedule and moving average of the weights, as `TrainStep` reads them."""
  return ConfigDict(
    dict(
      optimizer=dict(
        learning_rate=2e-3,
        warmup_steps=100,
        final_share=0.02,
        b1=0.9,
        b2=0.99,
        weight_decay=0.01,
        clip_norm=1.0,
      ),
      ema_decay=0.999,
      loop=dict(num_steps=num_steps),
    )
  )


class EMA(nn.Module):
  """Vector quantisation with what the library's documentation advises against unused codes.

  What stands here was best of what was tried; the rotation trick, the library's default, and plain
  straight-through are alike.
  """

  def __init__(self) -> None:
    super().__init__()
    self.code_dim, self.codebook_size = CODE_DIM, CODEBOOK_SIZE
    self.quantize = VectorQuantize(
      CODE_DIM,
      CODEBOOK_SIZE,
      decay=0.99,
      kmeans_init=True,
      threshold_ema_dead_code=2,
      commitment_weight=0.25,
    )

  def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`z [B, N, D]` to codes, tokens `[B, N]` and what is added to the loss."""
    return self.quantize(z)


class FiniteScalar(nn.Module):
  """The library's FSQ; nothing is added to the loss."""

  def __init__(self) -> None:
    super().__init__()
    self.quantize = FSQ(list(LEVELS))
    self.code_dim, self.codebook_size = len(LEVELS), self.quantize.codebook_size

  def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`z [B, N, D]` to codes, tokens `[B, N]` and 0."""
    z_q, tokens = self.quantize(z)
    return z_q, tokens, z.new_zeros(())


class Network(nn.Module):
  """Encoder, quantizer, decoder."""

  def __init__(self, quantizer: EMA | FiniteScalar):
    super().__init__()
    self.quantizer = quantizer
    self.encoder = ConvEncoder(CHANNELS, BLOCKS, STEM)
    self.to_code = nn.Linear(self.encoder.features, quantizer.code_dim)
    self.decoder = ConvDecoder(quantizer.code_dim, CHANNELS, BLOCKS, STEM)

  def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Images `[B, H, W, 3]` in [-1, 1] to reconstructions, tokens and the quantizer's loss."""
    z = self.to_code(self.encoder(x))
    z_q, tokens, loss = self.quantizer(z.flatten(1, 2))
    return self.decoder(z_q.unflatten(1, z.shape[1:3])), tokens, loss

  def loss(self, image: Tensor) -> Tensor:
    """Of uint8 images `[B, H, W, 3]`."""
    x = _to_float(image)
    y, _, loss = self(x)
    return F.mse_loss(y, x) + L1_WEIGHT * F.l1_loss(y, x) + loss


QUANTIZERS: dict[str, type[EMA] | type[FiniteScalar]] = {"ema": EMA, "fsq": FiniteScalar}


def _to_float(image: Tensor) -> Tensor:
  return image.float().div_(127.5).sub_(1.0)


class TorchTokenizer:
  """A `Learner` with the quantizer of that name."""

  def __init__(self, quantizer: str, seed: int):
    self._quantizer = quantizer
    self.batch_size, self.seed = BATCH_SIZE, seed
    model = self._fresh()
    self.num_parameters = sum(p.numel() for p in model.parameters())
    self.codebook_size: int = model.quantizer.codebook_size

  def _fresh(self) -> Network:
    torch.manual_seed(self.seed)
    return Network(QUANTIZERS[self._quantizer]())

  def start(self, num_steps: int) -> None:
    """Fresh weights, and the schedule for so many steps; nothing is compiled."""
    self._model: Any = self._fresh().train()
    self._step = TrainStep(self._model, self._model.loss, recipe(num_steps))

  def step(self, images: np.ndarray) -> None:
    """One step of the training."""
    self._step(torch.from_numpy(images))

  def wait(self) -> None:
    """Nothing: PyTorch on a CPU returns when a step is done."""

  def reconstruct(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """With averaged weights and the codebook as it is, which is an average already."""
    model: Any = copy.deepcopy(self._step.ema_model).eval()
    with torch.inference_mode():
      for buffer, newest in zip(model.buffers(), self._model.buffers(), strict=True):
        buffer.copy_(newest)
      y, tokens, _ = model(_to_float(torch.from_numpy(images)))
      decoded = y.add_(1.0).mul_(127.5).round_().clamp_(0, 255).byte()
    return decoded.numpy(), tokens.numpy()
