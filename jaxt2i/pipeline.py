"""The road: image → tokens → image, and caption → prior → tokens → image.

    image [B,H,W,3] ──encode──▶ tokens [B,h,w] ──decode──▶ image
                                    ▲
    caption ──text tokenizer──▶ prior p(tokens | caption)

All that generates goes through here: commands, notebooks, evaluators.
"""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int32, Integer, UInt8

from jaxt2i import checkpoints, modules
from jaxt2i import config as config_lib
from jaxt2i.data.text import TextTokenizer
from jaxt2i.errors import UsageError, UserError
from jaxt2i.masked_sampling import sample_masked
from jaxt2i.models.prior import MaskedPrior, Prior
from jaxt2i.models.vqvae import VQVAE
from jaxt2i.sampling import SamplingOptions, image_key, sample_tokens
from jaxt2i.state import of_model
from jaxt2i.types import Variables

logger = logging.getLogger(__name__)

# Work is done in pieces of these fixed sizes, the last one padded: one program is compiled
# whatever the number of images, and an image comes out the same, bit for bit, whatever its company.
DRAW_CHUNK = 8
IMAGE_CHUNK = 32


@dataclasses.dataclass(frozen=True)
class Drawings:
  """Pictures drawn for prompts."""

  prompts: tuple[str, ...]  # P of them
  seed: int
  options: SamplingOptions
  tokens: np.ndarray  # [P, n, h, w] int32
  images: np.ndarray  # [P, n, H, W, 3] uint8


@dataclasses.dataclass(frozen=True)
class Pipeline:
  """A tokenizer and, where one was trained, a prior over its tokens, with their variables."""

  tokenizer: VQVAE
  tokenizer_variables: Variables
  attribution: str  # of the data that it learnt from; "" if none is asked for
  prior: Prior | None = None
  prior_variables: Variables | None = None
  text_tokenizer: TextTokenizer | None = None

  def encode(self, images: UInt8[np.ndarray, "B H W 3"]) -> Int32[np.ndarray, "B h w"]:
    """Tokens of images; UsageError unless they are such an array and divide into tokens."""
    side = self.tokenizer.encoder.downsample
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
      raise UsageError(
        f"images are {images.dtype} {list(images.shape)}: must be uint8 [B, H, W, 3]."
      )
    if images.shape[1] % side or images.shape[2] % side:
      raise UsageError(f"images are {list(images.shape)}: H and W must be multiples of {side}.")
    run = partial(_encode, self.tokenizer, self.tokenizer_variables)
    return _in_chunks(run, IMAGE_CHUNK, images)

  def decode(self, tokens: Integer[np.ndarray, "B h w"]) -> UInt8[np.ndarray, "B H W 3"]:
    """Images of tokens; UsageError unless they are such an array of codes that there are."""
    size = self.tokenizer.quantizer.codebook_size
    if not np.issubdtype(tokens.dtype, np.integer) or tokens.ndim != 3:
      raise UsageError(f"tokens are {tokens.dtype} {list(tokens.shape)}: must be int32 [B, h, w].")
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < size:
      raise UsageError(
        f"tokens are from {tokens.min()} to {tokens.max()}: must be from 0 to {size - 1}."
      )
    run = partial(_decode, self.tokenizer, self.tokenizer_variables)
    return _in_chunks(run, IMAGE_CHUNK, tokens)

  def __call__(
    self, prompts: Sequence[str], *, n: int = 1, seed: int = 0, **options: float | int
  ) -> Drawings:
    """Draws n pictures for each prompt.

    Args:
      prompts: captions; "" draws without one.
      n: pictures a prompt.
      seed: picture i of a prompt depends on (weights, prompt, seed, i, options) and nothing else.
      **options: fields of `SamplingOptions`.

    Raises:
      UserError: this pipeline has no prior. UsageError: an option that has no meaning.
    """
    if self.prior is None or self.text_tokenizer is None:
      raise UserError("This run is a tokenizer without a prior: load the workdir of a prior.")
    if isinstance(prompts, str):
      raise UsageError(f"prompts is the string {prompts!r}: must be a list, [{prompts!r}].")
    if n < 1:
      raise UsageError(f"n is {n}: must be 1 or more.")
    if not 0 <= seed < 2**32:
      raise UsageError(f"seed is {seed}: must be from 0 to {2**32 - 1}.")
    sampling = SamplingOptions(**options)  # type: ignore[arg-type]
    text = np.repeat(self.text_tokenizer(prompts), n, axis=0)
    indices = np.tile(np.arange(n, dtype=np.int32), len(prompts))
    run = partial(_draw, self.prior, self.prior_variables, sampling, np.uint32(seed))
    tokens = _in_chunks(run, DRAW_CHUNK, text, indices)
    images = self.decode(tokens)
    shape = (len(prompts), n)
    return Drawings(
      prompts=tuple(prompts),
      seed=seed,
      options=sampling,
      tokens=tokens.reshape(*shape, *tokens.shape[1:]),
      images=images.reshape(*shape, *images.shape[1:]),
    )


