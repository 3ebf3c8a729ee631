"""A split as tokens in memory: what a prior learns from, as its tokenizer is frozen."""

import dataclasses

import numpy as np

from jaxt2i.data.augment import flipped
from jaxt2i.data.records import Source
from jaxt2i.data.transforms import CaptionedTokens
from jaxt2i.pipeline import Pipeline

_AT_ONCE = 1024  # images that are encoded


@dataclasses.dataclass(frozen=True)
class Tokenized:
  """A split as (captions, tokens [h, w], those of the flipped image) triples, in memory."""

  captions: tuple[tuple[str, ...], ...]
  tokens: np.ndarray  # [n, h, w] int32
  flipped_tokens: np.ndarray | None = None  # of the flipped images, in the same order

  @classmethod
  def of(
    cls, source: Source, pipeline: Pipeline, at_most: int | None = None, flip: bool = False
  ) -> "Tokenized":
    """Encodes the images of a source, or the first of them, as they are or flipped as well."""
    count = min(len(source), at_most or len(source))
    captions: list[tuple[str, ...]] = []
    tokens, mirrored = [], []
    for start in range(0, count, _AT_ONCE):  # all pixels may not fit into memory
      records = [source[i] for i in range(start, min(start + _AT_ONCE, count))]
      images = np.stack([record.image for record in records])
      captions += (record.captions for record in records)
      tokens.append(pipeline.encode(images))
      if flip:
        mirrored.append(pipeline.encode(flipped(images)))
    return cls(tuple(captions), np.concatenate(tokens), np.concatenate(mirrored) if flip else None)

  def first(self, count: int) -> "Tokenized":
    """The first `count` of them, as they are."""
    return Tokenized(self.captions[:count], self.tokens[:count])

  def __len__(self) -> int:
    return len(self.captions)

  def __getitem__(self, index: int) -> CaptionedTokens:
    flipped_tokens = None if self.flipped_tokens is None else self.flipped_tokens[index]
    return self.captions[index], self.tokens[index], flipped_tokens
