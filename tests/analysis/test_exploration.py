"""The numbers about prepared data, against counts by hand and by other means."""

import dataclasses
import json
from collections import Counter

import numpy as np
import pytest

from jaxt2i.analysis import data_text, exploration, vocabulary
from jaxt2i.analysis.vocabulary import Growth, Unseen
from jaxt2i.data import prepared, split_files, splits
from jaxt2i.errors import UserError
from tests.analysis import sets

CAPTIONS = {
  "train": {"a": ["A red dog", "the dog runs"], "b": ["a cat"], "c": ["!!!"]},
  "val": {"d": ["the RED cat", "a bird, a bird"]},
  "compositional": {"e": ["a dog"]},
}
PHOTOS = {  # of noise, so no two resemble each other
  **{f"wide{i}.png": (100, 50, [f"wide {i}", "a field"]) for i in range(6)},
  **{f"high{i}.png": (30, 90, [f"high {i}", "a tower"]) for i in range(3)},
  "even.png": (101, 100, ["nearly square", "a box", "or not"]),
}


@pytest.fixture
def toy(tmp_path):
  return sets.generated(tmp_path / "toy", CAPTIONS)


@pytest.fixture
def photos(tmp_path):
  return sets.prepare(sets.save_photos(tmp_path / "src", PHOTOS), tmp_path / "photos")


def test_counts_of_every_split(toy):
  found = exploration.explore(toy)
  assert found.protocol == "compositional"
  assert [dataclasses.astuple(split) for split in found.splits] == [
    ("train", 3, 4, 8, 6),
    ("val", 1, 2, 7, 5),
    ("compositional", 1, 1, 2, 2),
  ]
  assert (found.images, found.captions) == (5, 7)
  assert (found.running_words, found.distinct_words) == (17, 7)
  assert found.captions_per_image.tolist() == [2, 1, 1, 2, 1]
  assert sorted(found.words_per_caption.tolist()) == [0, 2, 2, 3, 3, 3, 4]


def test_words_without_stop_words_the_most_frequent_first(toy):
  found = exploration.explore(toy)
  assert found.top_words == (("dog", 3), ("bird", 2), ("cat", 2), ("red", 2), ("runs", 1))
  assert found.stop_share == pytest.approx(7 / 17)


def test_unseen_are_the_words_that_no_training_caption_has(toy):
  val, compositional = exploration.explore(toy).unseen
  assert val == Unseen("val", 5, 1, 7, 2, ("bird",))
  assert compositional == Unseen("compositional", 2, 0, 2, 0, ())


def test_growth_ends_with_everything_and_never_falls(toy):
  grown = exploration.explore(toy).growth
  assert (grown.captions[-1], grown.words[-1], grown.distinct[-1]) == (7, 17, 7)
  assert (np.diff(grown.distinct) >= 0).all()
  again = exploration.explore(toy).growth
  assert dataclasses.astuple(again)[2].tolist() == grown.distinct.tolist()


def test_growth_counts_the_different_words_so_far():
  words = np.random.default_rng(1).zipf(1.5, 900) % 97
  ids, words = np.unique(words, return_inverse=True)
  caption = np.repeat(np.arange(300), 3)
  zeros = np.zeros(300, np.int64)
  texts = vocabulary.Texts(tuple(map(str, ids)), words.astype(np.int64), caption, zeros, zeros)
  grown = vocabulary.growth(texts)
  place = np.random.default_rng(0).permutation(300)
  for read, distinct, running in zip(grown.captions, grown.distinct, grown.words, strict=True):
    chosen = words[place[caption] < read]
    assert (len(set(chosen.tolist())), len(chosen)) == (distinct, running)
  assert len(grown.captions) == 200
  assert grown.captions[[0, -1]].tolist() == [1, 300]


def test_heaps_law_is_found_where_it_holds():
  words = np.arange(100, 10_000, 100)
  law = vocabulary.heaps(Growth(words, words, np.round(3e5 * words**0.5).astype(np.int64)))
  assert law.factor == pytest.approx(3e5, rel=1e-4)
  assert law.exponent == pytest.approx(0.5, rel=1e-4)


def test_no_law_is_fitted_to_little_text(toy, tmp_path):
  assert exploration.explore(toy).heaps is None
  mute = {"train": {str(i): ["!"] for i in range(120)}}
  assert exploration.explore(sets.generated(tmp_path / "mute", mute)).heaps is None
  much = {"train": {str(i): [f"word{i % 50} word{i}"] for i in range(120)}}
  assert exploration.explore(sets.generated(tmp_path / "much", much)).heaps is not None


