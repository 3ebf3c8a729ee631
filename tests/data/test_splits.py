"""Protocols: nobody on two sides, nobody lost, and nobody who moves."""

import hashlib
import itertools
from collections import Counter

import numpy as np
import pytest

from jaxt2i.data import shards, split_files, splits
from jaxt2i.data.prepared import read_facts, write_manifest
from jaxt2i.data.records import Record
from jaxt2i.data.shards import Facts
from jaxt2i.errors import UsageError, UserError
from tests.photos import photo


def make_facts(num, *, captions=5, split="", first=0) -> list[Facts]:
  ids = [f"{i:05d}.jpg" for i in range(first, first + num)]
  return [Facts(name, 640, 480, captions, split, name, 0) for name in ids]


def alone(facts) -> np.ndarray:
  return np.arange(len(facts))


def in_threes(num: int) -> np.ndarray:
  """Groups of three images that do not follow each other."""
  return np.arange(num) % -(-num // 3)


def partition(made, num: int) -> None:
  """Every row once; each split sorted."""
  assert sorted(itertools.chain(*(rows.tolist() for rows in made.values()))) == list(range(num))
  assert all((np.diff(rows) > 0).all() for rows in made.values())
  assert all(rows.dtype == np.int64 for rows in made.values())


def sides(made, groups) -> list[int]:
  """In how many splits each group lies."""
  where = {int(row): name for name, rows in made.items() for row in rows}
  return [len({where[row] for row in np.flatnonzero(groups == g)}) for g in np.unique(groups)]


def reference_share(text: str) -> float:
  return int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) / 16**16


def test_an_image_tests_by_the_hash_of_its_name():
  facts = make_facts(1000)
  made, left_out = splits.by_image(facts, alone(facts))
  partition(made, 1000)
  share = [reference_share(f.image_id) for f in facts]
  assert made["test"].tolist() == [i for i in range(1000) if share[i] < 0.1]
  assert made["val"].tolist() == [i for i in range(1000) if 0.1 <= share[i] < 0.2]
  assert 80 < len(made["test"]) < 120
  assert 80 < len(made["val"]) < 120
  assert left_out == {}


@pytest.mark.parametrize("protocol", ["image", "fold", "caption"])
def test_splits_do_not_move_when_images_are_added(protocol):
  def split(facts):
    if protocol == "caption":
      made = splits.by_caption(captions_of(facts), alone(facts))
      keys = {name: map(tuple, pairs.tolist()) for name, pairs in made.items()}
      return {(facts[row].image_id, k): name for name in keys for row, k in keys[name]}
    if protocol == "image":
      made, _ = splits.by_image(facts, alone(facts))
    else:
      made = splits.by_fold(facts, alone(facts), 2, 5)
    return {facts[row].image_id: name for name, rows in made.items() for row in rows}

  few = split(make_facts(200, first=100))
  many = split(make_facts(500))
  assert len(few) < len(many)
  assert few == {key: many[key] for key in few}


@pytest.mark.parametrize("num", [1, 2, 3, 4, 5, 6, 30])
def test_few_images_fill_training_first_then_test_then_validation(num):
  facts = make_facts(num)
  made, _ = splits.by_image(facts, alone(facts))
  partition(made, num)
  assert list(made) == ["train", "val", "test"]
  assert [len(made[name]) > 0 for name in made] == [True, num > 2, num > 1]


@pytest.mark.parametrize("num", [2, 5, 9, 300])
def test_near_duplicates_are_on_one_side(num):
  facts, groups = make_facts(num), in_threes(num)
  made, _ = splits.by_image(facts, groups)
  partition(made, num)
  assert set(sides(made, groups)) == {1}


OFFICIAL = ["train"] * 6 + ["val"] * 3 + ["test"] * 3 + [""] * 2


def official(names=OFFICIAL) -> list[Facts]:
  return [make_facts(1, first=i, split=name)[0] for i, name in enumerate(names)]


def test_official_lists_are_kept():
  made, left_out = splits.by_image(official([*OFFICIAL, "compositional"]), np.arange(15))
  assert {name: rows.tolist() for name, rows in made.items()} == {
    "train": [0, 1, 2, 3, 4, 5],
    "val": [6, 7, 8],
    "test": [9, 10, 11],
  }
  assert left_out == {"in none of the official lists": 3}