def load(workdir: str | Path) -> Pipeline:
  """The pipeline of a training run. Reads data; executes nothing that it finds there.

  Raises:
    UserError: there is no run, or no whole checkpoint.
  """
  workdir = Path(workdir)
  config = config_lib.load(workdir)
  try:
    return _assemble(workdir, config)
  except (KeyError, TypeError) as error:
    raise UserError(
      f"{workdir / config_lib.CONFIG_FILE} is damaged (at {error}): restore it from a copy."
    ) from error


def _assemble(workdir: Path, config: Mapping[str, Any]) -> Pipeline:
  image_size = config["data"]["image_size"]
  _, arrays = checkpoints.read_arrays(workdir, ("ema_params", "collections"))
  arrays = jax.tree.map(jnp.asarray, arrays)
  if config["task"] not in ("tokenizer", "prior"):
    raise KeyError("task")
  if config["task"] == "tokenizer":
    model = modules.tokenizer(config["model"], image_size)
    variables = {"params": arrays["ema_params"], **of_model(arrays["collections"])}
    return Pipeline(model, variables, config["attribution"])
  model = modules.tokenizer(config["tokenizer_model"], image_size)
  text_tokenizer = TextTokenizer.load(workdir / TEXT_TOKENIZER_FILE)
  return Pipeline(
    tokenizer=model,
    tokenizer_variables=arrays["collections"]["frozen"],
    attribution=config["attribution"],
    prior=modules.prior(config["model"], model, image_size, text_tokenizer.vocab_size),
    prior_variables={"params": arrays["ema_params"]},
    text_tokenizer=text_tokenizer,
  )


TEXT_TOKENIZER_FILE = "text_tokenizer.json"


@partial(jax.jit, static_argnums=0)
def _encode(model: VQVAE, variables: Any, images: jax.Array) -> Any:
  return model.apply(variables, images, method="encode")


@partial(jax.jit, static_argnums=0)
def _decode(model: VQVAE, variables: Any, tokens: jax.Array) -> Any:
  return model.apply(variables, tokens, method="decode")


@partial(jax.jit, static_argnums=(0, 2))
def _draw(
  model: Prior,
  variables: Any,
  options: SamplingOptions,
  seed: jax.Array,
  text: jax.Array,
  indices: jax.Array,
) -> jax.Array:
  keys = jax.vmap(image_key, (None, 0))(seed, indices)
  sample: Any = sample_masked if isinstance(model, MaskedPrior) else sample_tokens
  return sample(model, variables, text, keys, options)


def _in_chunks(run: Callable[..., jax.Array], size: int, *arrays: np.ndarray) -> np.ndarray:
  """Applies `run` to pieces of `size` rows, the last filled up with zeros."""
  pieces = []
  for start in range(0, max(1, len(arrays[0])), size):
    piece = [array[start : start + size] for array in arrays]
    rows = len(piece[0])
    padding = [(0, size - rows)]
    padded = [np.pad(p, padding + [(0, 0)] * (p.ndim - 1)) for p in piece]
    pieces.append(np.asarray(run(*padded))[:rows])
  return np.concatenate(pieces)
