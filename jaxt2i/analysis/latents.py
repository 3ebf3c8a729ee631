"""The discrete latent space of a tokenizer as numbers: which codes, where, and what they draw."""

import dataclasses
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Float64, Int, Int32, Int64, UInt8

from jaxt2i import metrics
from jaxt2i.data.records import Source
from jaxt2i.errors import UserError
from jaxt2i.pipeline import IMAGE_CHUNK, Pipeline


@dataclasses.dataclass(frozen=True)
class Collected:
  """What a tokenizer made of a whole split of M images."""

  tokens: np.ndarray  # [M, h, w] int32
  psnr: np.ndarray  # [M] float32, dB, of the reconstructions
  counts: np.ndarray  # [K] int64, how often each code was used
  patches: np.ndarray  # [K, p, p, 3] uint8, mean reconstruction where a code was used; else black
  mean_image: np.ndarray  # [H, W, 3] uint8, of the originals


def collect(pipeline: Pipeline, source: Source) -> Collected:
  """Sends a split to tokens and back. Memory grows with tokens, not with images.

  Args:
    pipeline: of a tokenizer or a prior.
    source: the split, one image or more of the size that the tokenizer was trained on.
  """
  size = codebook_size(pipeline)
  tokens, psnr, patch_sums, image_sum = [], [], np.zeros(()), np.zeros(())
  for start in range(0, len(source), IMAGE_CHUNK):
    indices = range(start, min(start + IMAGE_CHUNK, len(source)))
    images = np.stack([source[i].image for i in indices])
    tokens.append(pipeline.encode(images))
    decoded = pipeline.decode(tokens[-1])
    psnr.append(np.asarray(metrics.psnr(_unit(images), _unit(decoded))))
    patch_sums = patch_sums + _patch_sums(tokens[-1], decoded, size)
    image_sum = image_sum + images.sum(axis=0)
  counts = count(np.concatenate(tokens), size)
  patches = patch_sums / np.maximum(counts, 1)[:, None, None, None]
  return Collected(
    tokens=np.concatenate(tokens),
    psnr=np.concatenate(psnr),
    counts=counts,
    patches=np.round(patches).astype(np.uint8),
    mean_image=np.round(image_sum / len(source)).astype(np.uint8),
  )


def codebook_size(pipeline: Pipeline) -> int:
  """K, the number of codes.

  Raises:
    UserError: several tokens stand for a position, so a code alone has no picture.
  """
  quantizer = pipeline.tokenizer.quantizer
  if quantizer.tokens_per_position > 1:
    raise UserError(
      f"this tokenizer has {quantizer.tokens_per_position} tokens a position, whose codes are "
      "added: the codebook can only be looked at of tokenizers with one, such as "
      "configs/vqvae.py:ema."
    )
  return int(quantizer.codebook_size)


def count(tokens: Int[np.ndarray, "..."], codebook_size: int) -> Int64[np.ndarray, "K"]:
  """How often each code occurs."""
  return np.bincount(tokens.ravel(), minlength=codebook_size).astype(np.int64)


def entropy_by_position(tokens: Int[np.ndarray, "M h w"]) -> Float64[np.ndarray, "h w"]:
  """Entropy in bits of the codes that M images have at each position of the grid.

  0 where all images have the same code. As it is estimated from M images it cannot exceed
  log2(M), and falls short of the truth while M is not far larger than the number of codes.
  """
  bits = [np.log2(metrics.perplexity(counts)) for counts in _counts_by_position(tokens)]
  return np.reshape(np.asarray(bits, np.float64), tokens.shape[1:])


def distinct_by_position(tokens: Int[np.ndarray, "M h w"]) -> Int64[np.ndarray, "h w"]:
  """How many different codes M images have at each position of the grid, 1 to M."""
  numbers = [len(counts) for counts in _counts_by_position(tokens)]
  return np.reshape(np.asarray(numbers, np.int64), tokens.shape[1:])