def test_what_resembles_a_test_image_is_left_out_of_the_rest():
  groups = np.arange(14)
  groups[9] = 0  # a test image like one of training
  groups[10] = 6  # another like one of validation
  groups[8] = 1  # validation like training
  groups[12] = 2  # outside like training
  groups[4] = 3  # both of training
  made, left_out = splits.by_image(official(), groups)
  assert {name: rows.tolist() for name, rows in made.items()} == {
    "train": [2, 3, 4, 5],
    "val": [7, 8],
    "test": [9, 10, 11],
  }
  assert left_out == {
    "in none of the official lists": 2,
    "near-duplicates of an image in another split": 3,
  }


def test_validation_that_no_list_names_is_taken_from_training():
  facts = make_facts(300, split="train") + make_facts(50, split="test", first=300)
  groups = np.append(in_threes(300), np.arange(300, 350))
  made, left_out = splits.by_image(facts, groups)
  partition(made, 350)
  assert made["test"].tolist() == list(range(300, 350))
  assert set(sides(made, groups)) == {1}
  leaders = [reference_share(facts[group].image_id) for group in groups[:300]]
  assert made["val"].tolist() == [i for i in range(300) if leaders[i] < 0.1]
  assert 10 < len(made["val"]) < 60
  assert left_out == {}


def test_official_lists_without_a_test_make_none():
  made, _ = splits.by_image(official(["train", "train", "val"]), np.arange(3))
  assert {name: rows.tolist() for name, rows in made.items()} == {"train": [0, 1], "val": [2]}


def captions_of(facts) -> dict[str, tuple[str, ...]]:
  return {f.image_id: tuple(f"caption {k}" for k in range(f.num_captions)) for f in facts}


def test_of_each_image_one_caption_tests():
  captions = captions_of(make_facts(1000))
  made = splits.by_caption(captions, np.arange(len(captions)))
  pairs = [tuple(pair) for rows in made.values() for pair in rows.tolist()]
  assert sorted(pairs) == list(itertools.product(range(1000), range(5)))
  assert all(rows.tolist() == sorted(rows.tolist()) for rows in made.values())
  expected = [
    min(range(5), key=lambda k, ident=ident, texts=texts: reference_share(f"{ident}#{texts[k]}"))
    for ident, texts in captions.items()
  ]
  assert made["test"].tolist() == [[row, k] for row, k in enumerate(expected)]
  assert min(Counter(expected).values()) > 150  # any of the five
  assert 320 < len(made["val"]) < 480  # a tenth of what is left
  assert min(Counter(made["val"][:, 1].tolist()).values()) > 50


def test_images_with_few_captions():
  texts = {"a": "A", "b": "AB", "c": "ABC", "d": "AA", "e": "ABAB", "f": "AAB", "g": "A"}
  captions = {name: tuple(letters) for name, letters in texts.items()}
  made = splits.by_caption(captions, np.arange(len(captions)))
  words: dict[str, list[set[str]]] = {name: [set() for _ in texts] for name in made}
  for name, pairs in made.items():
    for row, k in pairs.tolist():
      words[name][row].add(list(texts.values())[row][k])
  # One caption, or one and the same, is no two: such images do not test.
  assert [len(own) for own in words["test"]] == [0, 1, 1, 0, 1, 1, 0]
  for row, letters in enumerate(texts.values()):
    own = [words[name][row] for name in made]
    assert set().union(*own) == set(letters)
    assert sum(map(len, own)) == len(set(letters))  # no words in two splits
  assert sum(map(len, made.values())) == sum(map(len, captions.values()))
  with pytest.raises(UserError, match="two captions or more: take 'image'"):
    splits.by_caption({"a": ("one",), "b": ("two", "Two .")}, np.arange(2))


