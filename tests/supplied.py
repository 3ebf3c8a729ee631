"""Stand-ins for the weights that users supply: drawn at random, named and shaped as published."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import safetensors.numpy

from jaxt2i.data.clip_text import BOS, EOS

# Their shapes and what the reference implementations made of these weights; see the scripts
# tests/models/torch_fidelity_inception.py and tests/models/transformers_clip.py.
INCEPTION = Path(__file__).parent / "models" / "inception_reference.json"
CLIP = Path(__file__).parent / "models" / "clip_reference.json"
MERGES = ("r e", "re d</w>", "a r", "h e", "he ar", "hear t</w>", "l o", "n g</w>")


def weights(shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
  """float32 by name, none at zero or one, where faults could hide; signals keep their size."""
  rng = np.random.default_rng(0)
  found = {}
  for name, shape in sorted(shapes.items()):
    array = rng.standard_normal(shape, np.float32)
    if name.endswith("running_var"):
      array = 0.5 + array**2
    elif name.endswith(("norm1.weight", "norm2.weight", "norm.weight", "bn.weight")):
      array = 1 + np.float32(0.2) * array
    elif array.ndim < 2:
      array *= np.float32(0.3)
    elif "embedding.weight" not in name or array.ndim == 4:
      gain = 2 if ".conv." in name else 1  # before a ReLU
      array *= np.float32(np.sqrt(gain / np.prod(shape[1:])))
    found[name] = array
  return found


def inception_weights() -> dict[str, np.ndarray]:
  """All that the features depend on."""
  shapes = {}
  for name, shape in json.loads(INCEPTION.read_text())["convolutions"].items():
    shapes[f"{name}.conv.weight"] = shape
    for part in ("weight", "bias", "running_mean", "running_var"):
      shapes[f"{name}.bn.{part}"] = shape[:1]
  return weights(shapes)


def pictures(count: int, height: int, width: int) -> np.ndarray:
  """[n, H, W, 3] uint8: noise over colours that change slowly."""
  rng = np.random.default_rng(height)
  y, x = np.arange(height)[:, None, None] / height, np.arange(width)[None, :, None] / width
  slow = 127 + 90 * np.sin(5 * y * rng.random((count, 1, 1, 3)) + 7 * x * rng.random(3))
  return np.clip(slow + rng.normal(scale=30, size=slow.shape), 0, 255).astype(np.uint8)


def clip_vocabulary() -> dict[str, int]:
  """Ids of a sign for each byte, alone and ending a word, of `MERGES`, of beginning and end."""
  printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
  others = 256 - len(printed)
  signs = [chr(code) for code in (*printed, *range(256, 256 + others))]
  merged = [merge.replace(" ", "") for merge in MERGES]
  tokens = [*signs, *(f"{sign}</w>" for sign in signs), *merged, BOS, EOS]
  return {token: i for i, token in enumerate(tokens)}


def write_clip_words(folder: Path) -> None:
  """`vocab.json` and `merges.txt`."""
  (folder / "vocab.json").write_text(json.dumps(clip_vocabulary()))
  (folder / "merges.txt").write_text("\n".join(("#version: 0.2", *MERGES, "")))


def write_clip(folder: Path, activation: str = "quick_gelu") -> None:
  """A small CLIP in Hugging Face's layout."""
  reference = json.loads(CLIP.read_text())
  config = reference["config"]
  for part in ("vision_config", "text_config"):
    config[part]["hidden_act"] = activation
  (folder / "config.json").write_text(json.dumps(config))
  tensors = weights(reference["shapes"])
  safetensors.numpy.save_file(tensors, folder / "model.safetensors")
  write_clip_words(folder)
