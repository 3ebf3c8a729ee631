"""Images above their reconstructions, to watch a tokenizer learn."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from jaxt2i.models.vqvae import VQVAE
from jaxt2i.pictures import save_step
from jaxt2i.types import Variables


@dataclasses.dataclass(frozen=True)
class Pairs:
  """Writes `<directory>/<step>.png`: originals in the upper row, reconstructions in the lower."""

  model: VQVAE
  images: UInt8[np.ndarray, "N H W 3"]
  attribution: str
  directory: Path

  def __call__(self, variables: Variables, step: int) -> dict[str, UInt8[np.ndarray, "1 H W 3"]]:
    """Reconstructs and writes; gives the picture, measures nothing."""
    run = jax.jit(lambda variables, x: self._reconstruct(variables, x))
    again = np.asarray(run(variables, jnp.asarray(self.images)))
    rows = [np.concatenate(list(images), axis=1) for images in (self.images, again)]
    sheet = np.concatenate(rows)
    save_step(Image.fromarray(sheet), self.directory, step, {"source": self.attribution})
    return {"reconstructions": sheet[None]}

  def _reconstruct(self, variables: Variables, images: jax.Array) -> jax.Array:
    tokens = self.model.apply(variables, images, method="encode")
    return self.model.apply(variables, tokens, method="decode")  # type: ignore[return-value]
