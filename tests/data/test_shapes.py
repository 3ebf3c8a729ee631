"""Procedural scenes: the picture is what the labels say, and what is held out stays out."""

import dataclasses
import itertools
import re
from collections import Counter

import numpy as np
import pytest
from scipy import ndimage

from jaxt2i.data.shapes import (
  COLOURS,
  HELD_OUT,
  RELATIONS,
  SHAPES,
  SIZES,
  Scene,
  SceneObject,
  Shapes,
  coverage,
  split_of,
)
from jaxt2i.errors import UserError

OPTIONS = {"image_size": 64, "num_train": 600, "num_val": 200, "num_test": 200, "seed": 3}
# Of seed 0, train.
EXPECTED_CAPTIONS = [
  "small yellow circle above large purple cross",
  "large green star left of large red square",
  "small green heart above small blue square",
]
EXPECTED_SUMS = [2987132, 2864460, 3011720]


@pytest.fixture(scope="module")
def splits():
  return {name: list(records) for name, records in Shapes(**OPTIONS).splits().items()}


def objects(record):
  return record.attributes["first"], record.attributes["second"]


def pairs(records):
  return Counter((o["colour"], o["shape"]) for record in records for o in objects(record))


def statement(record):
  scene = Scene.from_attributes(record.attributes)
  return scene


def test_counts_and_types(splits):
  assert {name: len(records) for name, records in splits.items()} == {
    "train": 600,
    "val": 200,
    "compositional": 200,
  }
  for record in itertools.chain(*splits.values()):
    assert record.image.shape == (64, 64, 3)
    assert record.image.dtype == np.uint8
    assert len(set(record.captions)) == 3


def test_caption_wordings():
  scene = Scene(
    SceneObject("large", "red", "star"), SceneObject("small", "blue", "heart"), "left of"
  )
  assert scene.captions() == (
    "large red star left of small blue heart",
    "a large red star left of a small blue heart",
    "a large red star with a small blue heart to its right",
  )
  above = dataclasses.replace(scene, relation="above")
  assert above.captions()[1:] == (
    "a large red star above a small blue heart",
    "a large red star with a small blue heart below it",
  )


def test_a_mirrored_scene_is_told_from_its_second_object():
  star, heart = SceneObject("large", "red", "star"), SceneObject("small", "blue", "heart")
  assert Scene(star, heart, "left of").mirrored() == Scene(heart, star, "right of")
  assert Scene(star, heart, "above").mirrored() == Scene(heart, star, "below")
  assert Scene(star, heart, "above").mirrored().mirrored() == Scene(star, heart, "above")


def test_captions_state_the_attributes(splits):
  for record in itertools.chain(*splits.values()):
    first, second = (f"{o['size']} {o['colour']} {o['shape']}" for o in objects(record))
    assert record.captions[0] == f"{first} {record.attributes['relation']} {second}"
    assert all(first in caption and second in caption for caption in record.captions)


def test_the_drawn_is_what_the_attributes_say(splits):
  """Two separate objects; colour at each centre, extent by size, relation along one axis."""
  for record in itertools.chain(*splits.values()):
    labels, count = ndimage.label(record.image.min(-1) < 255, np.ones((3, 3)))
    assert count == 2
    assert not any(labels[edge].any() for edge in (0, -1)), "an object is cut off"
    assert not any(labels[:, edge].any() for edge in (0, -1)), "an object is cut off"
    for thing in objects(record):
      x, y = thing["centre"]
      assert tuple(record.image[int(y), int(x)]) == COLOURS[thing["colour"]]
      rows, columns = np.nonzero(labels == labels[int(y), int(x)])
      side = SIZES[thing["size"]] * 64
      assert 0.8 * side < np.ptp(columns) + 1 < side + 2
      assert 0.8 * side < np.ptp(rows) + 1 < side + 2
    (x0, y0), (x1, y1) = (thing["centre"] for thing in objects(record))
    along, across = x1 - x0, y1 - y0
    if record.attributes["relation"] == "above":
      along, across = across, along
    assert (along, across) == (32, 0)


def test_held_out_pairs_occur_only_in_compositional(splits):
  assert not set(HELD_OUT) & (set(pairs(splits["train"])) | set(pairs(splits["val"])))
  for record in splits["compositional"]:
    assert any((o["colour"], o["shape"]) in HELD_OUT for o in objects(record))
  assert set(HELD_OUT) <= set(pairs(splits["compositional"]))


def test_all_else_occurs_in_train(splits):
  assert set(pairs(splits["train"])) == set(itertools.product(COLOURS, SHAPES)) - set(HELD_OUT)
  uses = Counter(
    (o["size"], record.attributes["relation"])
    for record in splits["train"]
    for o in objects(record)
  )
  assert set(uses) == set(itertools.product(SIZES, RELATIONS))
  assert min(uses.values()) > 0.8 * 1200 / 4


