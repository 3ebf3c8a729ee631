"""Procedural scenes: the picture is what the labels say, and what is held out stays out."""

import hashlib
import itertools
import json
import re
from collections import Counter

import numpy as np
import pytest
from scipy import ndimage

from jaxt2i.data.scenes import (
  BACKGROUNDS,
  COLOURS,
  HELD_OUT,
  ORDINALS,
  POSITIONS,
  RELATIONS,
  SHAPES,
  SIZES,
  Scene,
)
from jaxt2i.data.shapes import Shapes, coverage
from jaxt2i.errors import UserError

COUNTS = {"num_train": 600, "num_val": 200, "num_test": 200}
OPTIONS = {"image_size": 64, "seed": 3, "objects": (2,), "backgrounds": ("white",)} | COUNTS
WORLD = OPTIONS | {"objects": (1, 2, 3), "backgrounds": tuple(BACKGROUNDS)}
# Of seed 0, train.
EXPECTED_CAPTIONS = [
  "small yellow circle above large purple cross",
  "large green star left of large red square",
  "small green heart above small blue square",
]
EXPECTED_SUMS = [2987132, 2864460, 3011720]
# Sha256 of image id, captions, `first`, `second`, `relation` and pixels of 20 records a split,
# of seed 0, two objects on white, from before there were other counts and backgrounds.
EXPECTED_HASHES = {
  "train": "f203be809a5261f88f07a8171920f1e65bd24b8695ec969c4f66c0bfb9dafcc4",
  "val": "4b8a04fed59aa7c9b802616ec9de4ec9a5c3d49e622341264442d060a2e538a0",
  "compositional": "77ad785ca7ab0e097737369d0de2e713a976726274bba4e6b2ca9139c0bd1fd3",
}


@pytest.fixture(scope="module")
def splits():
  return {name: list(records) for name, records in Shapes(**OPTIONS).splits().items()}


@pytest.fixture(scope="module")
def world():
  return {name: list(records) for name, records in Shapes(**WORLD).splits().items()}


@pytest.fixture(params=["two on white", "world"])
def either(request, splits, world):
  return world if request.param == "world" else splits


def objects(record):
  return [record.attributes[which] for which in ORDINALS if which in record.attributes]


def pairs(records):
  return Counter((o["colour"], o["shape"]) for record in records for o in objects(record))


def statement(record):
  return Scene.from_attributes(record.attributes)


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


def test_captions_state_the_attributes(either):
  for record in itertools.chain(*either.values()):
    attributes = record.attributes
    names = [f"{o['size']} {o['colour']} {o['shape']}" for o in objects(record)]
    end = "" if attributes["background"] == "white" else f" on {attributes['background']}"
    if len(names) == 1:
      assert record.captions[0] == f"{names[0]} in the {attributes['position']}{end}"
    else:
      assert record.captions[0] == f" {attributes['relation']} ".join(names) + end
    assert all(name in caption for name in names for caption in record.captions)
    assert json.loads(json.dumps(attributes)) == attributes


def check_place(record):
  centres = np.asarray([thing["centre"] for thing in objects(record)])
  if len(centres) == 1:
    nudge = centres[0] / 64 - POSITIONS[record.attributes["position"]]
    assert set(np.abs(nudge)) <= {0, 1 / 32}
    return
  along, across = np.diff(centres, axis=0).T
  if record.attributes["relation"] == "above":
    along, across = across, along
  assert not across.any()
  assert along.tolist() == [32] if len(centres) == 2 else (along >= 18).all()


def test_the_drawn_is_what_the_attributes_say(either):
  """Separate whole objects; colour at each centre, extent by size, relation along one axis."""
  for record in itertools.chain(*either.values()):
    background = BACKGROUNDS[record.attributes["background"]]
    labels, count = ndimage.label((record.image != background).any(-1), np.ones((3, 3)))
    assert count == len(objects(record))
    assert not any(labels[edge].any() for edge in (0, -1)), "an object is cut off"
    assert not any(labels[:, edge].any() for edge in (0, -1)), "an object is cut off"
    for thing in objects(record):
      x, y = thing["centre"]
      assert tuple(record.image[int(y), int(x)]) == COLOURS[thing["colour"]]
      rows, columns = np.nonzero(labels == labels[int(y), int(x)])
      side = SIZES[thing["size"]] * 64
      assert 0.8 * side < np.ptp(columns) + 1 < side + 2
      assert 0.8 * side < np.ptp(rows) + 1 < side + 2
    check_place(record)


def test_counts_and_backgrounds_are_equally_often_in_every_split(world):
  for records in world.values():
    counts = Counter(len(objects(record)) for record in records)
    assert set(counts) == {1, 2, 3}
    assert min(counts.values()) > 0.75 * len(records) / 3
    grounds = Counter(record.attributes["background"] for record in records)
    assert set(grounds) == set(BACKGROUNDS)
    assert min(grounds.values()) > 0.7 * len(records) / 4


def test_only_what_was_asked_for():
  shapes = Shapes(**OPTIONS | {"objects": (3, 1), "backgrounds": ("grey", "pink")})
  records = [shapes.record("train", i) for i in range(40)]
  assert {len(objects(record)) for record in records} == {1, 3}
  assert {record.attributes["background"] for record in records} == {"grey", "pink"}


