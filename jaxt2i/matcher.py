"""A trained dual encoder: how well pictures fit captions."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from jaxt2i import config as config_lib
from jaxt2i import modules, text, weights
from jaxt2i.chunks import in_chunks
from jaxt2i.errors import UserError
from jaxt2i.models.dual_encoder import DualEncoder
from jaxt2i.pipeline import Drawings
from jaxt2i.text import TextProcessor
from jaxt2i.types import Variables

CHUNK = 32


@dataclasses.dataclass(frozen=True)
class Matcher:
  """A dual encoder with its variables."""

  model: DualEncoder
  variables: Variables
  text_processor: TextProcessor

  def images(self, images: UInt8[np.ndarray, "B H W 3"]) -> Float[np.ndarray, "B D"]:
    """Images as points of length 1."""
    return in_chunks(partial(_images, self.model, self.variables), CHUNK, images)

  def texts(self, captions: Sequence[str]) -> Float[np.ndarray, "B D"]:
    """Captions as points of length 1."""
    run = partial(_texts, self.model, self.variables)
    return in_chunks(run, CHUNK, self.text_processor(captions))

  def fit(
    self, images: UInt8[np.ndarray, "P n H W 3"], captions: Sequence[str]
  ) -> Float[np.ndarray, "P n"]:
    """How well each of n pictures fits its caption: the cosine, from -1 to 1."""
    p, n = images.shape[:2]
    points = self.images(images.reshape(p * n, *images.shape[2:])).reshape(p, n, -1)
    return np.einsum("pnd,pd->pn", points, self.texts(captions))

  def best(self, drawings: Drawings, n: int) -> Drawings:
    """Of the pictures of each prompt the n that fit it best, the best one first."""
    fit = self.fit(drawings.images, drawings.prompts)
    return drawings.kept(np.argsort(-fit, axis=1, kind="stable")[:, :n])

  @cached_property
  def name(self) -> str:
    """Which dual encoder this is, to be named beside what it has judged."""
    digest = hashlib.sha256(self.text_processor.fingerprint.encode())
    for leaf in jax.tree.leaves(self.variables):
      digest.update(np.asarray(leaf).tobytes())
    return f"dual encoder, sha256 of its weights {digest.hexdigest()[:12]}"


def load(workdir: str | Path) -> Matcher:
  """The dual encoder of a training run. Reads data; executes nothing that it finds there.

  Raises:
    UserError: there is no run of a dual encoder, or no whole checkpoint.
  """
  workdir = Path(workdir)
  config = config_lib.load(workdir)
  with config_lib.whole(workdir):
    return _assemble(workdir, config)


def _assemble(workdir: Path, config: Mapping[str, Any]) -> Matcher:
  if config["task"] != "dual_encoder":
    raise UserError(
      f"{workdir} is a {config['task']}: must be the workdir of a dual encoder, trained with "
      "configs/dual_encoder.py."
    )
  text_processor = text.load(workdir / text.TEXT_FILE)
  params, collections = weights.read(workdir)
  model = modules.dual_encoder(
    config["model"], config["data"]["image_size"], text_processor.vocab_size
  )
  variables = jax.tree.map(jnp.asarray, {"params": params, **collections})
  return Matcher(model, variables, text_processor)


@partial(jax.jit, static_argnums=0)
def _images(model: DualEncoder, variables: Any, images: jax.Array) -> Any:
  return model.apply(variables, images, method="images")


@partial(jax.jit, static_argnums=0)
def _texts(model: DualEncoder, variables: Any, captions: jax.Array) -> Any:
  return model.apply(variables, captions, method="texts")
