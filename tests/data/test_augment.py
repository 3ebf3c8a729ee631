import dataclasses
import pickle

import numpy as np
import pytest

from jaxt2i.data.augment import Augmentation, flipped
from jaxt2i.errors import UserError

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (6, 8, 3)).astype(np.uint8)
GREY = np.broadcast_to(RNG.integers(0, 256, (6, 8, 1)).astype(np.uint8), (6, 8, 3))
ALL = Augmentation(flip=True, crop=2, jitter=0.3)


def many(augmentation, num=200, image=IMAGE):
  return np.stack([augmentation(image, np.random.default_rng(i)) for i in range(num)])


def test_all_off_gives_the_image_itself():
  rng = np.random.default_rng(3)
  assert Augmentation()(IMAGE, rng) is IMAGE
  assert rng.random() == np.random.default_rng(3).random()  # and draws nothing


def test_same_generator_same_image():
  np.testing.assert_array_equal(many(ALL), many(ALL))
  np.testing.assert_array_equal(many(pickle.loads(pickle.dumps(ALL))), many(ALL))
  assert len({image.tobytes() for image in many(ALL)}) == 200


@pytest.mark.parametrize("options", [{"flip": True}, {"crop": 2}, {"jitter": 0.3}])
def test_form_is_kept_and_the_input_too(options):
  before = IMAGE.copy()
  IMAGE.setflags(write=False)  # as records are
  images = many(Augmentation(**options))
  assert images.dtype == np.uint8
  assert images.shape == (200, 6, 8, 3)
  np.testing.assert_array_equal(IMAGE, before)
  assert len({image.tobytes() for image in images}) > 1


def test_flips_every_other_image():
  images = many(Augmentation(flip=True), 400)
  as_it_is = (images == IMAGE).all((1, 2, 3))
  mirrored = (images == IMAGE[:, ::-1]).all((1, 2, 3))
  assert (as_it_is ^ mirrored).all()
  assert 160 < mirrored.sum() < 240  # four standard deviations


def test_flips_whole_batches():
  images = np.stack([IMAGE, 255 - IMAGE])
  np.testing.assert_array_equal(flipped(images), images[:, :, ::-1])
  np.testing.assert_array_equal(flipped(flipped(images)), images)
  assert flipped(IMAGE).flags.c_contiguous


def test_shifts_repeat_the_edge():
  rows, columns = np.mgrid[:6, :8]
  expected = {
    IMAGE[np.clip(rows + y, 0, 5), np.clip(columns + x, 0, 7)].tobytes(): (y, x)
    for y in range(-2, 3)
    for x in range(-2, 3)
  }
  shifts = [expected[image.tobytes()] for image in many(Augmentation(crop=2), 500)]
  assert set(shifts) == set(expected.values())  # every one of the 25, the ends included


def test_shifts_beyond_the_image_leave_its_edge():
  images = many(Augmentation(crop=50))
  assert set(images.reshape(-1, 3).view("u1,u1,u1").ravel().tolist()) <= set(
    IMAGE.reshape(-1, 3).view("u1,u1,u1").ravel().tolist()
  )


class Fixed(np.random.Generator):
  """Draws the numbers it is given."""

  def __init__(self, *numbers):
    super().__init__(np.random.PCG64(0))
    self._numbers = np.array(numbers)

  def uniform(self, low, high, size):
    assert size == len(self._numbers)
    return low + (high - low) * self._numbers


def jittered(image, brightness, contrast, saturation, jitter=0.5):
  # 0 is the lowest factor, 1 - jitter, and 1 the highest.
  return Augmentation(jitter=jitter)(image, Fixed(brightness, contrast, saturation))


def test_jitter_in_the_middle_changes_nothing():
  np.testing.assert_array_equal(jittered(IMAGE, 0.5, 0.5, 0.5), IMAGE)


def test_brightness_multiplies():
  np.testing.assert_array_equal(jittered(IMAGE, 0, 0.5, 0.5), np.rint(IMAGE * 0.5))
  bright = jittered(IMAGE, 1, 0.5, 0.5)
  np.testing.assert_array_equal(bright, np.minimum(255, np.rint(IMAGE * 1.5)))


def test_contrast_keeps_the_mean():
  flat = jittered(GREY, 0.5, 0, 0.5, jitter=1.0)  # factor 0
  assert (flat == round(float(GREY.mean()))).all()
  half = jittered(GREY, 0.5, 0, 0.5).astype(float)
  np.testing.assert_allclose(half, GREY.mean() + (GREY - GREY.mean()) / 2, atol=0.51)


def test_saturation_goes_from_grey_to_loud():
  grey = jittered(IMAGE, 0.5, 0.5, 0, jitter=1.0)
  np.testing.assert_array_equal(grey, np.repeat(grey[..., :1], 3, -1))
  np.testing.assert_allclose(grey[..., 0], IMAGE @ [0.299, 0.587, 0.114], atol=0.51)
  loud = jittered(IMAGE, 0.5, 0.5, 1)
  assert np.ptp(loud, -1).mean() > np.ptp(IMAGE, -1).mean()
  np.testing.assert_array_equal(jittered(GREY, 0.5, 0.5, 1), GREY)  # grey has no colour to gain


def test_jitter_stays_within_its_range():
  values = many(Augmentation(jitter=0.1), image=np.full((6, 8, 3), 100, np.uint8))
  assert values.min() >= 90
  assert values.max() <= 110
  assert {91, 109} <= set(values.ravel())


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"crop": -1}, "augment.crop -1: expected 0 pixels or more"),
    ({"jitter": -0.1}, "augment.jitter -0.1: expected a number from 0 to 1"),
    ({"jitter": 1.5}, "augment.jitter 1.5"),
    ({"jitter": float("nan")}, "augment.jitter nan"),
  ],
)
def test_values_that_make_no_sense(options, message):
  with pytest.raises(UserError, match=message):
    Augmentation(**options)


def test_is_frozen():
  with pytest.raises(dataclasses.FrozenInstanceError):
    ALL.crop = 3
