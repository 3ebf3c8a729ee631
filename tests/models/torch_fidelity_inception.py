"""Numbers of InceptionV3 in the library `torch-fidelity`: the reference for ours.

`python -m tests.models.torch_fidelity_inception`, where `.[reference]` is installed, writes
tests/models/inception_reference.json: the shape of each convolution, and for pictures some features
that weights of `tests.supplied` give.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from tests.supplied import INCEPTION, inception_weights, pictures

SHAPES = ((2, 40, 57), (1, 340, 420))


class Bare(FeatureExtractorInceptionV3):
  """Made without a file of weights."""

  def __init__(self):
    with tempfile.NamedTemporaryFile() as file:
      torch.save({}, file.name)
      super().__init__("inception", ["2048"], file.name)

  def load_state_dict(self, state_dict):
    """Leaves out nothing that a state dict has."""
    if state_dict:
      super().load_state_dict(state_dict)


def state_dict() -> dict[str, torch.Tensor]:
  """The weights of `tests.supplied`; what features do not depend on is as it was made."""
  ours = {name: torch.from_numpy(array) for name, array in inception_weights().items()}
  return {**Bare().state_dict(), **ours}


def features(images: np.ndarray) -> np.ndarray:
  """[n, 2048] of uint8 [n, H, W, 3]."""
  network = Bare()
  network.load_state_dict(state_dict())
  return network(torch.from_numpy(images).permute(0, 3, 1, 2))[0].numpy()


def write(path: Path) -> None:
  """Shapes first: the weights follow them."""
  names = {name: list(tensor.shape) for name, tensor in Bare().state_dict().items()}
  shapes = {n.removesuffix(".conv.weight"): s for n, s in names.items() if ".conv." in n}
  reference = {"convolutions": shapes, "features": []}
  path.write_text(json.dumps(reference))
  for shape in SHAPES:
    found = features(pictures(*shape)).astype(np.float64)
    reference["features"].append(
      {
        "pictures": list(shape),
        "mean": round(float(found.mean()), 6),
        "std": round(float(found.std()), 6),
        "values": [round(float(x), 6) for x in found.ravel()[::61]],
      }
    )
  lines = ",\n    ".join(f'"{name}": {shape}' for name, shape in shapes.items())
  rows = ",\n    ".join(json.dumps(row) for row in reference["features"])
  path.write_text(
    f'{{\n  "convolutions": {{\n    {lines}\n  }},\n  "features": [\n    {rows}\n  ]\n}}\n'
  )


if __name__ == "__main__":
  write(INCEPTION)
