"""The judge of `shapes` pictures: right on real renderings, and wrong is called wrong."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from jaxt2i.data.shapes import COLOURS, Scene, SceneObject, Shapes, coverage, draw
from jaxt2i.errors import UserError
from jaxt2i.evaluators.shapes import SCORES, UNCLEAR, judge, judge_accuracy, score

SCENE = Scene(SceneObject("large", "red", "star"), SceneObject("small", "blue", "heart"), "left of")
NOTHING_RIGHT = dict.fromkeys(SCORES, False)


def attributes(scene):
  return dataclasses.asdict(scene)


def picture(scene, image_size=64):
  """`scene` in the plainest layout."""
  low, high = 0.25 * image_size, 0.72 * image_size
  middle = 0.5 * image_size
  centres = {
    "left of": ((low, middle), (high, middle)),
    "right of": ((high, middle), (low, middle)),
    "above": ((middle, low), (middle, high)),
    "below": ((middle, high), (middle, low)),
  }
  return draw(scene, centres[scene.relation], image_size)


def change(scene, which, **labels):
  return dataclasses.replace(scene, **{which: dataclasses.replace(getattr(scene, which), **labels)})


@pytest.fixture(scope="module")
def records():
  shapes = Shapes(image_size=64, num_train=1, num_val=1, num_test=1, seed=11)
  return [shapes.record(split, i) for split in ("val", "compositional") for i in range(100)]


def softened(records, sigma, noise):
  rng = np.random.default_rng(0)
  for record in records:
    image = ndimage.gaussian_filter(record.image.astype(np.float64), (sigma, sigma, 0))
    image = (image + noise * rng.normal(size=image.shape)).clip(0, 255).astype(np.uint8)
    yield dataclasses.replace(record, image=image)


def test_accuracy_on_real_renderings(records):
  accuracy = judge_accuracy(records)
  assert set(accuracy) == set(SCORES)
  assert min(accuracy.values()) >= 0.98


@pytest.mark.parametrize(("sigma", "noise"), [(1.0, 0), (1.0, 15), (0.0, 25)])
def test_accuracy_on_blurred_and_noisy_renderings(records, sigma, noise):
  assert min(judge_accuracy(softened(records[::5], sigma, noise)).values()) >= 0.98


@pytest.mark.parametrize("image_size", [32, 128])
def test_accuracy_at_other_sizes(image_size):
  shapes = Shapes(image_size=image_size, num_train=1, num_val=1, num_test=1, seed=12)
  accuracy = judge_accuracy(shapes.record("compositional", i) for i in range(10))
  assert min(accuracy.values()) == 1


def test_accuracy_counts_mistakes(records):
  wrong = dataclasses.replace(records[1], image=np.full_like(records[1].image, 255))
  expected = dict.fromkeys(SCORES, 0.5)
  assert judge_accuracy([records[0], wrong]) == expected


def test_accuracy_over_nothing_is_refused():
  with pytest.raises(UserError, match="0 records"):
    judge_accuracy([])


def test_judge_reads_from_the_left_or_from_above():
  assert judge(picture(SCENE)) == SCENE
  below = dataclasses.replace(SCENE, relation="below")
  assert judge(picture(below)) == below.mirrored()


def test_a_scene_and_its_mirror_are_the_same_truth():
  for scene in (SCENE, dataclasses.replace(SCENE, relation="below")):
    for truth in (scene, scene.mirrored()):
      assert score(picture(scene), attributes(truth)) == dict.fromkeys(SCORES, True)


@pytest.mark.parametrize("which", ["first", "second"])
@pytest.mark.parametrize(
  ("label", "value", "failing"),
  [
    *[("colour", colour, "colours") for colour in ("yellow", "purple", "black")],
    *[("shape", shape, "shapes") for shape in ("circle", "square", "triangle", "cross")],
  ],
)
def test_one_changed_label_fails_alone(which, label, value, failing):
  result = score(picture(change(SCENE, which, **{label: value})), attributes(SCENE))
  assert {name for name, right in result.items() if not right} == {failing, "everything"}


@pytest.mark.parametrize(("which", "size"), [("first", "small"), ("second", "large")])
def test_changed_size_fails_alone(which, size):
  result = score(picture(change(SCENE, which, size=size)), attributes(SCENE))
  assert {name for name, right in result.items() if not right} == {"sizes", "everything"}


@pytest.mark.parametrize("relation", ["right of", "above", "below"])
def test_changed_relation_fails_alone(relation):
  result = score(picture(dataclasses.replace(SCENE, relation=relation)), attributes(SCENE))
  assert {name for name, right in result.items() if not right} == {"relation", "everything"}


def test_swapped_colours_are_not_forgiven():
  """Red star and blue heart drawn as blue star and red heart: bound wrongly, so wrong."""
  drawn = change(change(SCENE, "first", colour="blue"), "second", colour="red")
  result = score(picture(drawn), attributes(SCENE))
  assert {name for name, right in result.items() if not right} == {"colours", "everything"}


def test_blank_pictures_show_nothing():
  for value in (255, 0, 128):
    image = np.full((64, 64, 3), value, np.uint8)
    assert judge(image) is None
    assert score(image, attributes(SCENE)) == NOTHING_RIGHT


def test_one_object_or_three_are_not_two():
  image = picture(SCENE)
  one = image.copy()
  one[:, 34:] = 255
  assert score(one, attributes(SCENE)) == NOTHING_RIGHT
  three = image.copy()
  three[50:60, 28:38] = COLOURS["green"]
  assert score(three, attributes(SCENE)) == NOTHING_RIGHT


def test_specks_are_no_objects():
  image = picture(SCENE)
  image[2:5, 30:33] = COLOURS["green"]
  assert judge(image) == SCENE


def test_a_foreign_colour_is_unclear():
  teal = np.asarray((30, 200, 200))
  covered = coverage("star", (16.0, 32.0), 25.0, 64)[..., None]
  image = picture(SCENE)
  image[:, :32] = (255 - covered * (255 - teal))[:, :32].astype(np.uint8)
  seen = judge(image)
  assert seen is not None
  assert seen.first.colour == UNCLEAR
  assert seen.second == SCENE.second
  result = score(image, attributes(SCENE))
  assert {name for name, right in result.items() if not right} == {"colours", "everything"}


def test_a_shapeless_object_is_unclear():
  image = picture(SCENE)
  image[:, :32] = 255
  image[30:33, 2:30] = COLOURS["red"]  # a bar
  seen = judge(image)
  assert seen is not None
  assert seen.first.shape == UNCLEAR
  assert not score(image, attributes(SCENE))["shapes"]
