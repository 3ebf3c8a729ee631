"""The road: image → tokens → image, and caption → prior → tokens → image.

    image [B,H,W,3] ──encode──▶ tokens [B,h,w] ──decode──▶ image
                                    ▲
    caption ──text tokenizer──▶ prior p(tokens | caption)

All that generates goes through here: commands, notebooks, evaluators.
"""

import dataclasses
import itertools
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, Int32, Integer, UInt8

from jaxt2i import config as config_lib
from jaxt2i import modules, weights
from jaxt2i.chunks import in_chunks
from jaxt2i.errors import UsageError, UserError
from jaxt2i.models.prior import Prior
from jaxt2i.models.vqvae import VQVAE
from jaxt2i.sampling import Conditions, SamplingOptions, image_key, sample
from jaxt2i.state import of_model
from jaxt2i.text import TEXT_FILE, TextProcessor
from jaxt2i.text import load as load_text
from jaxt2i.types import FROZEN, Variables

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
  negative_prompt: str
  options: SamplingOptions
  tokens: np.ndarray  # [P, n, h, w] int32
  images: np.ndarray  # [P, n, H, W, 3] uint8
  indices: np.ndarray  # [P, n] int: the number of a picture among those of its prompt and seed

  def kept(self, which: Int[np.ndarray, "P k"]) -> "Drawings":
    """Of each prompt the pictures `which`, in this order."""
    take = lambda x: np.take_along_axis(x, which.reshape(*which.shape, *[1] * (x.ndim - 2)), axis=1)
    return dataclasses.replace(
      self, tokens=take(self.tokens), images=take(self.images), indices=take(self.indices)
    )


@dataclasses.dataclass(frozen=True)
class Pipeline:
  """A tokenizer and, where one was trained, a prior over its tokens, with their variables."""

  tokenizer: VQVAE
  tokenizer_variables: Variables
  attribution: str  # of the data that it learnt from; "" if none is asked for
  prior: Prior | None = None
  prior_variables: Variables | None = None
  text_processor: TextProcessor | None = None

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
    return in_chunks(run, IMAGE_CHUNK, images)

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
    return in_chunks(run, IMAGE_CHUNK, tokens)

  def __call__(
    self,
    prompts: Sequence[str],
    *,
    n: int = 1,
    seed: int = 0,
    negative_prompt: str = "",
    indices: Integer[np.ndarray, "P n"] | None = None,
    given: Integer[np.ndarray, "P h w"] | None = None,
    **options: Any,
  ) -> Drawings:
    """Draws n pictures for each prompt.

    Args:
      prompts: captions; "" draws without one.
      n: pictures a prompt.
      seed: picture i of a prompt depends on (weights, prompt, seed, i, options) and nothing else.
      negative_prompt: what guidance leads away from, instead of from no caption.
      indices: which of the pictures of each prompt; the first n otherwise.
      given: for each prompt tokens that stay as they are; −1 where one is to be drawn.
      **options: fields of `SamplingOptions`.

    Raises:
      UserError: this pipeline has no prior. UsageError: an option that has no meaning.
    """
    if isinstance(prompts, str):
      raise UsageError(f"prompts is the string {prompts!r}: must be a list, [{prompts!r}].")
    mix = np.ones((1, len(prompts)), np.float32)
    return self._draw([list(prompts)], mix, n, seed, negative_prompt, indices, given, options)

  def between(
    self, first: str, second: str, *, count: int, seed: int = 0, **options: Any
  ) -> Drawings:
    """Draws `count` pictures on the way from one prompt to another, all with the same key.

    Their logits are mixed: the first picture is of the first prompt alone, the last one of the
    second. Each stands under the prompt that it is nearer to. Other arguments and errors: as of
    drawing.
    """
    if not isinstance(count, Integral) or count < 2:
      raise UsageError(f"count is {count}: must be a whole number of 2 or more.")
    share = np.linspace(0, 1, count, dtype=np.float32)
    prompts = [[first] * count, [second] * count]
    drawn = self._draw(prompts, np.stack([1 - share, share]), 1, seed, "", None, None, options)
    nearer = tuple(second if part > 0.5 else first for part in share)
    return dataclasses.replace(drawn, prompts=nearer)

  def _draw(
    self,
    prompts: list[list[str]],  # [J][P]
    mix: np.ndarray,  # [J, P]
    n: int,
    seed: int,
    negative_prompt: str,
    indices: np.ndarray | None,
    given: np.ndarray | None,
    options: Mapping[str, Any],
  ) -> Drawings:
    if self.prior is None or self.text_processor is None:
      raise UserError("This run is a tokenizer without a prior: load the workdir of a prior.")
    for prompt in (negative_prompt, *itertools.chain(*prompts)):
      if not isinstance(prompt, str):
        raise UsageError(f"a prompt is {prompt!r}: must be a string.")
    count = len(prompts[0])
    if not isinstance(n, Integral) or n < 1:
      raise UsageError(f"n is {n}: must be a whole number of 1 or more.")
    if not isinstance(seed, Integral) or not 0 <= seed < 2**32:
      raise UsageError(f"seed is {seed}: must be a whole number from 0 to {2**32 - 1}.")
    sampling = SamplingOptions(**options)
    if negative_prompt and sampling.guidance_scale == 1:
      raise UsageError(
        f"negative_prompt is {negative_prompt!r} with a guidance_scale of 1, which looks at none: "
        "must be empty, or the scale above 1, such as 3."
      )
    fixed = self._fixed(given, count).reshape(count, -1)
    text = np.stack([self.text_processor(part) for part in prompts])  # [J, P, T]
    negative = self.text_processor([negative_prompt] * count)
    rows = [np.moveaxis(text, 0, 1), mix.T, negative, fixed]  # P first: they are cut into chunks
    indices = _indices(indices, count, n).reshape(-1)
    run = partial(_draw, self.prior, self.prior_variables, sampling, np.uint32(seed))
    tokens = in_chunks(run, DRAW_CHUNK, indices, *(np.repeat(row, n, axis=0) for row in rows))
    images = self.decode(tokens)
    shape = (count, n)
    return Drawings(
      prompts=tuple(prompts[0]),
      seed=seed,
      negative_prompt=negative_prompt,
      options=sampling,
      tokens=tokens.reshape(*shape, *tokens.shape[1:]),
      images=images.reshape(*shape, *images.shape[1:]),
      indices=indices.reshape(shape),
    )

  def _fixed(self, given: np.ndarray | None, count: int) -> Int32[np.ndarray, "P h w"]:
    """`given`, or nothing; UsageError unless it is such an array of codes that there are."""
    assert self.prior is not None
    expected = (count, *self.prior.grid)
    if given is None:
      return np.full(expected, -1, np.int32)
    given = np.asarray(given)
    if not np.issubdtype(given.dtype, np.integer) or given.shape != expected:
      raise UsageError(
        f"given is {given.dtype} {list(given.shape)}: must be int32 {list(expected)}, a grid of "
        "tokens a prompt."
      )
    size = self.prior.codebook_size
    if not -1 <= given.min() <= given.max() < size:
      raise UsageError(
        f"given is from {given.min()} to {given.max()}: must be from -1 (to be drawn) to "
        f"{size - 1}."
      )
    return given.astype(np.int32)