def test_the_same_words_of_the_same_image_stay_together():
  captions = {str(i): ("A dog runs .", "a cat", "a dog runs.", "A  DOG, runs") for i in range(60)}
  made = splits.by_caption(captions, np.arange(60) // 2 * 2)  # each has a copy of itself
  places = {(row, k): name for name in made for row, k in made[name].tolist()}
  for row in range(60):
    assert places[row, 0] == places[row, 2] == places[row, 3]
    assert [places[row, k] for k in range(4)] == [places[row // 2 * 2, k] for k in range(4)]
  assert {places[row, 0] for row in range(60)} >= {"train", "test"}


@pytest.mark.parametrize("num_folds", [2, 5])
def test_over_all_folds_every_image_tests_once(num_folds):
  facts, groups = make_facts(300), in_threes(300)
  tested = []
  for fold in range(num_folds):
    made = splits.by_fold(facts, groups, fold, num_folds)
    partition(made, 300)
    assert set(sides(made, groups)) == {1}
    rest = 300 - len(made["test"])
    assert 0.02 < len(made["val"]) / rest < 0.25
    assert abs(len(made["test"]) / 300 - 1 / num_folds) < 0.12
    tested += made["test"].tolist()
  assert sorted(tested) == list(range(300))


@pytest.mark.parametrize("num", [1, 2, 3, 4, 5])
def test_folds_of_few_images(num):
  facts = make_facts(num)
  tested = []
  for fold in range(2):
    in_fold = [int(reference_share(f.image_id) * 2) == fold for f in facts]
    if not any(in_fold) or all(in_fold):
      with pytest.raises(UserError, match=f"fold {fold} of 2 is empty"):
        splits.by_fold(facts, alone(facts), fold, 2)
      continue
    made = splits.by_fold(facts, alone(facts), fold, 2)
    partition(made, num)
    assert made["test"].tolist() == np.flatnonzero(in_fold).tolist()
    assert len(made["train"])
    tested += made["test"].tolist()
  assert sorted(tested) == (list(range(num)) if num > 1 else [])


def write(directory, images, captions=2):
  """Prepared data, as shards."""
  texts = tuple(f"caption {k}" for k in range(captions))
  records = [Record(f"{i:05d}.jpg", x, texts, {}) for i, x in enumerate(images)]
  items = [({x.image.shape[0]: x}, shards.facts_of_generated(x, "")) for x in records]
  size = images[0].shape[0] if images else 8
  written = shards.write_shard(directory, 0, [size], items)
  write_manifest(directory, [written], attribution="", info={}, left_out={})
  return directory


def test_split_and_stored(tmp_path):
  images = [np.asarray(photo(i, 32, 32)) for i in range(12)]
  similar = images[3] // 2 + images[3] // 2
  write(tmp_path, [images[0], *images, similar, similar, 255 - images[3]])
  facts = read_facts(tmp_path)
  groups = splits.near_duplicates(tmp_path, facts)
  assert groups.tolist() == [0, 0, *range(2, 13), 4, 4, 15]
  stored = splits.make(tmp_path, "image")
  expected, _ = splits.by_image(facts, groups)
  for name, entry in stored["splits"].items():
    found = split_files.load(tmp_path, "image", name)
    np.testing.assert_array_equal(found.rows, expected[name])
    assert (entry["images"], entry["captions"]) == (len(found), 2 * len(found))
    assert found.note == ""
  assert splits.make(tmp_path, "caption")["note"] == splits.SHARED_IMAGES
  assert split_files.load(tmp_path, "caption", "test").note == splits.SHARED_IMAGES
  assert splits.make(tmp_path, "kfold:1/2")["splits"].keys() == {"train", "val", "test"}
  assert sorted(split_files.protocols(tmp_path)) == ["caption", "image", "kfold:1/2"]


def test_copies_are_near_duplicates_however_many_images_share_their_hash(tmp_path):
  colours = list(itertools.product((0, 60, 120, 180, 240), repeat=3))[:70]
  images = [np.full((8, 8, 3), colour, np.uint8) for colour in colours]
  write(tmp_path, [*images, images[69], images[5]])
  groups = splits.near_duplicates(tmp_path, read_facts(tmp_path))
  assert groups.tolist() == [*range(70), 69, 5]


@pytest.mark.parametrize(
  "protocol",
  ["imgae", "", "kfold", "kfold:5/5", "kfold:0/1", "kfold:-1/5", "kfold:1/5/", "compositional"],
)
def test_protocols_that_do_not_exist(tmp_path, protocol):
  write(tmp_path, [np.zeros((8, 8, 3), np.uint8)])
  with pytest.raises(UsageError, match=f"protocol '{protocol}': expected image, caption or kfold"):
    splits.make(tmp_path, protocol)
  assert split_files.protocols(tmp_path) == []


def test_no_images_and_no_data(tmp_path):
  write(tmp_path / "data", [])
  with pytest.raises(UserError, match="no images to split"):
    splits.make(tmp_path / "data", "image")
  with pytest.raises(UserError, match="no usable prepared data"):
    splits.make(tmp_path, "image")


def test_a_full_disk_is_the_users_to_mend(tmp_path, monkeypatch):
  def full(*args):
    raise OSError(28, "No space left on device")

  write(tmp_path, [np.asarray(photo(i, 8, 8)) for i in range(5)])
  splits.make(tmp_path, "image")
  monkeypatch.setattr(split_files.np, "save", full)
  with pytest.raises(UserError, match=r"cannot write splits .*No space left"):
    splits.make(tmp_path, "image")
  assert len(split_files.load(tmp_path, "image", "train")) == 3  # those that were there
