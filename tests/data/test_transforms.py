import pickle

import numpy as np
import pytest

from jaxt2i.data.augment import Augmentation
from jaxt2i.data.records import Record
from jaxt2i.data.text import TextTokenizer
from jaxt2i.data.transforms import AugmentedImage, FirstCaption, RandomCaption, image_row

CAPTIONS = ("a goat to the left", "a goat left behind", "a brown goat")
TOKENS = np.arange(6, dtype=np.int32).reshape(2, 3)
FLIPPED = TOKENS[:, ::-1] + 10
IMAGE = np.random.default_rng(0).integers(0, 256, (4, 4, 3)).astype(np.uint8)
RECORD = Record("0", IMAGE, CAPTIONS, {})


@pytest.fixture(scope="module")
def text_processor():
  captions = [*CAPTIONS, "a goat to the right"]
  return TextTokenizer.train(captions, vocab_size=60, max_length=8, kind="word")


def rows(row, example, num=400):
  return [row(example, np.random.default_rng(i)) for i in range(num)]


def told(row, text_processor, captions):
  """Which of the captions a row's text is."""
  (found,) = [c for c in captions if (text_processor([c])[0] == row["text"]).all()]
  return found


def test_images_as_they_are():
  rng = np.random.default_rng(0)
  assert image_row(RECORD, rng)["image"] is IMAGE
  assert AugmentedImage(Augmentation())(RECORD, rng)["image"] is IMAGE


def test_images_changed_at_random():
  augmentation = Augmentation(flip=True, crop=1, jitter=0.2)
  row = AugmentedImage(augmentation)
  expected = augmentation(IMAGE, np.random.default_rng(7))
  for each in (row, pickle.loads(pickle.dumps(row))):
    np.testing.assert_array_equal(each(RECORD, np.random.default_rng(7))["image"], expected)


def test_first_caption(text_processor):
  for flipped in (None, FLIPPED[None]):
    row = FirstCaption(text_processor)((CAPTIONS, TOKENS[None], flipped), np.random.default_rng(0))
    np.testing.assert_array_equal(row["tokens"], TOKENS)
    assert told(row, text_processor, CAPTIONS) == CAPTIONS[0]


def test_any_caption(text_processor):
  found = rows(RandomCaption(text_processor), (CAPTIONS, TOKENS[None], None))
  counts = [
    sum(told(row, text_processor, CAPTIONS) == caption for row in found) for caption in CAPTIONS
  ]
  assert all(95 < count < 172 for count in counts)  # 133, four standard deviations
  assert all((row["tokens"] == TOKENS).all() for row in found)


def test_flips_agree_between_image_and_caption(text_processor):
  captions = [*CAPTIONS, "a goat to the right"]
  row = RandomCaption(text_processor)
  pairs = [
    (told(each, text_processor, captions), bool(each["tokens"][0, 0] != TOKENS[0, 0]))
    for each in rows(row, (CAPTIONS, TOKENS[None], FLIPPED[None]), 1200)
  ]
  counts = {pair: pairs.count(pair) for pair in set(pairs)}
  assert set(counts) == {
    ("a goat to the left", False),
    ("a goat to the right", True),
    ("a goat left behind", False),  # never flipped: nobody knows what of
    ("a brown goat", False),
    ("a brown goat", True),
  }
  assert 340 < counts["a goat left behind", False] < 460
  assert all(150 < n < 250 for pair, n in counts.items() if pair[0] != "a goat left behind")
  # The generator alone decides, wherever the row is made.
  for one, two in zip(
    rows(row, (CAPTIONS, TOKENS[None], FLIPPED[None]), 20),
    rows(pickle.loads(pickle.dumps(row)), (CAPTIONS, TOKENS[None], FLIPPED[None]), 20),
    strict=True,
  ):
    np.testing.assert_array_equal(one["tokens"], two["tokens"])
    np.testing.assert_array_equal(one["text"], two["text"])
