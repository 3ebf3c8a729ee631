"""What a model gets of an example: functions and dataclasses, which can be sent to workers."""

import dataclasses

import numpy as np

from jaxt2i.data.augment import Augmentation, flipped
from jaxt2i.data.mirror import mirrored
from jaxt2i.data.records import Record
from jaxt2i.data.text import TextTokenizer

# Captions of an image, its tokens [h, w], and those of the flipped image where flips are made.
CaptionedTokens = tuple[tuple[str, ...], np.ndarray, np.ndarray | None]


def image_row(record: Record, rng: np.random.Generator) -> dict[str, np.ndarray]:
  """What a tokenizer is evaluated on: the image as it is."""
  return {"image": record.image}


@dataclasses.dataclass(frozen=True)
class AugmentedImage:
  """What a tokenizer learns from: the image, changed at random."""

  augmentation: Augmentation

  def __call__(self, record: Record, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """uint8 [H, W, 3]."""
    return {"image": self.augmentation(record.image, rng)}


@dataclasses.dataclass(frozen=True)
class CaptionedImage:
  """What a dual encoder learns from: the image, changed at random, with one of its captions.

  Of a flipped image the caption is mirrored; where that cannot be told for sure it isn't flipped.
  """

  text_tokenizer: TextTokenizer
  augmentation: Augmentation

  def __call__(self, record: Record, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """image uint8 [H, W, 3] and text int32 [T]."""
    image, caption = record.image, record.captions[int(rng.integers(len(record.captions)))]
    if self.augmentation.flip and rng.random() < 0.5:
      mirror = mirrored(caption)
      if mirror is not None:
        caption, image = mirror, flipped(image)
    image = dataclasses.replace(self.augmentation, flip=False)(image, rng)
    return {"image": image, "text": self.text_tokenizer([caption])[0]}


@dataclasses.dataclass(frozen=True)
class FirstCaption:
  """What a prior is evaluated on: tokens with their first caption."""

  text_tokenizer: TextTokenizer

  def __call__(self, example: CaptionedTokens, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """tokens int32 [h, w] and text int32 [T]."""
    return {"tokens": example[1], "text": self.text_tokenizer(example[0][:1])[0]}


@dataclasses.dataclass(frozen=True)
class RandomCaption:
  """What a prior learns from: tokens with one of their captions, drawn anew each time.

  Where there are tokens of the flipped image, every other row has those and the mirrored caption,
  unless the caption has none for sure.
  """

  text_tokenizer: TextTokenizer

  def __call__(self, example: CaptionedTokens, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """tokens int32 [h, w] and text int32 [T]."""
    captions, tokens, flipped = example
    caption = captions[int(rng.integers(len(captions)))]
    if flipped is not None and rng.random() < 0.5:
      mirror = mirrored(caption)
      if mirror is not None:
        caption, tokens = mirror, flipped
    return {"tokens": tokens, "text": self.text_tokenizer([caption])[0]}
