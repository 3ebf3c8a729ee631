"""CLIP with weights that the user supplies: features of images and of captions."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, UInt8

from jaxt2i import json_file, supplied
from jaxt2i.chunks import in_chunks
from jaxt2i.data.clip_text import ClipText
from jaxt2i.errors import UserError
from jaxt2i.models import clip as network
from jaxt2i.models.clip import ACTIVATIONS, Transformer
from jaxt2i.types import Array, Variables

CHUNK = 16  # images or captions at once
CONFIG, WEIGHTS = "config.json", "model.safetensors"
# What holds where a file says nothing: it is written without values that are those of ViT-B/32.
_SIZES = {"num_hidden_layers": 12, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
  "vision": {
    **_SIZES,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
  },
  "text": {
    **_SIZES,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_attention_heads": 8,
    "vocab_size": 49408,
    "max_position_embeddings": 77,
    "eos_token_id": 2,
  },
}
_PROJECTION = {"projection_dim": 512}
_LIMITS = {"num_hidden_layers": (1, 100), "max_position_embeddings": (2, 10**6)}
_ANY_EOS = 2  # what files say that were written before the number mattered


class Clip:
  """Images and captions to points of length 1, whose dot products say how well they fit.

  Use `clip` to make one. Called, it is `images`: features to compare sets of images by, CMMD's
  (arXiv 2401.09603) where the weights are those of ViT-L/14 at 336 pixels.

  Attributes:
    name: architecture and hash of the weights.
    how: what is done to images before the network sees them.
  """

  def __init__(self, model: network.Clip, params: Variables, text: ClipText | None, sha256: str):
    """Args: network, its parameters, what reads captions if there is such, hash of the weights."""
    self._model, self._text = model, text
    self._params = jax.device_put(params)
    size, patch = model.image_size, model.patch_size
    self.name = f"CLIP ViT, {size} px, patch {patch}, sha256 {sha256[:12]}"
    self.how = (
      f"images resized to {size} pixels on the shorter side as Pillow does (bicubic, antialiased), "
      f"the middle {size}×{size} of them, CLIP's mean and deviation"
    )

  def __call__(self, images: UInt8[np.ndarray, "n H W 3"]) -> Float32[np.ndarray, "n D"]:
    """The same as `images`."""
    return self.images(images)

  def images(self, images: UInt8[np.ndarray, "n H W 3"]) -> Float32[np.ndarray, "n D"]:
    """Images of any size as points of length 1."""
    run = lambda chunk: _images(self._model, self._params, _prepared(chunk, self._model.image_size))
    return in_chunks(run, CHUNK, images)

  def texts(self, captions: Sequence[str]) -> Float32[np.ndarray, "n D"]:
    """Captions as points of length 1; UserError if the folder has no tokenizer."""
    if self._text is None:
      raise UserError(
        f"the folder of {self.name} has no tokenizer.json, nor vocab.json with merges.txt, without "
        "which captions cannot be read: put those of this CLIP there"
      )
    return in_chunks(partial(_texts, self._model, self._params), CHUNK, *self._text(captions))


def clip(folder: str | Path, sha256_prefix: str = "") -> Clip:
  """Reads a CLIP in Hugging Face's layout, such as openai/clip-vit-large-patch14-336.

  Args:
    folder: with `config.json` and `model.safetensors`; for captions `tokenizer.json` too, or
      `vocab.json` with `merges.txt`.
    sha256_prefix: what the hash of `model.safetensors` must begin with; "" takes any.

  Raises:
    UserError: a file is missing, damaged or of another network, or the hash is another.
  """
  folder = Path(folder)
  model, eos = read_config(folder / CONFIG)
  text = ClipText.read(folder, model.vocab_size, model.max_length)
  if text is not None and eos not in (text.eos, _ANY_EOS):
    raise UserError(
      f"{folder / CONFIG} has eos_token_id {eos}, the tokenizer beside it {text.eos}: take both of "
      "one CLIP"
    )
  if not (folder / WEIGHTS).exists():
    raise UserError(
      f"{folder} has no {WEIGHTS}: download it, or where there is a pytorch_model.bin, write it "
      "with transformers' CLIPModel.from_pretrained(folder).save_pretrained(folder)"
    )
  file = supplied.read(folder / WEIGHTS, sha256_prefix)
  return Clip(model, file.params(shapes(model)), text, file.sha256)


def read_config(path: Path) -> tuple[network.Clip, int]:
  """The network that a `config.json` describes, and the id that ends captions; data, never code.

  Raises:
    UserError: the file is missing, or not of a CLIP.
  """
  content = json_file.read(path, {"model_type": str})
  if content["model_type"] != "clip":
    raise UserError(
      f"{path} is of a {content['model_type']!r}, expected 'clip': name the folder of a CLIP"
    )
  vision, text = (_section(path, content, part) for part in ("vision", "text"))
  if vision["num_channels"] != 3:
    raise UserError(
      f"{path} has num_channels {vision['num_channels']}, expected 3: take another CLIP"
    )
  if vision["patch_size"] > vision["image_size"]:
    raise UserError(
      f"{path} has patch_size {vision['patch_size']}, expected at most image_size, "
      f"{vision['image_size']}: restore it"
    )
  model = network.Clip(
    vision=_transformer(path, vision),
    text=_transformer(path, text),
    image_size=vision["image_size"],
    patch_size=vision["patch_size"],
    vocab_size=text["vocab_size"],
    max_length=text["max_position_embeddings"],
    width=_checked(path, content, _PROJECTION)["projection_dim"],
  )
  return model, text["eos_token_id"]


def shapes(model: network.Clip) -> Any:
  """The parameters' tree, shapes in place of arrays."""
  side = model.image_size
  return jax.eval_shape(
    model.init,
    jax.random.key(0),
    jax.ShapeDtypeStruct((1, side, side, 3), np.float32),
    jax.ShapeDtypeStruct((1, model.max_length), np.int32),
    jax.ShapeDtypeStruct((1,), np.int32),
  )["params"]


