"""Images with their reconstructions: what a dual encoder that is to judge drawings learns from."""

import numpy as np
import pytest

from jaxt2i import experiment, main
from jaxt2i.errors import UserError
from jaxt2i.reconstructed import WithReconstructions
from tests.runs import config
from tests.sources import Pictures, pictures


def test_each_image_comes_as_it_is_and_as_the_tokenizer_gives_it_back(tokenizer_pipeline):
  images = pictures(5, side=64)
  both = WithReconstructions.of(Pictures(images), tokenizer_pipeline)
  expected = tokenizer_pipeline.decode(tokenizer_pipeline.encode(images))
  assert len(both) == 10
  for i in range(5):
    np.testing.assert_array_equal(both[i].image, images[i])
    np.testing.assert_array_equal(both[i + 5].image, expected[i])
    assert both[i + 5].captions == both[i].captions == (f"picture {i}", "any picture")


def test_a_dual_encoder_learns_from_both(tokenizer_run, tmp_path, monkeypatch):
  seen = []
  of = WithReconstructions.of
  monkeypatch.setattr(
    WithReconstructions, "of", lambda source, pipe: seen.append(len(source)) or of(source, pipe)
  )
  options = config("dual_encoder:shapes,tiny", tokenizer=str(tokenizer_run))
  main.run(options, tmp_path / "run")
  assert seen == [64]
  assert (tmp_path / "run" / "checkpoints" / "2").is_dir()


def test_a_tokenizer_of_other_images_is_refused(prior_run):
  with pytest.raises(UserError, match="is a prior of 64-pixel images: "):
    experiment.make(config("dual_encoder:shapes,tiny", tokenizer=str(prior_run)))
