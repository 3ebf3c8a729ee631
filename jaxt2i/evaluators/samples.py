"""Pictures for fixed prompts and seeds, to watch a prior learn."""

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jaxt2i.pictures import labelled_grid, save_step
from jaxt2i.pipeline import Pipeline

PER_PROMPT = 2


@dataclasses.dataclass(frozen=True)
class Samples:
  """Writes `<directory>/<step>.png`: two pictures a prompt, seed 0, temperature 0.8."""

  prompts: tuple[str, ...]
  directory: Path

  def __call__(self, pipeline: Pipeline, step: int) -> dict[str, UInt8[np.ndarray, "1 H W 3"]]:
    """Draws and writes; gives the picture, measures nothing."""
    drawings = pipeline(self.prompts, n=PER_PROMPT, seed=0, temperature=0.8)
    grid = labelled_grid(drawings.images, self.prompts)
    metadata = {"prompts": " | ".join(self.prompts), "seed": "0", "source": pipeline.attribution}
    save_step(grid, self.directory, step, metadata)
    return {"pictures": np.asarray(grid)[None]}
