"""CLIP: images and captions as points of one space (arXiv 2103.00020); inference only.

A vision transformer and a text transformer, whose layers normalise before they add. Names of layers
are those of Hugging Face's files. The weights: `jaxt2i.clip`.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from jaxt2i.models.attention import attend
from jaxt2i.models.blocks import like_embeddings, split_heads
from jaxt2i.models.dense import Dense
from jaxt2i.types import Array

# Of red, green and blue in [0, 1] over CLIP's training images.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
ACTIVATIONS = {
  "quick_gelu": lambda x: x * nn.sigmoid(1.702 * x),
  "gelu": lambda x: nn.gelu(x, approximate=False),
}


@dataclasses.dataclass(frozen=True)
class Transformer:
  """Sizes of one of the two.

  Attributes:
    width: features of a position.
    inner: features between the two dense layers of a block.
    layers: blocks.
    heads: of attention; they divide the width.
    activation: one of `ACTIVATIONS`.
    epsilon: of normalisations.
  """

  width: int
  inner: int
  layers: int
  heads: int
  activation: str
  epsilon: float


class Clip(nn.Module):
  """Both networks.

  Attributes:
    vision, text: sizes of the transformers.
    image_size: pixels a side.
    patch_size: pixels a side of what becomes one position.
    vocab_size: ids of the text tokenizer.
    max_length: T, ids of a caption.
    width: D, features of a point.
  """

  vision: Transformer
  text: Transformer
  image_size: int
  patch_size: int
  vocab_size: int
  max_length: int
  width: int

  def setup(self) -> None:
    """The parts, under the names that they have in the file."""
    self.vision_model = Vision(self.vision, self.patch_size)
    self.text_model = Text(self.text, self.vocab_size)
    self.visual_projection = Dense(self.width, use_bias=False)
    self.text_projection = Dense(self.width, use_bias=False)

  def __call__(
    self, x: Float[Array, "B H H 3"], ids: Int[Array, "B T"], ends: Int[Array, "B"]
  ) -> tuple[Float[Array, "B D"], Float[Array, "B D"]]:
    """What `images` and `texts` give."""
    return self.images(x), self.texts(ids, ends)

  def images(self, x: Float[Array, "B H H 3"]) -> Float[Array, "B D"]:
    """Points of length 1 of images that `prepared` has made."""
    return _unit(self.visual_projection(self.vision_model(x)))

  def texts(self, ids: Int[Array, "B T"], ends: Int[Array, "B"]) -> Float[Array, "B D"]:
    """Points of length 1 of captions. Args: ids, and at which position each caption ends."""
    return _unit(self.text_projection(self.text_model(ids, ends)))


class Vision(nn.Module):
  """Vision transformer (arXiv 2010.11929), normalised before its first block. Attributes: sizes."""

  sizes: Transformer
  patch_size: int

  @nn.compact
  def __call__(self, x: Float[Array, "B H H 3"]) -> Float[Array, "B F"]:
    """Features of the class token."""
    width, patch = self.sizes.width, (self.patch_size, self.patch_size)
    x = nn.Conv(width, patch, patch, "VALID", use_bias=False, name="embeddings.patch_embedding")(x)
    x = x.reshape(x.shape[0], -1, width)
    token = self.param("embeddings.class_embedding", like_embeddings(width), (width,))
    x = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, width)), x], axis=1)
    x = x + _positions(self, x.shape[1], width)[None]
    x = _norm(self.sizes, "pre_layrnorm")(x)  # as it is spelt in the file
    mask = jnp.ones((1, 1, x.shape[1]), bool)
    for i in range(self.sizes.layers):
      x = Block(self.sizes, name=f"encoder.layers.{i}")(x, mask)
    return _norm(self.sizes, "post_layernorm")(x[:, 0])


class Text(nn.Module):
  """Transformer whose positions look at those before them. Attributes: its sizes, number of ids."""

  sizes: Transformer
  vocab_size: int

  @nn.compact
  def __call__(self, ids: Int[Array, "B T"], ends: Int[Array, "B"]) -> Float[Array, "B F"]:
    """Features of the position that ends a caption; what comes after it changes nothing."""
    width = self.sizes.width
    x = nn.Embed(self.vocab_size, width, name="embeddings.token_embedding")(ids)
    x = x + _positions(self, x.shape[1], width)[None]
    mask = jnp.tril(jnp.ones((1, x.shape[1], x.shape[1]), bool))
    for i in range(self.sizes.layers):
      x = Block(self.sizes, name=f"encoder.layers.{i}")(x, mask)
    last = jnp.take_along_axis(x, ends[:, None, None], axis=1)[:, 0]
    return _norm(self.sizes, "final_layer_norm")(last)


class Block(nn.Module):
  """Pre-norm transformer block. Attribute: its sizes."""

  sizes: Transformer

  @nn.compact
  def __call__(
    self, x: Float[Array, "B N F"], mask: Bool[Array, "#B #N N"]
  ) -> Float[Array, "B N F"]:
    """Self-attention, then two dense layers."""
    sizes = self.sizes
    y = _norm(sizes, "layer_norm1")(x)
    q, k, v = (
      split_heads(Dense(sizes.width, name=f"self_attn.{part}_proj")(y), sizes.heads)
      for part in "qkv"
    )
    x = x + Dense(sizes.width, name="self_attn.out_proj")(attend(q, k, v, mask))
    y = Dense(sizes.inner, name="mlp.fc1")(_norm(sizes, "layer_norm2")(x))
    return x + Dense(sizes.width, name="mlp.fc2")(ACTIVATIONS[sizes.activation](y))


def prepared(images: UInt8[Array, "B H W 3"], side: int) -> Float[Array, "B side side 3"]:
  """Images as CLIP takes them: shorter side resized, the middle cut out, then normalised.

  Bicubic with antialiasing, columns before rows, each rounded to whole numbers in [0, 255]:
  Pillow's way, from which it differs by 1 of 255 in up to 0.7 % of the numbers, in some of a
  million by 2 (Pillow's weights are rounded, which decides where a sum lies between two numbers).
  Where an odd number of pixels is cut off, the larger part goes at the end.
  """
  b, height, width, _ = images.shape
  shorter = min(height, width)
  h, w = side * height // shorter, side * width // shorter
  x = images.astype(jnp.float32)
  x = _whole(jax.image.resize(x, (b, height, w, 3), "cubic"))
  x = _whole(jax.image.resize(x, (b, h, w, 3), "cubic"))
  top, left = (h - side) // 2, (w - side) // 2
  x = x[:, top : top + side, left : left + side]
  mean, std = (np.array(value, np.float32)[None, None, None] for value in (MEAN, STD))
  return (x / 255 - mean) / std


def _whole(x: Array) -> Array:
  return jnp.clip(jnp.floor(x + 0.5), 0, 255)


def _positions(module: nn.Module, count: int, width: int) -> Array:
  name = "embeddings.position_embedding.weight"
  return module.param(name, like_embeddings(width), (count, width))


def _norm(sizes: Transformer, name: str) -> nn.LayerNorm:
  return nn.LayerNorm(epsilon=sizes.epsilon, use_fast_variance=False, name=name)


def _unit(x: Float[Array, "B D"]) -> Float[Array, "B D"]:
  return x / jnp.linalg.norm(x, axis=-1, keepdims=True)
