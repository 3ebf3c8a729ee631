"""A split as tokens in memory: what a prior learns from, as its tokenizer is frozen."""

import dataclasses

import numpy as np

from jaxt2i.data.augment import Augmentation, flipped
from jaxt2i.data.records import Source
from jaxt2i.data.transforms import CaptionedTokens
from jaxt2i.errors import UsageError
from jaxt2i.pipeline import Pipeline

_AT_ONCE = 1024  # images that are encoded
MOST_VIEWS = 64


@dataclasses.dataclass(frozen=True)
class Views:
  """Which changes of each image are turned into tokens, beside the image as it is.

  A prior's augmentation is made once, before training, as in LlamaGen (arXiv 2406.06525, §3.1).

  Attributes:
    augmentation: how images are changed. A flip is no view: every view is kept in both ways.
    count: views of an image, the first being the image as it is; 1 to MOST_VIEWS.
    seed: what the changes depend on, with the image's place in the split and the view's number.

  Raises:
    UsageError: more than one view and nothing that changes, or the other way round.
  """

  augmentation: Augmentation
  count: int
  seed: int

  def __post_init__(self) -> None:
    crop, jitter = self.augmentation.crop, self.augmentation.jitter
    if not 1 <= self.count <= MOST_VIEWS:
      raise UsageError(f"config.views is {self.count}: must be from 1 to {MOST_VIEWS}.")
    if (self.count > 1) != bool(crop or jitter):
      raise UsageError(
        f"config.augment has crop {crop} and jitter {jitter}, and config.views is {self.count}: a "
        "prior wants 2 views or more (such as 10) with either of them, and 1 with neither."
      )

  def of(self, image: np.ndarray, index: int) -> list[np.ndarray]:
    """All views of image `index` of a split, uint8 [H, W, 3] each."""
    change = dataclasses.replace(self.augmentation, flip=False)
    changed = (
      change(image, np.random.default_rng((self.seed, index, number)))
      for number in range(1, self.count)
    )
    return [image, *changed]


_AS_IS = Views(Augmentation(), count=1, seed=0)


@dataclasses.dataclass(frozen=True)
class Tokenized:
  """A split as (captions, tokens of V views, those of the flipped views) triples, in memory."""

  captions: tuple[tuple[str, ...], ...]
  tokens: np.ndarray  # [n, V, h, w] int32
  flipped_tokens: np.ndarray | None = None  # of the flipped views, in the same order

  @classmethod
  def of(
    cls,
    source: Source,
    pipeline: Pipeline,
    at_most: int | None = None,
    views: Views = _AS_IS,
  ) -> "Tokenized":
    """Encodes the views of a source's images, or of the first of them; flipped as well if asked."""
    count = min(len(source), at_most or len(source))
    captions: list[tuple[str, ...]] = []
    tokens, mirrored = [], []
    at_once = max(_AT_ONCE // views.count, 1)  # all pixels may not fit into memory
    for start in range(0, count, at_once):
      numbers = range(start, min(start + at_once, count))
      records = [source[i] for i in numbers]
      seen = [views.of(record.image, i) for i, record in zip(numbers, records, strict=True)]
      images = np.stack([image for each in seen for image in each])
      captions += (record.captions for record in records)
      tokens.append(pipeline.encode(images))
      if views.augmentation.flip:
        mirrored.append(pipeline.encode(flipped(images)))
    grouped = lambda parts: _grouped(np.concatenate(parts), views.count)
    return cls(tuple(captions), grouped(tokens), grouped(mirrored) if mirrored else None)

  def first(self, count: int) -> "Tokenized":
    """The first `count` of them, as they are."""
    return Tokenized(self.captions[:count], self.tokens[:count, :1])

  def __len__(self) -> int:
    return len(self.captions)

  def __getitem__(self, index: int) -> CaptionedTokens:
    flipped_tokens = None if self.flipped_tokens is None else self.flipped_tokens[index]
    return self.captions[index], self.tokens[index], flipped_tokens


def _grouped(tokens: np.ndarray, views: int) -> np.ndarray:
  return tokens.reshape(-1, views, *tokens.shape[1:])
