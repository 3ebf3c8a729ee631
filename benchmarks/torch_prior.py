"""The prior of jaxt2i in PyTorch, with a static KV cache: the peer that it is measured against."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.torch_models import EPSILON, MLP, EncoderBlock, merge_heads, split_heads

PAD = 0


class TextEncoder(nn.Module):
  """Transformer over caption token ids; slot 0 is a learnt vector."""

  def __init__(self, vocab_size: int, max_length: int, width: int, layers: int, heads: int):
    super().__init__()
    self.embed = nn.Embedding(vocab_size, width)
    self.positions = nn.Parameter(0.02 * torch.randn(1, max_length, width))
    self.slot = nn.Parameter(0.02 * torch.randn(1, 1, width))
    self.blocks = nn.ModuleList(EncoderBlock(width, heads) for _ in range(layers))
    self.norm = nn.RMSNorm(width, eps=EPSILON)

  def forward(self, text: Tensor) -> tuple[Tensor, Tensor]:
    """Features `[B, 1+T, D]` and what to add to scores `[B, 1, 1, 1+T]`: 0, or −inf at PAD."""
    x = self.embed(text) + self.positions
    x = torch.cat([self.slot.expand(len(text), -1, -1), x], dim=1)
    mask = torch.zeros(x.shape[:2]).masked_fill_(F.pad(text == PAD, (1, 0)), -torch.inf)
    mask = mask[:, None, None, :]
    for block in self.blocks:
      x = block(x, mask)
    return self.norm(x), mask


@dataclass(frozen=True)
class Cache:
  """Keys and values `[L, B, heads, N, D]`, written in place, and those of the caption."""

  keys: Tensor
  values: Tensor
  text: list[tuple[Tensor, Tensor]]  # a layer: `[B, heads, 1+T, D]` each
  text_mask: Tensor  # `[B, 1, 1, 1+T]`
  positions: Tensor  # `[N, D]`


class DecoderBlock(nn.Module):
  """Causal self-attention, cross-attention to the caption, MLP."""

  def __init__(self, width: int, heads: int, dropout: float):
    super().__init__()
    self.heads = heads
    self.norm1 = nn.RMSNorm(width, eps=EPSILON)
    self.qkv = nn.Linear(width, 3 * width, bias=False)
    self.out = nn.Linear(width, width, bias=False)
    self.norm2 = nn.RMSNorm(width, eps=EPSILON)
    self.text_q = nn.Linear(width, width, bias=False)
    self.text_kv = nn.Linear(width, 2 * width, bias=False)
    self.text_out = nn.Linear(width, width, bias=False)
    self.norm3 = nn.RMSNorm(width, eps=EPSILON)
    self.mlp = MLP(width)
    self.drop = nn.Dropout(dropout) if dropout else nn.Identity()

  def forward(self, x: Tensor, features: Tensor, mask: Tensor) -> Tensor:
    """All positions at once."""
    q, k, v = self._qkv(x)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    x = x + self.drop(self.out(merge_heads(y)))
    x = x + self.drop(self._read(x, *self.text_keys_values(features), mask))
    return x + self.drop(self.mlp(self.norm3(x)))

  def step(self, x: Tensor, index: int, layer: int, cache: Cache) -> Tensor:
    """One position, those before it being in the cache, to which this one is added."""
    q, k, v = self._qkv(x)
    cache.keys[layer, :, :, index] = k[:, :, 0]
    cache.values[layer, :, :, index] = v[:, :, 0]
    past_k, past_v = cache.keys[layer, :, :, : index + 1], cache.values[layer, :, :, : index + 1]
    y = F.scaled_dot_product_attention(q, past_k, past_v)
    x = x + self.out(merge_heads(y))
    x = x + self._read(x, *cache.text[layer], cache.text_mask)
    return x + self.mlp(self.norm3(x))

  def text_keys_values(self, features: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values of the caption."""
    k, v = self.text_kv(features).chunk(2, dim=-1)
    return split_heads(k, self.heads), split_heads(v, self.heads)

  def _qkv(self, x: Tensor) -> tuple[Tensor, ...]:
    return tuple(split_heads(y, self.heads) for y in self.qkv(self.norm1(x)).chunk(3, dim=-1))

  def _read(self, x: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    q = split_heads(self.text_q(self.norm2(x)), self.heads)
    return self.text_out(merge_heads(F.scaled_dot_product_attention(q, k, v, attn_mask=mask)))


class Prior(nn.Module):
  """Logits of each image token given those before it and the caption.

  Args:
    max_length: T of the captions.
    others: as those of `jaxt2i.models.prior.Prior`.
  """

  def __init__(
    self,
    *,
    codebook_size: int,
    grid: tuple[int, int],
    vocab_size: int,
    max_length: int,
    width: int,
    layers: int,
    heads: int,
    text_layers: int,
    dropout: float,
  ):
    super().__init__()
    self.bos = codebook_size
    self.num_tokens = grid[0] * grid[1]
    self.text_encoder = TextEncoder(vocab_size, max_length, width, text_layers, heads)
    self.embed = nn.Embedding(codebook_size + 1, width)
    self.rows = nn.Parameter(0.02 * torch.randn(grid[0], 1, width))
    self.columns = nn.Parameter(0.02 * torch.randn(1, grid[1], width))
    self.blocks: Any = nn.ModuleList(DecoderBlock(width, heads, dropout) for _ in range(layers))
    self.norm = nn.RMSNorm(width, eps=EPSILON)
    self.head = nn.Linear(width, codebook_size, bias=False)

  def forward(self, tokens: Tensor, text: Tensor) -> Tensor:
    """Logits `[B, N, K]`, each position seeing only the tokens `[B, N]` before it."""
    features, mask = self.text_encoder(text)
    x = self.embed(F.pad(tokens[:, :-1], (1, 0), value=self.bos)) + self._positions()
    for block in self.blocks:
      x = block(x, features, mask)
    return self.head(self.norm(x))

  def start(self, text: Tensor) -> Cache:
    """A cache for these captions."""
    features, mask = self.text_encoder(text)
    batch, heads = len(text), self.blocks[0].heads
    shape = (len(self.blocks), batch, heads, self.num_tokens, features.shape[-1] // heads)
    read = [block.text_keys_values(features) for block in self.blocks]
    text_keys_values = [(k.contiguous(), v.contiguous()) for k, v in read]
    positions = self._positions()
    return Cache(torch.zeros(shape), torch.zeros(shape), text_keys_values, mask, positions)

  def step(self, token: Tensor, index: int, cache: Cache) -> Tensor:
    """Logits `[B, K]` at position `index`, given the token `[B]` before it."""
    x = (self.embed(token) + cache.positions[index])[:, None]
    for layer, block in enumerate(self.blocks):
      x = block.step(x, index, layer, cache)
    return self.head(self.norm(x))[:, 0]

  @torch.inference_mode()
  def sample(self, text: Tensor, temperature: float) -> Tensor:
    """Draws tokens `[B, N]` for captions `[B, T]`."""
    cache = self.start(text)
    token = torch.full((len(text),), self.bos)
    tokens = torch.empty((len(text), self.num_tokens), dtype=torch.long)
    for index in range(self.num_tokens):
      logits = self.step(token, index, cache)
      token = torch.multinomial(F.softmax(logits / temperature, dim=-1), 1)[:, 0]
      tokens[:, index] = token
    return tokens

  def _positions(self) -> Tensor:
    return (self.rows + self.columns).flatten(0, 1)


def prior_loss(model: Prior, tokens: Tensor, text: Tensor, condition_dropout: float) -> Tensor:
  """−log p(tokens | text), the mean over tokens `[B, N]`, in nats."""
  dropped = torch.rand(len(text), 1) < condition_dropout
  logits = model(tokens, text.masked_fill(dropped, PAD))
  return F.cross_entropy(logits.flatten(0, 1), tokens.flatten())
