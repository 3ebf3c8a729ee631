"""The image tokenizer of jaxt2i in PyTorch: the peer that it is measured against.

The same networks layer by layer, with the names that Flax gives them (see torch_weights.py).
Features lie last in memory in both: tensors are `[B, H, W, C]`, which a convolution sees as a
`channels_last` `[B, C, H, W]`, the layout that PyTorch is fastest with.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-6  # Flax's in all normalisations; PyTorch's are others


class Conv(nn.Conv2d):
  """3×3 convolution of `[B, H, W, C]`, padded to the same size."""

  def __init__(self, channels_in: int, channels_out: int):
    super().__init__(channels_in, channels_out, 3, padding=1)
    self.weight = nn.Parameter(self.weight.detach().to(memory_format=torch.channels_last))

  def forward(self, x: Tensor) -> Tensor:
    return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class SpaceToDepth(nn.Module):
  """Moves each `factor × factor` square of pixels into channels."""

  def __init__(self, factor: int):
    super().__init__()
    self.factor = factor

  def forward(self, x: Tensor) -> Tensor:
    b, h, w, c = x.shape
    f = self.factor
    x = x.reshape(b, h // f, f, w // f, f, c).transpose(2, 3)
    return x.reshape(b, h // f, w // f, f * f * c)


class DepthToSpace(nn.Module):
  """The inverse of `SpaceToDepth`."""

  def __init__(self, factor: int):
    super().__init__()
    self.factor = factor

  def forward(self, x: Tensor) -> Tensor:
    b, h, w, d = x.shape
    f = self.factor
    x = x.reshape(b, h, w, f, f, d // (f * f)).transpose(2, 3)
    return x.reshape(b, h * f, w * f, d // (f * f))


class ResBlock(nn.Module):
  """Pre-norm residual block of two convolutions."""

  def __init__(self, channels: int):
    super().__init__()
    self.norm1 = nn.LayerNorm(channels, eps=EPSILON, bias=False)
    self.conv1 = Conv(channels, channels)
    self.norm2 = nn.LayerNorm(channels, eps=EPSILON, bias=False)
    self.conv2 = Conv(channels, channels)
    nn.init.zeros_(self.conv2.weight)

  def forward(self, x: Tensor) -> Tensor:
    y = self.conv1(F.silu(self.norm1(x), inplace=True))
    return x + self.conv2(F.silu(self.norm2(y), inplace=True))


class ConvEncoder(nn.Sequential):
  """Space-to-depth stem, then levels of residual blocks."""

  def __init__(self, channels: tuple[int, ...], blocks: int, stem: int):
    layers: OrderedDict[str, nn.Module] = OrderedDict(pixels=SpaceToDepth(stem))
    layers["stem"] = Conv(3 * stem**2, channels[0])
    for level, width in enumerate(channels):
      if level:
        layers[f"fold{level}"] = SpaceToDepth(2)
        layers[f"down{level}"] = nn.Linear(4 * channels[level - 1], width)
      for i in range(blocks):
        layers[f"level{level}_block{i}"] = ResBlock(width)
    layers["norm"] = nn.LayerNorm(channels[-1], eps=EPSILON)
    super().__init__(layers)
    self.features = channels[-1]


class ConvDecoder(nn.Sequential):
  """`ConvEncoder` in reverse."""

  def __init__(self, code_dim: int, channels: tuple[int, ...], blocks: int, stem: int):
    layers: OrderedDict[str, nn.Module] = OrderedDict({"in": Conv(code_dim, channels[-1])})
    for level in reversed(range(len(channels))):
      for i in range(blocks):
        layers[f"level{level}_block{i}"] = ResBlock(channels[level])
      if level:
        layers[f"up{level}"] = nn.Linear(channels[level], 4 * channels[level - 1])
        layers[f"unfold{level}"] = DepthToSpace(2)
    layers["norm"] = nn.LayerNorm(channels[0], eps=EPSILON)
    layers["silu"] = nn.SiLU(inplace=True)
    layers["stem"] = Conv(channels[0], 3 * stem**2)
    layers["pixels"] = DepthToSpace(stem)
    super().__init__(layers)


class Enlarge(nn.Module):
  """Repeats each pixel `factor × factor` times."""

  def __init__(self, factor: int):
    super().__init__()
    self.factor = factor

  def forward(self, x: Tensor) -> Tensor:
    x = F.interpolate(x.permute(0, 3, 1, 2), scale_factor=self.factor, mode="nearest")
    return x.permute(0, 2, 3, 1)


class Down(Conv):
  """3×3 convolution that halves the resolution; padded as Flax does: to the right, and below."""

  def __init__(self, channels_in: int, channels_out: int):
    super().__init__(channels_in, channels_out)
    self.stride, self.padding = (2, 2), (0, 0)

  def forward(self, x: Tensor) -> Tensor:
    return super().forward(F.pad(x, (0, 0, 0, 1, 0, 1)))


class VQGANEncoder(nn.Sequential):
  """Levels of residual blocks from full resolution on."""

  def __init__(self, channels: tuple[int, ...], blocks: int):
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=Conv(3, channels[0]))
    for level, width in enumerate(channels):
      if level:
        layers[f"down{level}"] = Down(channels[level - 1], width)
      for i in range(blocks):
        layers[f"level{level}_block{i}"] = ResBlock(width)
    layers["norm"] = nn.LayerNorm(channels[-1], eps=EPSILON)
    super().__init__(layers)
    self.features = channels[-1]


class VQGANDecoder(nn.Sequential):
  """`VQGANEncoder` in reverse."""

  def __init__(self, code_dim: int, channels: tuple[int, ...], blocks: int):
    layers: OrderedDict[str, nn.Module] = OrderedDict({"in": Conv(code_dim, channels[-1])})
    for level in reversed(range(len(channels))):
      for i in range(blocks):
        layers[f"level{level}_block{i}"] = ResBlock(channels[level])
      if level:
        layers[f"enlarge{level}"] = Enlarge(2)
        layers[f"up{level}"] = Conv(channels[level], channels[level - 1])
    layers["norm"] = nn.LayerNorm(channels[0], eps=EPSILON)
    layers["silu"] = nn.SiLU(inplace=True)
    layers["stem"] = Conv(channels[0], 3)
    super().__init__(layers)


def split_heads(x: Tensor, heads: int) -> Tensor:
  """`[B, N, width]` to `[B, heads, N, D]`, a view."""
  return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
  """The inverse of `split_heads`."""
  return x.transpose(1, 2).flatten(2)


class MLP(nn.Module):
  """Two linear layers with a GELU between."""

  def __init__(self, width: int):
    super().__init__()
    self.up = nn.Linear(width, 4 * width, bias=False)
    self.down = nn.Linear(4 * width, width, bias=False)

  def forward(self, x: Tensor) -> Tensor:
    return self.down(F.gelu(self.up(x), approximate="tanh"))


class EncoderBlock(nn.Module):
  """Pre-norm transformer block that looks both ways."""

  def __init__(self, width: int, heads: int):
    super().__init__()
    self.heads = heads
    self.norm1 = nn.RMSNorm(width, eps=EPSILON)
    self.qkv = nn.Linear(width, 3 * width, bias=False)
    self.out = nn.Linear(width, width, bias=False)
    self.norm2 = nn.RMSNorm(width, eps=EPSILON)
    self.mlp = MLP(width)

  def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
    q, k, v = (split_heads(y, self.heads) for y in self.qkv(self.norm1(x)).chunk(3, dim=-1))
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    x = x + self.out(merge_heads(y))
    return x + self.mlp(self.norm2(x))


class ViTEncoder(nn.Module):
  """Patches through a transformer."""

  def __init__(self, image_size: int, patch: int, width: int, layers: int, heads: int):
    super().__init__()
    self.pixels = SpaceToDepth(patch)
    self.stem = nn.Linear(3 * patch**2, width)
    side = image_size // patch
    self.positions = nn.Parameter(0.02 * torch.randn(1, side, side, width))
    self.blocks = nn.Sequential(*(EncoderBlock(width, heads) for _ in range(layers)))
    self.norm = nn.RMSNorm(width, eps=EPSILON)
    self.features = width

  def forward(self, x: Tensor) -> Tensor:
    x = self.stem(self.pixels(x)) + self.positions
    return self.norm(self.blocks(x.flatten(1, 2))).unflatten(1, self.positions.shape[1:3])


class ViTDecoder(nn.Module):
  """`ViTEncoder` in reverse."""

  def __init__(
    self, code_dim: int, image_size: int, patch: int, width: int, layers: int, heads: int
  ):
    super().__init__()
    self.add_module("in", nn.Linear(code_dim, width))
    side = image_size // patch
    self.positions = nn.Parameter(0.02 * torch.randn(1, side, side, width))
    self.blocks = nn.Sequential(*(EncoderBlock(width, heads) for _ in range(layers)))
    self.norm = nn.RMSNorm(width, eps=EPSILON)
    self.stem = nn.Linear(width, 3 * patch**2)
    self.pixels = DepthToSpace(patch)

  def forward(self, x: Tensor) -> Tensor:
    x = self.get_submodule("in")(x) + self.positions
    x = self.norm(self.blocks(x.flatten(1, 2))).unflatten(1, self.positions.shape[1:3])
    return self.pixels(self.stem(x))


class FSQ(nn.Module):
  """Finite scalar quantisation (arXiv 2309.15505)."""

  half_range: Tensor
  offset: Tensor
  shift: Tensor
  half_width: Tensor

  def __init__(self, levels: tuple[int, ...]):
    super().__init__()
    self.code_dim = len(levels)
    half_range = [(level - 1) * (1 + 1e-3) / 2 for level in levels]
    offset = [0.5 if level % 2 == 0 else 0.0 for level in levels]
    constants = {
      "half_range": half_range,
      "offset": offset,
      "shift": [math.atanh(o / r) for o, r in zip(offset, half_range, strict=True)],
      "half_width": [level // 2 for level in levels],
    }
    for name, values in constants.items():
      self.register_buffer(name, torch.tensor(values, dtype=torch.float32), persistent=False)

  def forward(self, z: Tensor) -> Tensor:
    bounded = torch.tanh(z + self.shift) * self.half_range - self.offset
    integers = bounded + (bounded.round() - bounded).detach()
    return integers / self.half_width


NETWORKS: Mapping[str, tuple[Any, Any]] = {
  "conv": (ConvEncoder, ConvDecoder),
  "vqgan": (VQGANEncoder, VQGANDecoder),
  "vit": (ViTEncoder, ViTDecoder),
}


class Tokenizer(nn.Module):
  """Encoder, FSQ, decoder.

  Args:
    section: `config.model` of configs/vqvae.py.
    image_size: of the images, in pixels.
  """

  def __init__(self, section: Mapping[str, Any], image_size: int):
    super().__init__()
    network = dict(section["network"])
    encoder, decoder = NETWORKS[network.pop("name")]
    if encoder is ViTEncoder:
      network["image_size"] = image_size
    self.quantizer = FSQ(section["quantizer"]["levels"])
    code_dim = self.quantizer.code_dim
    self.encoder = encoder(**network)
    self.to_code = nn.Linear(self.encoder.features, code_dim)
    self.decoder = decoder(code_dim, **network)

  def forward(self, x: Tensor) -> Tensor:
    """Reconstructs images `[B, H, W, 3]` in [-1, 1]."""
    return self.decoder(self.quantizer(self.to_code(self.encoder(x))))


def tokenizer_loss(model: Tokenizer, image: Tensor, l1_weight: float) -> Tensor:
  """Mean squared error and `l1_weight` times the absolute one, of uint8 images `[B, H, W, 3]`."""
  x = image.float().div_(127.5).sub_(1.0)
  y = model(x)
  return F.mse_loss(y, x) + l1_weight * F.l1_loss(y, x)
