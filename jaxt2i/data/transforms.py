"""What a model gets of an example: functions and dataclasses, which can be sent to workers."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from jaxt2i.data.augment import Augmentation, flipped
from jaxt2i.data.mirror import mirrored
from jaxt2i.data.records import Record

# Captions of an image, tokens [V, h, w] of its views, the first being the image as it is, and those
# of the flipped views where flips are made.
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

  text: Callable[[Sequence[str]], np.ndarray]  # see `jaxt2i.text`
  augmentation: Augmentation

  def __call__(self, record: Record, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """image uint8 [H, W, 3] and text of one caption."""
    image, caption = record.image, record.captions[int(rng.integers(len(record.captions)))]
    if self.augmentation.flip and rng.random() < 0.5:
      mirror = mirrored(caption)
      if mirror is not None:
        caption, image = mirror, flipped(image)
    image = dataclasses.replace(self.augmentation, flip=False)(image, rng)
    return {"image": image, "text": self.text([caption])[0]}


@dataclasses.dataclass(frozen=True)
class FirstCaption:
  """What a prior is evaluated on: tokens with their first caption."""

  text: Callable[[Sequence[str]], np.ndarray]  # see `jaxt2i.text`

  def __call__(self, example: CaptionedTokens, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """tokens int32 [h, w] and text of one caption."""
    return {"tokens": example[1][0], "text": self.text(example[0][:1])[0]}


@dataclasses.dataclass(frozen=True)
class RandomCaption:
  """What a prior learns from: tokens of a view with a caption, both drawn anew each time.

  Where there are tokens of flipped views, every other row has those and the mirrored caption,
  unless the caption has none for sure.
  """

  text: Callable[[Sequence[str]], np.ndarray]  # see `jaxt2i.text`

  def __call__(self, example: CaptionedTokens, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """tokens int32 [h, w] and text of one caption."""
    captions, views, flipped = example
    caption = captions[int(rng.integers(len(captions)))]
    if flipped is not None and rng.random() < 0.5:
      mirror = mirrored(caption)
      if mirror is not None:
        caption, views = mirror, flipped
    number = int(rng.integers(len(views))) if len(views) > 1 else 0
    return {"tokens": views[number], "text": self.text([caption])[0]}
