"""Training with augmentation, workers and the kinds of text tokenizer, by way of the config."""

import dataclasses
import itertools
import logging
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxt2i import experiment
from jaxt2i.data.augment import Augmentation, flipped
from jaxt2i.data.mirror import mirrored
from jaxt2i.data.text import TextTokenizer
from jaxt2i.errors import UsageError, UserError
from jaxt2i.experiment.prior import log_unknown_words
from jaxt2i.state import TrainState
from jaxt2i.tokenized import Tokenized, Views
from tests.runs import PRIOR, config, metrics_of, train

TOKENIZER = "vqvae:fsq,vit,shapes,tiny"
AUGMENTED = {"augment.flip": True, "augment.crop": 3, "augment.jitter": 0.2}


def losses_of(workdir) -> list[float]:
  losses = [line["loss"] for line in metrics_of(workdir) if "loss" in line]
  assert len(losses) == 2
  assert all(map(math.isfinite, losses))
  return losses


def first_batches(what, folder, num=3, start_step=0):
  state = TrainState.create({"params": {"w": jnp.zeros(1)}}, optax.sgd(0.1))  # not looked at
  batches = what.start(state, folder).batches(start_step)
  taken = list(itertools.islice(batches, num))
  batches.close()
  return taken


def test_tokenizer_learns_from_changed_images(tmp_path):
  plain, changed, again, worked = (
    experiment.make(config(TOKENIZER, **options))
    for options in ({}, AUGMENTED, AUGMENTED, {**AUGMENTED, "num_workers": 1})
  )
  images = [batch["image"] for batch in first_batches(changed, tmp_path)]
  assert all(image.dtype == np.uint8 for image in images)
  for image, untouched in zip(images, first_batches(plain, tmp_path), strict=True):
    assert image.shape == untouched["image"].shape
    assert (image != untouched["image"]).any()
  for what in (again, worked):
    for image, batch in zip(images, first_batches(what, tmp_path), strict=True):
      np.testing.assert_array_equal(image, batch["image"])
  np.testing.assert_array_equal(
    first_batches(again, tmp_path, 1, start_step=2)[0]["image"], images[2]
  )


def test_two_steps_of_a_tokenizer_with_augmentation(tmp_path):
  changed = train(tmp_path / "changed", TOKENIZER, **AUGMENTED)
  plain = train(tmp_path / "plain", TOKENIZER)
  assert losses_of(changed) != losses_of(plain)
  # Evaluation is on images as they are: the fresh model knows no difference yet.
  psnr = [
    [line["val/psnr"] for line in metrics_of(run) if "val/psnr" in line] for run in (changed, plain)
  ]
  np.testing.assert_allclose(*psnr, atol=2)


def test_two_steps_of_a_prior_with_flips(tokenizer_run, tmp_path, caplog):
  options = {"tokenizer": str(tokenizer_run), "augment.flip": True, "text.kind": "word"}
  caplog.set_level(logging.INFO, "jaxt2i.experiment")
  logging.getLogger("jaxt2i").propagate = True
  losses_of(train(tmp_path / "prior", PRIOR, **options))
  (line,) = [r.getMessage() for r in caplog.records if "distinct words" in r.getMessage()]
  assert line.startswith("val captions: 0 of ")


def test_unknown_words_are_counted(caplog):
  text_processor = TextTokenizer.train(["a red goat"], vocab_size=20, max_length=8)
  captions = (("a goat", "a red hen"), (" ".join("bcdefghijkl"),))
  val = Tokenized(captions, np.zeros((2, 1, 1, 1), np.int32))
  caplog.set_level(logging.INFO, "jaxt2i.experiment")
  logging.getLogger("jaxt2i").propagate = True
  log_unknown_words(text_processor, val)
  assert caplog.messages == [
    "val captions: 12 of 15 distinct words are unknown: b, c, d, e, f, g, h, hen, i, j, ..."
  ]