def test_of_three_objects_one_at_most_is_large(world):
  sizes = {
    tuple(thing["size"] for thing in objects(record))
    for record in itertools.chain(*world.values())
    if len(objects(record)) == 3
  }
  small = ["small"] * 3
  assert sizes == {tuple(small), *(tuple([*small[:i], "large", *small[i + 1 :]]) for i in range(3))}


def test_held_out_pairs_occur_only_in_compositional(either):
  assert not set(HELD_OUT) & (set(pairs(either["train"])) | set(pairs(either["val"])))
  for record in either["compositional"]:
    assert any((o["colour"], o["shape"]) in HELD_OUT for o in objects(record))
  assert set(HELD_OUT) <= set(pairs(either["compositional"]))


def test_all_else_occurs_in_train(splits):
  assert set(pairs(splits["train"])) == set(itertools.product(COLOURS, SHAPES)) - set(HELD_OUT)
  uses = Counter(
    (o["size"], record.attributes["relation"])
    for record in splits["train"]
    for o in objects(record)
  )
  assert set(uses) == set(itertools.product(SIZES, RELATIONS))
  assert min(uses.values()) > 0.8 * 1200 / 4


def test_splits_share_no_statement_and_no_picture(either):
  """Nor a wording, nor a statement that differs in the background alone."""
  told = {
    name: {(s.objects, s.place) for s in map(statement, records)}
    for name, records in either.items()
  }
  worded = {name: {c for r in records for c in r.captions} for name, records in either.items()}
  drawn = {name: {r.image.tobytes() for r in records} for name, records in either.items()}
  for found in (told, worded, drawn):
    for a, b in itertools.combinations(found, 2):
      assert not found[a] & found[b]
  everything = list(itertools.chain(*either.values()))
  assert len({r.image_id for r in everything}) == len(everything)


def same(a, b):
  return (a.image_id, a.captions, a.attributes) == (
    b.image_id,
    b.captions,
    b.attributes,
  ) and np.array_equal(a.image, b.image)


@pytest.mark.parametrize("options", [OPTIONS, WORLD], ids=["two on white", "world"])
def test_a_scene_depends_on_seed_split_and_index_alone(options, splits, world):
  other_counts = Shapes(**options | {"num_train": 1, "num_val": 7, "num_test": 2})
  for split, records in (splits if options is OPTIONS else world).items():
    assert same(other_counts.record(split, 5), records[5])
    other_seed = Shapes(**options | {"seed": 4}).record(split, 5)
    assert not np.array_equal(other_seed.image, records[5].image)
    assert other_seed.image_id == records[5].image_id == f"shapes-{split}-000005"


def test_scenes_are_the_same_in_all_versions():
  """Guards the stream: were it to change, `Shapes.version` would have to go up."""
  records = [Shapes(**OPTIONS | {"seed": 0}).record("train", i) for i in range(3)]
  assert [record.captions[0] for record in records] == EXPECTED_CAPTIONS
  assert [int(record.image.sum()) for record in records] == pytest.approx(EXPECTED_SUMS, rel=1e-4)


def digest(record):
  """Of all that a scene of two objects on white has always had."""
  labels = {name: record.attributes[name] for name in ("first", "second", "relation")}
  words = json.dumps([record.image_id, record.captions, labels], sort_keys=True)
  return hashlib.sha256(words.encode() + record.image.tobytes()).hexdigest()


@pytest.mark.parametrize("split", ["train", "val", "compositional"])
def test_two_objects_on_white_are_what_they_were_before_the_other_scenes(split):
  shapes = Shapes(**OPTIONS | {"seed": 0})
  digests = "".join(digest(shapes.record(split, i)) for i in range(20))
  assert hashlib.sha256(digests.encode()).hexdigest() == EXPECTED_HASHES[split]


def test_fingerprint_follows_the_options():
  assert Shapes(**OPTIONS).fingerprint() == Shapes(**OPTIONS).fingerprint()
  numbers = [name for name in OPTIONS if isinstance(OPTIONS[name], int)]
  changes = [{name: OPTIONS[name] + 1} for name in numbers]
  changes += [{"objects": (1, 2)}, {"backgrounds": ("grey",)}]
  changed = [Shapes(**OPTIONS | change).fingerprint() for change in changes]
  assert len({Shapes(**OPTIONS).fingerprint(), *changed}) == 8


@pytest.mark.parametrize("size", [32, 128])
def test_other_image_sizes_show_the_same_scene(size, world):
  for i in range(10):
    record = Shapes(**WORLD | {"image_size": size}).record("val", i)
    assert record.image.shape == (size, size, 3)
    assert record.captions == world["val"][i].captions
    for thing in objects(record):
      x, y = thing["centre"]
      assert tuple(record.image[int(y), int(x)]) == COLOURS[thing["colour"]]


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
  [
    *[("image_size", 31), ("num_train", 0), ("num_val", -3), ("num_test", True), ("seed", -1)],
    *[("objects", value) for value in ((), (0, 1), (4,), (True,), (2, 2))],
    *[("backgrounds", value) for value in ((), ("blue",), ("grey", "grey"))],
  ],
)
def test_bad_options_are_named(name, value):
  with pytest.raises(UserError, match=re.escape(f"{name}={value!r}")):
    Shapes(**OPTIONS | {name: value})


def test_a_refused_background_is_answered_with_all_there_are():
  with pytest.raises(UserError, match="'white', 'grey', 'pink', 'light blue'"):
    Shapes(**OPTIONS | {"backgrounds": ("lime",)})