def test_each_colour_and_each_shape_is_held_out_once():
  assert sorted(colour for colour, _ in HELD_OUT) == sorted(COLOURS)
  assert sorted(shape for _, shape in HELD_OUT) == sorted(SHAPES)


def test_splits_share_no_statement_and_no_picture(splits):
  stated = {name: {statement(r) for r in records} for name, records in splits.items()}
  for a, b in itertools.combinations(stated, 2):
    assert not stated[a] & stated[b]
  everything = list(itertools.chain(*splits.values()))
  assert len({r.image_id for r in everything}) == len(everything)
  drawn = {name: {r.image.tobytes() for r in records} for name, records in splits.items()}
  for a, b in itertools.combinations(drawn, 2):
    assert not drawn[a] & drawn[b]


def test_a_tenth_of_the_statements_is_kept_for_val():
  things = [SceneObject(*words) for words in itertools.product(SIZES, ("red", "blue"), SHAPES)]
  scenes = [Scene(a, b, r) for a, b in itertools.permutations(things, 2) for r in RELATIONS]
  found = Counter(split_of(scene) for scene in scenes)
  assert 0.05 < found["val"] / (found["val"] + found["train"]) < 0.15


def same(a, b):
  return (a.image_id, a.captions, a.attributes) == (
    b.image_id,
    b.captions,
    b.attributes,
  ) and np.array_equal(a.image, b.image)


def test_a_scene_depends_on_seed_split_and_index_alone(splits):
  other_counts = Shapes(**OPTIONS | {"num_train": 1, "num_val": 7, "num_test": 2})
  for split, records in splits.items():
    assert same(other_counts.record(split, 5), records[5])
    other_seed = Shapes(**OPTIONS | {"seed": 4}).record(split, 5)
    assert not np.array_equal(other_seed.image, records[5].image)
    assert other_seed.image_id == records[5].image_id == f"shapes-{split}-000005"


def test_scenes_are_the_same_in_all_versions():
  """Guards the stream: were it to change, `Shapes.version` would have to go up."""
  records = [Shapes(**OPTIONS | {"seed": 0}).record("train", i) for i in range(3)]
  assert [record.captions[0] for record in records] == EXPECTED_CAPTIONS
  assert [int(record.image.sum()) for record in records] == pytest.approx(EXPECTED_SUMS, rel=1e-4)


def test_fingerprint_follows_the_options():
  assert Shapes(**OPTIONS).fingerprint() == Shapes(**OPTIONS).fingerprint()
  changed = [Shapes(**OPTIONS | {name: OPTIONS[name] + 1}).fingerprint() for name in OPTIONS]
  assert len({Shapes(**OPTIONS).fingerprint(), *changed}) == 6


@pytest.mark.parametrize("size", [32, 128])
def test_other_image_sizes_show_the_same_scene(size, splits):
  record = Shapes(**OPTIONS | {"image_size": size}).record("val", 2)
  assert record.image.shape == (size, size, 3)
  assert record.captions == splits["val"][2].captions
  x, y = record.attributes["first"]["centre"]
  assert tuple(record.image[int(y), int(x)]) == COLOURS[record.attributes["first"]["colour"]]


def test_coverage_of_known_areas():
  areas = {shape: coverage(shape, (32.3, 31.1), 40.0, 64).sum() / 20**2 for shape in SHAPES}
  assert areas["circle"] == pytest.approx(np.pi * 0.92**2, rel=0.005)
  assert areas["square"] == pytest.approx(1.64**2, rel=0.01)
  assert areas["triangle"] == pytest.approx(1.75, rel=0.01)
  assert areas["cross"] == pytest.approx(2 * 0.68 * 1.9 - 0.68**2, rel=0.01)
  tips = 10 * 0.5 * 0.48 * np.sin(np.pi / 5) * 1.05**2  # ten triangles: centre, tip, notch
  assert areas["star"] == pytest.approx(tips, rel=0.01)


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_symmetric_and_fill_their_box(shape):
  drawn = coverage(shape, (32.0, 32.0), 40.0, 64)
  np.testing.assert_allclose(drawn, drawn[:, ::-1], atol=1e-6)
  rows, columns = np.nonzero(drawn)
  assert rows.min() >= 12
  assert rows.max() <= 51
  assert min(np.ptp(rows), np.ptp(columns)) >= 32


def test_coverage_is_cut_at_the_border():
  half = coverage("square", (0.0, 32.0), 20.0, 64).sum()
  assert half == pytest.approx(coverage("square", (32.0, 32.0), 20.0, 64).sum() / 2, rel=1e-5)
  assert coverage("square", (-30.0, 32.0), 20.0, 64).sum() == 0


@pytest.mark.parametrize(
  ("name", "value"),
  [("image_size", 31), ("num_train", 0), ("num_val", -3), ("num_test", True), ("seed", -1)],
)
def test_bad_options_are_named(name, value):
  with pytest.raises(UserError, match=re.escape(f"{name}={value!r}")):
    Shapes(**OPTIONS | {name: value})
