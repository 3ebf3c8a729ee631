"""Latent sets made by hand, and pipelines whose decoders are known."""

from typing import Any

import numpy as np

from jaxt2i.analysis.latent_set import LatentSet
from jaxt2i.data.records import Record
from jaxt2i.evaluators.frechet import Moments
from jaxt2i.pipeline import Pipeline

PATCH = 4


class Tiles(Pipeline):
  """Decodes each token to a patch of its own colour: linear, and nothing beside its patch."""

  colours: np.ndarray  # [K, 3] uint8

  def decode(self, tokens: np.ndarray) -> np.ndarray:
    return paint(self.colours, tokens)


def tiles(colours: np.ndarray) -> Tiles:
  """Such a pipeline, without a network."""
  made: Any = object.__new__(Tiles)
  object.__setattr__(made, "colours", colours.astype(np.uint8))
  object.__setattr__(made, "prior", None)
  return made


def paint(colours: np.ndarray, tokens: np.ndarray) -> np.ndarray:
  """Images of patches in the colours of their tokens."""
  return colours[tokens].repeat(PATCH, axis=1).repeat(PATCH, axis=2).astype(np.uint8)


def latent_set(
  tokens: np.ndarray,
  codes: np.ndarray,
  *,
  captions: list[str] | None = None,
  attributes: list[dict[str, Any]] | None = None,
  colours: np.ndarray | None = None,
) -> LatentSet:
  """A set whose images are their tokens painted."""
  m = len(tokens)
  colours = np.zeros((len(codes), 3)) if colours is None else colours
  images = paint(colours, tokens)
  texts = captions or [""] * m
  known = attributes or [{}] * m
  rows = zip(images, texts, known, strict=True)
  return LatentSet(
    split="val",
    total=m,
    numbers=tuple(range(m)),
    records=tuple(Record(str(i), x, (text,), a) for i, (x, text, a) in enumerate(rows)),
    tokens=tokens.astype(np.int32),
    decoded=images,
    codes=codes.astype(np.float32),
    before=Moments.of(codes[tokens].reshape(-1, codes.shape[1])),
  )
