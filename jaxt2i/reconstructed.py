"""Images and what a tokenizer gives back of them, as one source."""

import dataclasses

import numpy as np
from jaxtyping import UInt8

from jaxt2i.data.records import Record, Source
from jaxt2i.pipeline import Pipeline

_AT_ONCE = 1024  # images that are read; all pixels of large ones may not fit into memory twice


@dataclasses.dataclass(frozen=True)
class WithReconstructions:
  """A source of n images, followed by their reconstructions, n again, which are kept in memory."""

  source: Source
  images: UInt8[np.ndarray, "n H W 3"]

  @classmethod
  def of(cls, source: Source, pipeline: Pipeline) -> "WithReconstructions":
    """Sends all images of a source through a tokenizer."""
    parts = []
    for start in range(0, len(source), _AT_ONCE):
      numbers = range(start, min(start + _AT_ONCE, len(source)))
      parts.append(pipeline.decode(pipeline.encode(np.stack([source[i].image for i in numbers]))))
    return cls(source, np.concatenate(parts))

  def __len__(self) -> int:
    return 2 * len(self.source)

  def __getitem__(self, index: int) -> Record:
    record = self.source[index % len(self.source)]
    if index < len(self.source):
      return record
    return dataclasses.replace(record, image=self.images[index - len(self.source)])