def _indices(asked: np.ndarray | None, count: int, n: int) -> Int32[np.ndarray, "P n"]:
  """`asked`, or the first n of each; UsageError unless it is such an array of numbers from 0."""
  if asked is None:
    return np.tile(np.arange(n, dtype=np.int32), (count, 1))
  asked = np.asarray(asked)
  if not np.issubdtype(asked.dtype, np.integer) or asked.shape != (count, n):
    raise UsageError(
      f"indices are {asked.dtype} {list(asked.shape)}: must be int32 {[count, n]}, those of n "
      "pictures a prompt."
    )
  if asked.size and not 0 <= asked.min() <= asked.max() < 2**31:
    raise UsageError(
      f"indices are from {asked.min()} to {asked.max()}: must be from 0 to {2**31 - 1}."
    )
  return asked.astype(np.int32)


def load(workdir: str | Path | None = None) -> Pipeline:
  """The pipeline of a training run. Reads data; executes nothing that it finds there.

  Args:
    workdir: of the run; None: the small model that comes along, `weights.INCLUDED`.

  Raises:
    UserError: there is no run, or no whole checkpoint.
  """
  workdir = weights.INCLUDED if workdir is None else Path(workdir)
  config = config_lib.load(workdir)
  with config_lib.whole(workdir):
    return _assemble(workdir, config)


def _assemble(workdir: Path, config: Mapping[str, Any]) -> Pipeline:
  if config["task"] == "dual_encoder":
    raise UserError(
      f"{workdir} is a dual encoder, which draws nothing: load a tokenizer or a prior."
    )
  image_size = config["data"]["image_size"]
  params, collections = jax.tree.map(jnp.asarray, weights.read(workdir))
  if config["task"] not in ("tokenizer", "prior"):
    raise KeyError("task")
  if config["task"] == "tokenizer":
    model = modules.tokenizer(config["model"], image_size)
    variables = {"params": params, **of_model(collections)}
    return Pipeline(model, variables, config["attribution"])
  model = modules.tokenizer(config["tokenizer_model"], image_size)
  text_processor = load_text(workdir / TEXT_FILE)
  return Pipeline(
    tokenizer=model,
    tokenizer_variables=collections[FROZEN],
    attribution=config["attribution"],
    prior=modules.prior(config["model"], model, image_size, text_processor.vocab_size),
    prior_variables={"params": params},
    text_processor=text_processor,
  )


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
  indices: jax.Array,
  text: jax.Array,
  mix: jax.Array,
  negative: jax.Array,
  given: jax.Array,
) -> jax.Array:
  keys = jax.vmap(image_key, (None, 0))(seed, indices)
  conditions = Conditions(text=jnp.moveaxis(text, 1, 0), mix=mix.T, negative=negative)
  return sample(model, variables, conditions, keys, options, given)
