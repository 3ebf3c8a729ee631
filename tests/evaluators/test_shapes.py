"""The judge of `shapes` pictures: right on real renderings, and wrong is called wrong."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from jaxt2i.data.scenes import BACKGROUNDS, COLOURS, ORDINALS, POSITIONS, Scene, SceneObject
from jaxt2i.data.shapes import Shapes, coverage, draw
from jaxt2i.errors import UserError
from jaxt2i.evaluators.shapes import SCORES, UNCLEAR, judge, judge_accuracy, score, shares

STAR, HEART = SceneObject("large", "red", "star"), SceneObject("small", "blue", "heart")
SCENE = Scene((STAR, HEART), "left of", "white")
ONE = Scene((STAR,), "upper right", "light blue")
ROW = Scene((HEART, STAR, SceneObject("small", "green", "cross")), "left of", "pink")
SCENES = {"one": ONE, "two": SCENE, "three": ROW}
of_each_count = pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
ALWAYS = set(SCORES) - {"relation", "position"}
NOTHING_RIGHT = dict.fromkeys(ALWAYS | {"relation"}, False)
NO_OBJECT_RIGHT = NOTHING_RIGHT | {"background": True}


def picture(scene, image_size=64):
  """`scene` in the plainest layout."""
  if len(scene.objects) == 1:
    points = [POSITIONS[scene.place]]
  else:
    along = [0.25, 0.72] if len(scene.objects) == 2 else [0.17, 0.5, 0.83]
    if scene.place in ("right of", "below"):
      along.reverse()
    across = scene.place in ("above", "below")
    points = [(0.5, place) if across else (place, 0.5) for place in along]
  return draw(scene, [(x * image_size, y * image_size) for x, y in points], image_size)


def change(scene, which, **labels):
  things = list(scene.objects)
  things[which] = dataclasses.replace(things[which], **labels)
  return dataclasses.replace(scene, objects=tuple(things))


def wrong(image, truth):
  """Names of what the judge calls wrong; everything, as soon as anything is."""
  result = score(image, truth.attributes())
  found = {name for name, right in result.items() if not right}
  assert ("everything" in found) == bool(found)
  return found - {"everything"}


def dataset(image_size=64, seed=11, objects=(2,), backgrounds=("white",)):
  return Shapes(
    image_size=image_size,
    num_train=1,
    num_val=1,
    num_test=1,
    seed=seed,
    objects=objects,
    backgrounds=backgrounds,
  )


@pytest.fixture(scope="module")
def records():
  shapes = dataset()
  return [shapes.record(split, i) for split in ("val", "compositional") for i in range(100)]


@pytest.fixture(scope="module")
def world():
  shapes = dataset(objects=(1, 2, 3), backgrounds=tuple(BACKGROUNDS))
  return [shapes.record(split, i) for split in ("val", "compositional") for i in range(100)]


def softened(records, sigma, noise):
  rng = np.random.default_rng(0)
  for record in records:
    image = ndimage.gaussian_filter(record.image.astype(np.float64), (sigma, sigma, 0))
    image = (image + noise * rng.normal(size=image.shape)).clip(0, 255).astype(np.uint8)
    yield dataclasses.replace(record, image=image)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_everything_is_read_off_real_renderings(count, background):
  shapes = dataset(objects=(count,), backgrounds=(background,))
  found = [shapes.record(split, i) for split in ("val", "compositional") for i in range(100)]
  accuracy = judge_accuracy(found)
  assert set(accuracy) == ALWAYS | {"position" if count == 1 else "relation"}
  assert min(accuracy.values()) == 1


@pytest.mark.parametrize(("sigma", "noise"), [(1.0, 0), (1.0, 15), (0.0, 25)])
def test_accuracy_on_blurred_and_noisy_renderings(records, world, sigma, noise):
  assert min(judge_accuracy(softened(records[::5], sigma, noise)).values()) >= 0.98
  assert min(judge_accuracy(softened(world[::2], sigma, noise)).values()) >= 0.98


@pytest.mark.parametrize("image_size", [32, 128])
def test_accuracy_at_other_sizes(image_size):
  shapes = dataset(image_size, 12, (1, 2, 3), tuple(BACKGROUNDS))
  accuracy = judge_accuracy(shapes.record("compositional", i) for i in range(40))
  assert min(accuracy.values()) == 1


def test_accuracy_counts_mistakes(records):
  blank = dataclasses.replace(records[1], image=np.full_like(records[1].image, 255))
  expected = dict.fromkeys(NOTHING_RIGHT, 0.5) | {"background": 1.0}
  assert judge_accuracy([records[0], blank]) == expected


def test_a_share_is_of_the_pictures_that_have_the_score():
  scores = [{"count": True, "position": True}, {"count": False, "relation": False}]
  assert shares(scores) == {"count": 0.5, "position": 1.0, "relation": 0.0}


def test_accuracy_over_nothing_is_refused():
  with pytest.raises(UserError, match="0 records"):
    judge_accuracy([])


@of_each_count
def test_judge_reads_from_the_left_or_from_above(scene):
  assert judge(picture(scene)) == scene
  if len(scene.objects) > 1:
    below = dataclasses.replace(scene, place="below")
    assert judge(picture(below)) == below.mirrored()


@of_each_count
def test_a_scene_and_its_mirror_are_the_same_truth(scene):
  for told in (scene, scene if scene is ONE else dataclasses.replace(scene, place="below")):
    for truth in (told, told.mirrored()):
      assert not wrong(picture(told), truth)


@of_each_count
@pytest.mark.parametrize(
  ("label", "value", "failing"),
  [
    *[("colour", colour, "colours") for colour in ("yellow", "purple", "black")],
    *[("shape", shape, "shapes") for shape in ("circle", "square", "triangle")],
  ],
)
def test_one_changed_label_fails_alone(scene, label, value, failing):
  for which in range(len(scene.objects)):
    assert wrong(picture(change(scene, which, **{label: value})), scene) == {failing}


@of_each_count
def test_changed_size_fails_alone(scene):
  for which, thing in enumerate(scene.objects):
    drawn = change(scene, which, size="small" if thing.size == "large" else "large")
    if scene is not ROW or thing.size == "large":  # there is no room for two large ones in a row
      assert wrong(picture(drawn), scene) == {"sizes"}


@pytest.mark.parametrize("scene", [SCENE, ROW], ids=["two", "three"])
@pytest.mark.parametrize("relation", ["right of", "above", "below"])
def test_changed_relation_fails_alone(scene, relation):
  assert wrong(picture(dataclasses.replace(scene, place=relation)), scene) == {"relation"}


@pytest.mark.parametrize("position", sorted(set(POSITIONS) - {ONE.place}))
def test_changed_position_fails_alone(position):
  assert wrong(picture(dataclasses.replace(ONE, place=position)), ONE) == {"position"}


@of_each_count
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_changed_background_fails_alone(scene, background):
  drawn = picture(dataclasses.replace(scene, background=background))
  assert wrong(drawn, scene) == (set() if background == scene.background else {"background"})


@of_each_count
def test_two_changes_fail_together(scene):
  drawn = change(dataclasses.replace(scene, background="grey"), 0, shape="circle")
  assert wrong(picture(drawn), scene) == {"shapes", "background"}


def test_changes_at_random_fail_alone(world):
  """Another record's labels on a record's objects: wrong is what differs, and nothing else."""
  for record, other in zip(world, world[7:], strict=False):
    said, foreign = (Scene.from_attributes(r.attributes) for r in (record, other))
    drawn = dataclasses.replace(said, background=foreign.background)
    first, colour = said.objects[0], foreign.objects[0].colour
    alike = any((thing.colour, thing.shape) == (colour, first.shape) for thing in said.objects)
    if not alike:
      drawn = change(drawn, 0, colour=colour)
    told = [record.attributes[name] for name in ORDINALS if name in record.attributes]
    centres = [tuple(thing["centre"]) for thing in told]
    expected = {"colours"} if drawn.objects != said.objects else set()
    expected |= {"background"} if drawn.background != said.background else set()
    assert wrong(draw(drawn, centres, 64), said) == expected


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2, 1), (2, 0, 1)])
def test_another_order_of_three_fails_in_the_relation(order):
  drawn = dataclasses.replace(ROW, objects=tuple(ROW.objects[i] for i in order))
  assert wrong(picture(drawn), ROW) == {"relation"}


def test_three_in_no_row_and_no_column_have_no_relation():
  corner = draw(ROW, [(12.0, 12.0), (34.0, 34.0), (52.0, 12.0)], 64)
  seen = judge(corner)
  assert seen is not None
  assert seen.place == UNCLEAR
  assert wrong(corner, ROW) == {"relation"}


def test_swapped_colours_are_not_forgiven():
  """Red star and blue heart drawn as blue star and red heart: bound wrongly, so wrong."""
  drawn = change(change(SCENE, 0, colour="blue"), 1, colour="red")
  assert wrong(picture(drawn), SCENE) == {"colours"}


def test_blank_pictures_show_nothing():
  for value in (255, 190, 0, 128):
    image = np.full((64, 64, 3), value, np.uint8)
    assert judge(image) is None
    expected = NO_OBJECT_RIGHT if value == 255 else NOTHING_RIGHT
    assert score(image, SCENE.attributes()) == expected


def test_another_number_of_objects_has_nothing_right_but_the_background():
  image = picture(SCENE)
  one = image.copy()
  one[:, 34:] = 255
  assert score(one, SCENE.attributes()) == NO_OBJECT_RIGHT
  three = image.copy()
  three[50:60, 28:38] = COLOURS["green"]
  assert score(three, SCENE.attributes()) == NO_OBJECT_RIGHT
  four = three.copy()
  four[4:14, 28:38] = COLOURS["green"]
  assert judge(four) is None
  assert score(four, SCENE.attributes()) == NO_OBJECT_RIGHT


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
  assert seen.objects[0].colour == UNCLEAR
  assert seen.objects[1] == HEART
  assert wrong(image, SCENE) == {"colours"}


def test_a_foreign_background_is_unclear_and_what_stands_on_it_is_judged():
  image = picture(SCENE)
  image[(image == 255).all(-1)] = (190, 255, 190)
  seen = judge(image)
  assert seen is not None
  assert seen.background == UNCLEAR
  assert wrong(image, SCENE) == {"background"}


def test_a_shapeless_object_is_unclear():
  image = picture(SCENE)
  image[:, :32] = 255
  image[30:33, 2:30] = COLOURS["red"]  # a bar
  seen = judge(image)
  assert seen is not None
  assert seen.objects[0].shape == UNCLEAR
  assert not score(image, SCENE.attributes())["shapes"]