def test_sizes_orientation_and_bars(photos):
  found = exploration.explore(photos)
  assert found.protocol == "image"
  assert found.orientation == {"landscape": 6, "portrait": 3, "square": 1}
  assert found.sizes.tolist() == [[30, 90, 3], [100, 50, 6], [101, 100, 1]]
  assert found.bars.mean() == pytest.approx((6 * 0.5 + 3 * 2 / 3 + 1 / 101) / 10)
  assert found.fit == "letterbox"


def test_bars_of_letterboxed_photos_are_what_is_black(photos):
  found = exploration.explore(photos)
  rows = prepared.Rows(photos, 64)
  black = [(record.image == 0).all(axis=2).mean() for record in rows]
  np.testing.assert_allclose(found.bars, black, atol=0.03)  # half a pixel at each edge, of 64


@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_other_fits_are_told_from_letterboxing(tmp_path, fit):
  src = sets.save_photos(tmp_path / "src", PHOTOS)
  found = exploration.explore(sets.prepare(src, tmp_path / "out", fit=fit))
  assert found.fit == fit
  assert {"crop": "cropped", "stretch": "stretched"}[fit] in data_text.bars(found)


def test_squares_need_no_bars(toy):
  found = exploration.explore(toy)
  assert found.fit == ""
  assert found.orientation == {"landscape": 0, "portrait": 0, "square": 5}
  assert found.bars.tolist() == [0] * 5


def test_captions_of_one_image_in_several_splits(photos):
  splits.make(photos, "caption")
  assert exploration.explore(photos).protocol == "image"  # the default, whatever else there is
  found = exploration.explore(photos, "caption")
  assert found.note == splits.SHARED_IMAGES
  assert found.images == 10
  assert found.captions == 21 == sum(split.captions for split in found.splits)
  assert sorted(found.captions_per_image.tolist()) == [2] * 9 + [3]
  counts = Counter()
  for name in ("train", "val", "test"):
    source = prepared.PreparedSource(photos, name, image_size=32, protocol="caption")
    counts[name] = sum(len(source[i].captions) for i in range(len(source)))
  assert counts == {split.name: split.captions for split in found.splits}


def test_images_in_no_split_are_not_counted(photos):
  captions = np.full(10, 2, np.int64)
  rows = {"train": np.array([1, 2], np.int64), "test": np.array([0], np.int64)}
  split_files.save(photos, "mine", rows, captions=captions, left_out={"dull": 7})
  found = exploration.explore(photos, "mine")
  assert found.images == len(found.widths) == len(found.captions_per_image) == 3
  assert [split.name for split in found.splits] == ["train", "test"]


def test_an_empty_split_has_no_words(toy):
  rows = {"train": np.array([0], np.int64), "val": np.zeros(0, np.int64)}
  split_files.save(toy, "mine", rows, captions=np.ones(5, np.int64))
  found = exploration.explore(toy, "mine")
  assert found.unseen == (Unseen("val", 0, 0, 0, 0, ()),)
  assert data_text.unseen(found) == "“val” has no words."


def test_without_training_split_nothing_is_unseen(tmp_path):
  toy = sets.generated(tmp_path / "toy", {"test": {"a": ["a dog"]}})
  found = exploration.explore(toy)
  assert found.unseen == ()
  assert (found.images, found.captions, found.distinct_words) == (1, 1, 2)
  assert found.growth.captions.tolist() == [1]


def test_numbers_are_json(toy):
  numbers = json.loads(json.dumps(exploration.explore(toy).json(), allow_nan=False))
  assert numbers["images"] == 5
  assert numbers["sizes"] == [[16, 16, 5]]
  assert numbers["captions_per_image"] == {"1": 3, "2": 2}
  assert numbers["words_per_caption"] == {"0": 1, "2": 2, "3": 3, "4": 1}
  assert numbers["heaps"] is None
  assert numbers["unseen"][0]["examples"] == ["bird"]


def test_mistakes_are_told_in_a_line(toy, tmp_path):
  with pytest.raises(UserError, match="no splits by the protocol 'imgae', only by compositional"):
    exploration.explore(toy, "imgae")
  with pytest.raises(UserError, match="no usable prepared data"):
    exploration.explore(tmp_path / "nowhere")
  none = np.zeros(0, np.int64)
  split_files.save(toy, "empty", {"train": none}, captions=np.ones(5, np.int64))
  with pytest.raises(UserError, match=r"'empty' .* have no images"):
    exploration.explore(toy, "empty")
  for protocol in ("empty", "compositional"):
    for file in split_files.folder(toy, protocol).iterdir():
      file.unlink()
  with pytest.raises(UserError, match="no splits; make them: jaxt2i data split"):
    exploration.explore(toy)