def test_tokens_and_caption_of_a_prior_are_flipped_together(tokenizer_run, clear_pipeline):
  what = experiment.make(config(PRIOR, tokenizer=str(tokenizer_run)))
  source = what._train
  part = Tokenized.of(source, clear_pipeline, at_most=8, views=Views(Augmentation(flip=True), 1, 0))
  images = np.stack([source[i].image for i in range(8)])
  np.testing.assert_array_equal(part.flipped_tokens[:, 0], clear_pipeline.encode(flipped(images)))
  captions, tokens, flipped_tokens = part[3]
  np.testing.assert_array_equal(tokens, clear_pipeline.encode(images[3:4]))
  np.testing.assert_array_equal(flipped_tokens, clear_pipeline.encode(flipped(images[3:4])))
  assert (tokens != flipped_tokens).any()
  # Scenes of this data are told so that every one of them can be mirrored.
  assert all(mirrored(caption) is not None for caption in captions)
  assert part.first(2).flipped_tokens is None
  assert Tokenized.of(source, clear_pipeline, at_most=1)[0][2] is None


def test_views_are_the_image_and_changes_of_it(tokenizer_run, clear_pipeline):
  source = experiment.make(config(PRIOR, tokenizer=str(tokenizer_run)))._train
  views = Views(Augmentation(flip=True, crop=6), count=3, seed=5)
  part = Tokenized.of(source, clear_pipeline, at_most=4, views=views)
  plain = Tokenized.of(source, clear_pipeline, at_most=4)
  assert part.tokens.shape == part.flipped_tokens.shape == (4, 3, *plain.tokens.shape[2:])
  np.testing.assert_array_equal(part.first(4).tokens, plain.tokens)
  images = views.of(source[2].image, 2)
  np.testing.assert_array_equal(images[0], source[2].image)
  np.testing.assert_array_equal(part.tokens[2], clear_pipeline.encode(np.stack(images)))
  mirrored_views = clear_pipeline.encode(flipped(np.stack(images)))
  np.testing.assert_array_equal(part.flipped_tokens[2], mirrored_views)
  others = [views.of(source[2].image, 3), dataclasses.replace(views, seed=6).of(source[2].image, 2)]
  for other in ([images[0], images[2], images[1]], *others):
    assert (np.stack(other[1:]) != np.stack(images[1:])).any()


def test_a_prior_learns_from_all_views(tokenizer_run, tmp_path):
  options = {"tokenizer": str(tokenizer_run), "views": 3, "augment.crop": 6}
  what = experiment.make(config(PRIOR, **options))
  state = TrainState.create(what.init(jax.random.key(0)), optax.sgd(0.1))
  running = what.start(state, tmp_path)
  batches = itertools.islice(running.batches(0), 60)
  seen = {tokens.tobytes() for batch in batches for tokens in batch["tokens"]}
  assert len(seen) > 64 + 32  # of 64 images in 3 views each, in 240 rows
  again = next(what.start(state, tmp_path).batches(3))
  np.testing.assert_array_equal(
    again["tokens"], next(itertools.islice(running.batches(0), 3, None))["tokens"]
  )


@pytest.mark.parametrize(
  ("name", "changes", "message"),
  [
    (TOKENIZER, {"augment.crop": 64}, "config.augment.crop is 64: must be less than the image's"),
    (TOKENIZER, {"augment.crop": -1}, "augment.crop -1: expected 0 pixels or more"),
    (TOKENIZER, {"augment.jitter": 2.0}, "augment.jitter 2.0: expected a number from 0 to 1"),
    (PRIOR, {"augment.crop": 2}, "crop 2 and jitter 0.0, and config.views is 1: a prior wants 2"),
    (PRIOR, {"views": 4}, "crop 0 and jitter 0.0, and config.views is 4: a prior wants"),
    (PRIOR, {"views": 0}, "config.views is 0: must be from 1 to 64"),
    (PRIOR, {"views": 65, "augment.jitter": 0.1}, "config.views is 65: must be from 1 to 64"),
    (PRIOR, {"text.kind": "letter"}, "config.text.kind is 'letter': must be one of 'bpe',"),
    (PRIOR, {"text.kind": "byte"}, "vocab_size 256 and max_length 16: expected 258 or more"),
  ],
)
def test_options_that_cannot_work(name, changes, message, tokenizer_run):
  if name == PRIOR:
    changes = {**changes, "tokenizer": str(tokenizer_run)}
  with pytest.raises(UserError) as caught:
    experiment.make(config(name, **changes))
  assert message in str(caught.value)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("num_workers", [-1, 65])
def test_numbers_of_workers_that_cannot_work(num_workers, tmp_path):
  with pytest.raises(UsageError, match=f"num_workers is {num_workers}: must be from 0 to 64"):
    train(tmp_path / "run", TOKENIZER, num_workers=num_workers)