def codes(pipeline: Pipeline) -> Float32[np.ndarray, "K D"]:
  """The codebook, whichever quantizer keeps or computes it."""
  found: Any = pipeline.tokenizer.apply(
    pipeline.tokenizer_variables,
    jnp.arange(codebook_size(pipeline)),
    method=lambda model, tokens: model.quantizer.lookup(tokens),
  )
  return np.asarray(found, np.float32)


def atlas(pipeline: Pipeline, grid: tuple[int, int]) -> UInt8[np.ndarray, "K p p 3"]:
  """Each code decoded alone: a grid that holds nothing else, and of its picture the middle token.

  Args:
    pipeline: of a tokenizer or a prior.
    grid: (h, w) of the tokens of an image.
  """
  h, w = grid
  every = np.arange(codebook_size(pipeline), dtype=np.int32)
  tokens = np.broadcast_to(every[:, None, None], (len(every), h, w))
  images = pipeline.decode(np.ascontiguousarray(tokens))
  p = images.shape[1] // h
  top, left = h // 2 * p, w // 2 * p
  return images[:, top : top + p, left : left + p]


def project(
  codes: Float32[np.ndarray, "K D"], counts: Int64[np.ndarray, "K"]
) -> tuple[Float64[np.ndarray, "K 2"], Float64[np.ndarray, "2"]]:
  """Principal components: the plane in which the codes, weighted by their use, spread most.

  Args:
    codes: D ≥ 2.
    counts: their weights, not all 0.

  Returns:
    Coordinates of every code, used or not, and the shares of the variance along both axes.
  """
  weights = counts / counts.sum()
  x = codes.astype(np.float64)
  x = x - weights @ x
  variances, axes = np.linalg.eigh((x * weights[:, None]).T @ x)  # ascending
  axes = axes[:, ::-1][:, :2]
  # An axis and its opposite serve alike: choose the one whose largest part is positive.
  largest = np.abs(axes).argmax(axis=0)
  axes = axes * np.sign(axes[largest, np.arange(2)])
  return x @ axes, variances[::-1][:2] / variances.sum()


def unroll(points: Float64[np.ndarray, "K 2"]) -> Int32[np.ndarray, "rows columns"]:
  """Points of a plane as a table in which neighbours stay near: indices, −1 in empty cells.

  Sorted along the first axis and cut into columns, each of which is sorted along the second,
  largest on top. About twice as wide as high.
  """
  rows = math.ceil(math.sqrt(len(points) / 2))
  columns = math.ceil(len(points) / rows)
  table = np.full((rows, columns), -1, np.int32)
  order = np.argsort(points[:, 0], kind="stable")
  for column in range(columns):
    members = order[column * rows : (column + 1) * rows]
    table[: len(members), column] = members[np.argsort(-points[members, 1], kind="stable")]
  return table


def worst_to_best(values: Float32[np.ndarray, "M"], n: int) -> list[int]:
  """Indices of the smallest and the largest value and of quantiles between: n, or M if fewer."""
  order = np.argsort(values, kind="stable")
  places = np.linspace(0, len(values) - 1, min(n, len(values))).round().astype(int)
  return [int(i) for i in order[places]]


def _counts_by_position(tokens: Int[np.ndarray, "M h w"]) -> list[Int64[np.ndarray, "_"]]:
  """For each position, row by row, how often each code that occurs there does."""
  return [np.unique(c, return_counts=True)[1] for c in tokens.reshape(len(tokens), -1).T]


def _patch_sums(
  tokens: Int32[np.ndarray, "B h w"], images: UInt8[np.ndarray, "B H W 3"], codebook_size: int
) -> Float64[np.ndarray, "K p p 3"]:
  """Sum over all places where a code stands of the p×p pixels there."""
  b, h, w = tokens.shape
  p = images.shape[1] // h
  patches = images.reshape(b, h, p, w, p, 3).swapaxes(2, 3).reshape(-1, p, p, 3)
  sums = np.zeros((codebook_size, p, p, 3))
  np.add.at(sums, tokens.ravel(), patches.astype(np.float64))
  return sums


def _unit(images: UInt8[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
  return images.astype(np.float32) / np.float32(255)
