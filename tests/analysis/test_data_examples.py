"""Examples of prepared data: which, and what they were before."""

import shutil

import numpy as np
import pytest
from PIL import Image

from jaxt2i.analysis import data_examples, exploration
from jaxt2i.data import prepared
from tests.analysis import sets

PHOTOS = {f"{i}.png": (40 + 50 * i, 60, [f"photo {i}", "of noise"]) for i in range(12)}


@pytest.fixture
def src(tmp_path):
  return sets.save_photos(tmp_path / "src", PHOTOS)


@pytest.fixture
def data(src, tmp_path):
  return sets.prepare(src, tmp_path / "data")


def choose(data):
  return data_examples.choose(exploration.explore(data), data)


def test_eight_with_the_photo_as_it_was_and_as_it_is(data, src):
  chosen = choose(data)
  assert chosen.why == ""
  assert len({item.image_id for item in chosen.items}) == 8
  stored = {record.image_id: record.image for record in prepared.Rows(data, 64)}
  for item in chosen.items:
    assert (item.width, item.height, list(item.captions)) == PHOTOS[item.image_id]
    np.testing.assert_array_equal(item.after, stored[item.image_id])
    assert max(item.before.shape) == min(256, max(item.width, item.height))
    if item.width <= 256:
      np.testing.assert_array_equal(item.before, np.asarray(Image.open(src / item.image_id)))
  assert {"test", "train", "val"} >= {name for item in chosen.items for name in item.splits}


def test_the_same_whichever_splits_they_are_in(data):
  first = [item.image_id for item in choose(data).items]
  assert first == [item.image_id for item in choose(data).items]
  # Were they chosen by the hash that splits them, all would be tests.
  assert len({name for item in choose(data).items for name in item.splits}) > 1


def test_without_the_source_only_what_is_left(data, src):
  shutil.rmtree(src)
  chosen = choose(data)
  assert all(item.before is None for item in chosen.items)
  assert "cannot be read any more" in chosen.why
  assert "does not exist" in chosen.why


def test_changed_and_removed_photos_are_not_shown(data, src):
  first, second, *others = (item.image_id for item in choose(data).items)
  Image.new("RGB", (9, 9)).save(src / first)
  (src / second).unlink()
  chosen = choose(data)
  missing = {item.image_id for item in chosen.items if item.before is None}
  assert missing == {first, second}
  assert chosen.why.startswith("2 of these 8 photos are no longer what they were")
  (src / others[0]).write_bytes(b"no image")
  assert choose(data).why.startswith("3 of these 8")


def test_generated_images_have_no_photo(tmp_path):
  toy = sets.generated(tmp_path / "toy", {"test": {"a": ["one"]}})
  chosen = choose(toy)
  assert [(item.image_id, item.before, item.splits) for item in chosen.items] == [
    ("a", None, ("test",))
  ]
  assert "drawn by the program" in chosen.why


def test_data_that_does_not_say_where_it_is_from(tmp_path):
  toy = sets.generated(tmp_path / "toy", {"train": {"a": ["one"]}}, info={"name": "captions"})
  assert "does not say where" in choose(toy).why