def _section(path: Path, content: Mapping[str, Any], part: str) -> dict[str, Any]:
  # Older files have both, of which the former counts.
  section = content.get(f"{part}_config_dict") or content.get(f"{part}_config")
  if not isinstance(section, dict):
    raise UserError(f"{path} has no object {part}_config, as that of a CLIP does: restore it")
  return _checked(path, section, _DEFAULTS[part])


def _checked(path: Path, section: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
  """The values of the names that have defaults; UserError for one of another type or size."""
  values = {}
  for name, default in defaults.items():
    value = values[name] = section.get(name, default)
    least, most = _LIMITS.get(name, (1, 10**6))
    match default:
      case int():
        expected = f"a number from {least} to {most}"
        sound = type(value) is int and least <= value <= most
      case float():
        expected = "a number between 0 and 1"
        sound = type(value) is float and 0 < value < 1
      case _:
        expected = f"one of {', '.join(ACTIVATIONS)}"
        sound = value in list(ACTIVATIONS)
    if not sound:
      raise UserError(f"{path} has {name} {value!r}, expected {expected}: restore it")
  return values


def _transformer(path: Path, section: Mapping[str, Any]) -> Transformer:
  width, heads = section["hidden_size"], section["num_attention_heads"]
  if width % heads:
    raise UserError(
      f"{path} has hidden_size {width}, expected a multiple of {heads} heads: restore it"
    )
  return Transformer(
    width=width,
    inner=section["intermediate_size"],
    layers=section["num_hidden_layers"],
    heads=heads,
    activation=section["hidden_act"],
    epsilon=section["layer_norm_eps"],
  )


_prepared = jax.jit(network.prepared, static_argnums=1)


# Alike on all devices, or a score would depend on where it was computed.
@partial(jax.jit, static_argnums=0)
def _images(model: network.Clip, params: Any, x: Array) -> Any:
  with jax.default_matmul_precision("highest"):
    return model.apply({"params": params}, x, method="images")


@partial(jax.jit, static_argnums=0)
def _texts(model: network.Clip, params: Any, ids: Array, ends: Array) -> Any:
  with jax.default_matmul_precision("highest"):
    return model.apply({"params": params}, ids, ends, method="texts")
