"""Numbers of CLIP in the library `transformers`: the reference for ours.

`python -m tests.models.transformers_clip`, where `.[reference]` is installed, writes
tests/models/clip_reference.json: a small config, shapes of its tensors, ids of captions, and what
weights of `tests.supplied` make of these captions and of pictures.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from tests.supplied import CLIP, clip_vocabulary, pictures, write_clip

CAPTIONS = (
  "Red heart",
  "a  very long caption of red hearts",
  "it's\tART: 12 hearts!!",
  "Ünïcödé 你",
  "",
)
PICTURES = (2, 40, 57)
LENGTH = 16


def config() -> CLIPConfig:
  """Sizes that differ wherever they may, patches that leave a margin."""
  words = len(clip_vocabulary())
  return CLIPConfig(
    text_config={
      "vocab_size": words,
      "hidden_size": 32,
      "intermediate_size": 48,
      "num_hidden_layers": 2,
      "num_attention_heads": 4,
      "max_position_embeddings": LENGTH,
      "bos_token_id": words - 2,
      "eos_token_id": words - 1,
    },
    vision_config={
      "hidden_size": 48,
      "intermediate_size": 80,
      "num_hidden_layers": 3,
      "num_attention_heads": 3,
      "image_size": 30,
      "patch_size": 7,
    },
    projection_dim=24,
  )


def ids(folder: Path, captions: Sequence[str]) -> torch.Tensor:
  """[n, 16] of captions, read by the tokenizer in the folder."""
  tokenizer = CLIPTokenizer.from_pretrained(folder)
  options = {"padding": "max_length", "truncation": True, "max_length": LENGTH}
  return tokenizer(list(captions), return_tensors="pt", **options)["input_ids"]


def points(
  folder: Path, images: np.ndarray, captions: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
  """[n, 24] of images and of captions, of length 1."""
  model = CLIPModel.from_pretrained(folder).eval()
  side = model.config.vision_config.image_size
  size = {"height": side, "width": side}
  prepare = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=size)
  pixels = prepare([Image.fromarray(image) for image in images], return_tensors="pt")
  with torch.no_grad():
    out = model(input_ids=ids(folder, captions), pixel_values=pixels["pixel_values"])
  return out.image_embeds.numpy(), out.text_embeds.numpy()


def write(path: Path) -> None:
  """The config and the shapes first: the weights follow them."""
  shapes = {n: list(x.shape) for n, x in CLIPModel(config()).state_dict().items()}
  settings = json.loads(config().to_json_string())
  reference = {"config": settings, "shapes": shapes, "captions": CAPTIONS, "pictures": PICTURES}
  path.write_text(json.dumps(reference))
  with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    write_clip(folder)
    reference["ids"] = ids(folder, CAPTIONS).tolist()
    for activation in ("quick_gelu", "gelu"):
      write_clip(folder, activation)
      both = points(folder, pictures(*PICTURES), CAPTIONS)
      rounded = [[[round(float(x), 6) for x in row] for row in rows] for rows in both]
      reference[activation] = dict(zip(("images", "texts"), rounded, strict=True))
  parts = [f'"{name}": {json.dumps(value)}' for name, value in reference.items()]
  path.write_text("{\n" + ",\n".join(parts) + "\n}\n")


if __name__ == "__main__":
  write(CLIP)
