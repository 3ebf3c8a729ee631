"""What is said of scenes: grammatical, unambiguous, and in one split only."""

import dataclasses
import itertools
import json
import re
from collections import Counter

import numpy as np
import pytest

from jaxt2i.data.scenes import (
  BACKGROUNDS,
  COLOURS,
  HELD_OUT,
  OPPOSITES,
  POSITIONS,
  RELATIONS,
  SHAPES,
  SIZES,
  Scene,
  SceneObject,
  split_of,
)

STAR = SceneObject("large", "red", "star")
HEART = SceneObject("small", "blue", "heart")
CROSS = SceneObject("small", "green", "cross")


def far_apart(palette):
  colours = np.asarray(list(palette.values()), np.float64)
  apart = np.linalg.norm(colours[:, None] - colours, axis=-1)
  return apart[np.triu_indices(len(colours), 1)].min()


def test_captions_of_one_object():
  assert Scene((STAR,), "upper left", "white").captions() == (
    "large red star in the upper left",
    "a large red star in the upper left",
    "a large red star in the top left",
  )
  assert Scene((STAR,), "centre", "light blue").captions() == (
    "large red star in the centre on light blue",
    "a large red star in the centre on light blue",
    "a large red star in the middle on a light blue background",
  )


def test_captions_of_two_objects():
  scene = Scene((STAR, HEART), "left of", "white")
  assert scene.captions() == (
    "large red star left of small blue heart",
    "a large red star left of a small blue heart",
    "a large red star with a small blue heart to its right",
  )
  above = dataclasses.replace(scene, place="above")
  assert above.captions()[1:] == (
    "a large red star above a small blue heart",
    "a large red star with a small blue heart below it",
  )
  assert dataclasses.replace(above, background="grey").captions() == (
    "large red star above small blue heart on grey",
    "a large red star above a small blue heart on grey",
    "a large red star with a small blue heart below it on a grey background",
  )


def test_captions_of_three_objects():
  scene = Scene((HEART, STAR, CROSS), "left of", "pink")
  assert scene.captions() == (
    "small blue heart left of large red star left of small green cross on pink",
    "a small blue heart left of a large red star left of a small green cross on pink",
    "a small blue heart, a large red star and a small green cross from left to right on a pink "
    "background",
  )
  above = dataclasses.replace(scene, place="above", background="white")
  assert above.captions()[0] == "small blue heart above large red star above small green cross"
  assert above.captions()[2].endswith(" from top to bottom")


def test_every_noun_phrase_begins_with_a_consonant():
  """Captions say "a", never "an"."""
  for word in (*SIZES, *BACKGROUNDS):
    assert word[0] not in "aeiou"


def test_different_scenes_have_different_captions():
  twos = [Scene((STAR, HEART), r, b) for r in RELATIONS for b in BACKGROUNDS]
  threes = [Scene((HEART, STAR, CROSS), r, b) for r in RELATIONS for b in BACKGROUNDS]
  ones = [Scene((STAR,), p, b) for p in POSITIONS for b in BACKGROUNDS]
  said = Counter(caption for scene in (*ones, *twos, *threes) for caption in scene.captions())
  assert len(said) == 3 * (20 + 8 + 8)
  assert all(re.fullmatch(r"[a-z ,]+", caption) for caption in said)


@pytest.mark.parametrize(
  "scene",
  [
    Scene((STAR,), "lower right", "grey"),
    Scene((STAR, HEART), "above", "white"),
    Scene((HEART, STAR, CROSS), "left of", "pink"),
  ],
)
def test_attributes_are_json_and_lead_back(scene):
  assert Scene.from_attributes(json.loads(json.dumps(scene.attributes()))) == scene


def test_attributes_name_objects_and_place():
  star = {"size": "large", "colour": "red", "shape": "star"}
  heart = {"size": "small", "colour": "blue", "shape": "heart"}
  assert Scene((STAR,), "centre", "grey").attributes() == {
    "first": star,
    "position": "centre",
    "background": "grey",
  }
  assert Scene((STAR, HEART), "above", "white").attributes() == {
    "first": star,
    "second": heart,
    "relation": "above",
    "background": "white",
  }


def test_a_mirrored_scene_is_told_from_its_last_object():
  star_heart = Scene((STAR, HEART), "left of", "grey")
  assert star_heart.mirrored() == Scene((HEART, STAR), "right of", "grey")
  column = Scene((STAR, HEART, CROSS), "above", "white")
  assert column.mirrored() == Scene((CROSS, HEART, STAR), "below", "white")
  assert column.mirrored().mirrored() == column
  alone = Scene((STAR,), "centre", "white")
  assert alone.mirrored() == alone
  assert all(OPPOSITES[OPPOSITES[relation]] == relation for relation in OPPOSITES)


def test_each_colour_and_each_shape_is_held_out_once():
  assert sorted(colour for colour, _ in HELD_OUT) == sorted(COLOURS)
  assert sorted(shape for _, shape in HELD_OUT) == sorted(SHAPES)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_one_held_out_pair_makes_a_scene_compositional(position):
  things = [STAR, HEART, CROSS]
  assert split_of(Scene(tuple(things), "above", "grey")) != "compositional"
  things[position] = SceneObject("small", "red", "heart")
  for count in range(position + 1, 4):
    place = "centre" if count == 1 else "above"
    assert split_of(Scene(tuple(things[:count]), place, "grey")) == "compositional"


def test_a_tenth_of_the_statements_is_kept_for_val():
  things = [SceneObject(*words) for words in itertools.product(SIZES, ("red", "blue"), SHAPES)]
  for count, places in ((1, POSITIONS), (2, RELATIONS), (3, RELATIONS)):
    few = things[::2] if count == 3 else things
    scenes = [
      Scene(told, p, "white") for told in itertools.permutations(few, count) for p in places
    ]
    found = Counter(split_of(scene) for scene in scenes)
    assert 0.05 < found["val"] / (found["val"] + found["train"]) < 0.15


def test_a_statement_is_in_the_same_split_on_every_background():
  for told in itertools.permutations((STAR, HEART, CROSS), 2):
    for relation in RELATIONS:
      assert len({split_of(Scene(told, relation, b)) for b in BACKGROUNDS}) == 1


def test_colours_can_be_told_apart_and_from_backgrounds():
  assert far_apart(COLOURS) > 140
  assert far_apart(BACKGROUNDS) > 65
  for rgb, background in itertools.product(COLOURS.values(), BACKGROUNDS.values()):
    assert np.linalg.norm(np.subtract(rgb, background)) > 140


def test_the_lowest_channel_says_how_much_is_covered():
  """What the judge relies on: see COLOURS."""
  assert {min(rgb) for rgb in COLOURS.values()} == {30}
  assert min(map(min, BACKGROUNDS.values())) > 150
