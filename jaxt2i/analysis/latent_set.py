"""The images that a report on a latent space looks at, and what a tokenizer made of them."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8

from jaxt2i.analysis import latents
from jaxt2i.chunks import in_chunks
from jaxt2i.data.records import Record, Source
from jaxt2i.errors import UserError
from jaxt2i.evaluators.drawn import spread
from jaxt2i.evaluators.frechet import Moments
from jaxt2i.models.vqvae import VQVAE, to_float, to_uint8
from jaxt2i.pipeline import IMAGE_CHUNK, Pipeline

LEAST_IMAGES = 10  # fewer say nothing of a distribution
MOST_IMAGES = 1000  # of a split, evenly spread over it
LEAST_OF_A_CLASS = 5
MOST_CLASSES = 30  # of a label; one with more is a name rather than a class


@dataclasses.dataclass(frozen=True, eq=False)
class LatentSet:
  """M images of a split, in tokens and back.

  Attributes:
    split: its name.
    total: images that it has.
    numbers: of the M images in it.
    records: of the images.
    tokens: of each image.
    decoded: what the decoder makes of them.
    codes: the codebook.
    before: moments of the latents before the lookup, over all images and positions.
  """

  split: str
  total: int
  numbers: tuple[int, ...]
  records: tuple[Record, ...]
  tokens: Int32[np.ndarray, "M h w"]
  decoded: UInt8[np.ndarray, "M H W 3"]
  codes: Float32[np.ndarray, "K D"]
  before: Moments

  def __len__(self) -> int:
    return len(self.numbers)

  @property
  def grid(self) -> tuple[int, int]:
    """(h, w)."""
    return self.tokens.shape[1], self.tokens.shape[2]

  @property
  def patch(self) -> int:
    """Side in pixels of what one token stands for."""
    return self.decoded.shape[1] // self.grid[0]

  @property
  def where(self) -> str:
    """What all protocols begin with."""
    h, w = self.grid
    of_all = "" if len(self) == self.total else f", evenly spread over its {self.total:,}"
    return f"split {self.split}: {len(self):,} images{of_all}, {h}×{w} tokens each"

  @cached_property
  def images(self) -> UInt8[np.ndarray, "M H W 3"]:
    """The originals."""
    return np.stack([record.image for record in self.records])

  @cached_property
  def counts(self) -> Int64[np.ndarray, "K"]:
    """How often each code was used."""
    return latents.count(self.tokens, len(self.codes))

  @cached_property
  def counts_by_image(self) -> Int64[np.ndarray, "M K"]:
    """How often each image uses each code."""
    return np.stack([latents.count(tokens, len(self.codes)) for tokens in self.tokens])

  @cached_property
  def used(self) -> Int64[np.ndarray, "U"]:
    """The codes that occur, the commonest first."""
    order = np.argsort(-self.counts, kind="stable")
    return order[: int(np.sum(self.counts > 0))].astype(np.int64)

  @cached_property
  def flat(self) -> Float32[np.ndarray, "M F"]:
    """The latents after the lookup, those of an image as one vector of h·w·D numbers."""
    return self.codes[self.tokens].reshape(len(self), -1)

  @cached_property
  def patches(self) -> UInt8[np.ndarray, "M h w p p 3"]:
    """The originals, cut into what each token stands for."""
    (h, w), p = self.grid, self.patch
    return self.images.reshape(len(self), h, p, w, p, 3).swapaxes(2, 3)


def gather(pipeline: Pipeline, source: Source, split: str, most: int = MOST_IMAGES) -> LatentSet:
  """Sends images of a split to tokens and back.

  Args:
    pipeline: of a tokenizer or a prior.
    source: the split.
    split: its name.
    most: images that are looked at.

  Raises:
    UserError: too few images, or a tokenizer with several tokens a position.
  """
  codes = latents.codes(pipeline)
  if len(source) < LEAST_IMAGES:
    raise UserError(
      f"the split {split!r} has {len(source)} images: must have {LEAST_IMAGES} or more for a "
      "report on its latents."
    )
  numbers = tuple(spread(len(source), most))
  records = tuple(source[i] for i in numbers)
  images = np.stack([record.image for record in records])
  tokens = pipeline.encode(images)
  return LatentSet(
    split=split,
    total=len(source),
    numbers=numbers,
    records=records,
    tokens=tokens,
    decoded=pipeline.decode(tokens),
    codes=codes,
    before=_before(pipeline, images),
  )


def decode_codes(
  pipeline: Pipeline, z_q: Float32[np.ndarray, "B h w D"]
) -> UInt8[np.ndarray, "B H W 3"]:
  """Images of vectors that need not be in the codebook."""
  run = partial(_decode_codes, pipeline.tokenizer, pipeline.tokenizer_variables)
  return in_chunks(run, IMAGE_CHUNK, z_q)


def labels(records: Sequence[Record]) -> dict[str, tuple[str, ...]]:
  """What is known of the images besides their captions, by name; "" where an image lacks it.

  Of the attributes: words, whole numbers and yes or no with at least two classes of
  `LEAST_OF_A_CLASS` images or more (rarer classes count as lacking), and `MOST_CLASSES` at most.
  Nested ones are named as "first.colour".
  """
  rows = [dict(_flattened(record.attributes)) for record in records]
  found = {}
  for name in sorted({name for row in rows for name in row}):
    column = [row.get(name, "") for row in rows]
    counts = Counter(value for value in column if value)
    common = {value for value, count in counts.items() if count >= LEAST_OF_A_CLASS}
    if len(common) >= 2 and len(counts) <= MOST_CLASSES:
      found[name] = tuple(value if value in common else "" for value in column)
  return found


def _flattened(attributes: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
  pairs = []
  for name, value in attributes.items():
    if isinstance(value, Mapping):
      pairs += _flattened(value, f"{prefix}{name}.")
    elif isinstance(value, str | int | bool):
      pairs.append((prefix + name, str(value)))
  return pairs


def _before(pipeline: Pipeline, images: UInt8[np.ndarray, "M H W 3"]) -> Moments:
  run = partial(_encode_only, pipeline.tokenizer, pipeline.tokenizer_variables)
  total: Moments | None = None
  for start in range(0, len(images), IMAGE_CHUNK):
    z = in_chunks(run, IMAGE_CHUNK, images[start : start + IMAGE_CHUNK])
    some = Moments.of(z.reshape(-1, z.shape[-1]))
    total = some if total is None else total + some
  assert total is not None
  return total


@partial(jax.jit, static_argnums=0)
def _encode_only(model: VQVAE, variables: Any, images: jax.Array) -> Any:
  to_code = lambda model, images: model.to_code(model.encoder(to_float(images)))
  return model.apply(variables, images, method=to_code)


@partial(jax.jit, static_argnums=0)
def _decode_codes(model: VQVAE, variables: Any, z_q: jax.Array) -> Any:
  return model.apply(variables, z_q, method=lambda model, z_q: to_uint8(model.decoder(z_q)))
