"""Inpainting, outpainting and variations: what stays, what changes, what is refused."""

import numpy as np
import pytest

from jaxt2i import editing
from jaxt2i.errors import UsageError
from tests.runs import train

PROMPTS = ["red circle", "green"]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory, tokenizer_run):
  """Of a masked prior over the tokens of `tokenizer_run`."""
  import jaxt2i

  workdir = tmp_path_factory.mktemp("masked") / "prior"
  return jaxt2i.load(train(workdir, "prior:masked,shapes,tiny", tokenizer=str(tokenizer_run)))


@pytest.fixture(scope="module")
def images():
  return np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)


def test_inpainting_keeps_all_pixels_and_tokens_outside_of_the_mask(pipeline, images):
  masks = np.zeros((2, 64, 64), bool)
  masks[0, 9:20, 40:41] = True  # tokens of rows 1 and 2, column 5
  drawn = editing.inpaint(pipeline, images, masks, PROMPTS, n=2, seed=3)
  assert drawn.images.shape == (2, 2, 64, 64, 3)
  for i in range(2):
    np.testing.assert_array_equal(drawn.images[:, i][~masks], images[~masks])
  tokens = pipeline.encode(images)
  kept = np.ones((2, 8, 8), bool)
  kept[0, 1:3, 5] = False
  for i in range(2):
    np.testing.assert_array_equal(drawn.tokens[:, i][kept], tokens[kept])
  inside = pipeline.decode(drawn.tokens[:, 0])
  np.testing.assert_array_equal(drawn.images[:, 0][masks], inside[masks])


def test_a_mask_of_everything_is_drawing(pipeline, images):
  drawn = editing.inpaint(pipeline, images, np.ones((2, 64, 64), bool), PROMPTS, seed=3)
  np.testing.assert_array_equal(drawn.images, pipeline(PROMPTS, seed=3).images)


@pytest.mark.parametrize(("down", "right"), [(16, 0), (-8, 24), (3, -5), (0, 0)])
def test_outpainting_moves_the_picture(pipeline, images, down, right):
  drawn = editing.outpaint(pipeline, images, PROMPTS, down=down, right=right).images[:, 0]
  for y in (5, 40, 60):
    for x in (7, 30, 63):
      if 0 <= y + down < 64 and 0 <= x + right < 64:
        np.testing.assert_array_equal(drawn[:, y + down, x + right], images[:, y, x])


@pytest.mark.parametrize(("strength", "changed"), [(0.0, 0), (0.25, 16), (1.0, 64)])
def test_variations_draw_a_share_of_the_tokens_anew(pipeline, images, strength, changed):
  tokens = pipeline.encode(images)
  drawn = editing.vary(pipeline, images, PROMPTS, strength=strength, n=3, seed=1).tokens
  # The same places in all of them, wherever chance did not draw the old token again.
  differ = np.any(drawn != tokens[:, None], axis=(0, 1))
  assert differ.sum() <= changed
  assert differ.sum() >= 0.8 * changed


@pytest.mark.parametrize(
  ("call", "named"),
  [
    (lambda p, x: editing.inpaint(p, x, np.zeros((2, 64, 63), bool), PROMPTS), "masks are bool"),
    (lambda p, x: editing.inpaint(p, x, np.zeros((2, 64, 64)), PROMPTS), "masks are float64"),
    (lambda p, x: editing.vary(p, x, ["one"], strength=0.5), "2 pictures with 1 prompts"),
    (lambda p, x: editing.vary(p, x, PROMPTS, strength=1.5), "strength is 1.5: must be from 0"),
    (lambda p, x: editing.vary(p, x[:, :32, :32], PROMPTS, strength=0.5), r"must be \[64, 64\]"),
    (lambda p, x: editing.outpaint(p, x, PROMPTS, down=64, right=0), "within the picture's 64"),
  ],
)
def test_what_does_not_fit_is_refused(pipeline, images, call, named, monkeypatch):
  for name in ("inpaint", "outpaint", "vary"):
    function = getattr(editing, name)  # without the shape checks of tests: users have none
    monkeypatch.setattr(editing, name, getattr(function, "__wrapped__", function))
  with pytest.raises(UsageError, match=named):
    call(pipeline, images)
