"""Originals above reconstructions."""

import numpy as np
from PIL import Image

from jaxt2i import data
from jaxt2i.evaluators.pairs import Pairs
from tests.runs import config


def test_the_upper_row_is_the_images_and_the_lower_what_comes_back(clear_pipeline, tmp_path):
  source = data.load("val", **config("vqvae:shapes,tiny")["data"])
  images = np.stack([source[i].image for i in range(3)])
  pairs = Pairs(clear_pipeline.tokenizer, images, "nobody", tmp_path)
  shown = pairs(clear_pipeline.tokenizer_variables, 20)["reconstructions"]
  again = clear_pipeline.decode(clear_pipeline.encode(images))
  assert shown.shape == (1, 128, 192, 3)
  for i in range(3):
    np.testing.assert_array_equal(shown[0, :64, 64 * i : 64 * (i + 1)], images[i])
    # Two programs may round differently: by a level.
    lower = shown[0, 64:, 64 * i : 64 * (i + 1)].astype(int)
    assert np.abs(lower - again[i]).max() <= 1
  with Image.open(tmp_path / "0000020.png") as image:
    np.testing.assert_array_equal(np.asarray(image), shown[0])
    assert image.text["source"] == "nobody"
