"""DiffAugment against NumPy: the draws are found from the outcome, then everything must follow."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i.errors import UsageError
from jaxt2i.models.diffaugment import DiffAugment
from tests.arrays import normal

KEY = jax.random.key(0)
IMAGES = 0.5 * normal(0, 64, 12, 10, 3) + 0.1  # none of whose pixels is 0
COLOR, TRANSLATION, CUTOUT = (
  DiffAugment(1.0, 0.0, 0.0),
  DiffAugment(0.0, 0.25, 0.0),
  DiffAugment(0.0, 0.0, 0.5),
)
ALL = DiffAugment(1.0, 0.125, 0.5)


@functools.partial(jax.jit, static_argnums=0)
def changed(augment, key, images):
  return augment(key, images)


def in_numpy(augment, images=IMAGES, key=KEY):
  outcome = np.asarray(changed(augment, key, images), np.float64)
  return np.asarray(images, np.float64), outcome


def test_at_zero_strength_nothing_changes():
  out = changed(DiffAugment(0.0, 0.0, 0.0), KEY, IMAGES)
  np.testing.assert_array_equal(out, IMAGES)


def test_colour_is_brightness_then_saturation_then_contrast():
  images, out = in_numpy(COLOR)
  brightness, saturation, contrast = [], [], []
  for x, y in zip(images, out, strict=True):
    grey_x, grey_y = x.mean(2), y.mean(2)
    # Saturation keeps greys, contrast the mean: the mean gives brightness, greys give contrast.
    b = y.mean() - x.mean()
    c = np.std(grey_y) / np.std(grey_x)
    s = np.vdot(y - grey_y[..., None], x - grey_x[..., None]) / (
      c * np.sum((x - grey_x[..., None]) ** 2)
    )
    z = x + b
    z = z.mean(2, keepdims=True) + s * (z - z.mean(2, keepdims=True))
    z = z.mean() + c * (z - z.mean())
    np.testing.assert_allclose(y, z, atol=1e-5)
    for values, value in zip((brightness, saturation, contrast), (b, s, c), strict=True):
      values.append(value)
  # Uniform over the paper's ranges: 64 draws come near both ends and fill the middle.
  for values, low, high in ((brightness, -0.5, 0.5), (saturation, 0, 2), (contrast, 0.5, 1.5)):
    assert low - 1e-4 < min(values) < low + 0.1 * (high - low)
    assert high - 0.1 * (high - low) < max(values) < high + 1e-4
    assert abs(np.mean(values) - (low + high) / 2) < 0.12 * (high - low)


def test_translation_moves_by_whole_pixels_and_fills_with_grey():
  images, out = in_numpy(TRANSLATION)
  rows, columns = 3, 2  # a quarter of 12 and of 10, rounded to even
  found = []
  for x, y in zip(images, out, strict=True):
    padded = np.pad(x, ((rows, rows), (columns, columns), (0, 0)))
    places = itertools.product(range(2 * rows + 1), range(2 * columns + 1))
    matches = [(i, j) for i, j in places if np.array_equal(y, padded[i : i + 12, j : j + 10])]
    assert len(matches) == 1
    found += matches
  assert {i for i, _ in found} == set(range(2 * rows + 1))
  assert {j for _, j in found} == set(range(2 * columns + 1))
  assert len(set(found)) > 15  # the axes draw for themselves: 35 places


def test_cutout_blanks_a_square_that_may_stick_out():
  images, out = in_numpy(CUTOUT)
  height, width = 6, 5  # half of 12 and of 10
  tops, lefts = set(), set()
  for x, y in zip(images, out, strict=True):
    blank = np.all(y == 0, axis=2)
    np.testing.assert_array_equal(y[~blank], x[~blank])
    i, j = np.flatnonzero(blank.any(1)), np.flatnonzero(blank.any(0))
    assert blank[i[0] : i[-1] + 1, j[0] : j[-1] + 1].all()
    assert blank.sum() == len(i) * len(j)
    # Whole, unless it lies at an edge; a middle within the image leaves at least half of it.
    for at, size, side in ((i, height, 12), (j, width, 10)):
      assert size // 2 <= len(at) <= size
      assert len(at) == size or at[0] == 0 or at[-1] == side - 1
    tops.add(i[0])
    lefts.add(j[0])
  assert len(tops) > 5
  assert len(lefts) > 5


@pytest.mark.parametrize("augment", [COLOR, TRANSLATION, CUTOUT, ALL])
def test_each_image_has_a_draw_of_its_own_and_keeps_it_whatever_the_others_are(augment):
  same = jnp.broadcast_to(IMAGES[:1], IMAGES.shape)
  _, out = in_numpy(augment, same)
  assert len(np.unique(out.reshape(len(out), -1), axis=0)) > 15
  others = same.at[1:].set(IMAGES[1:])
  np.testing.assert_array_equal(in_numpy(augment, others)[1][0], out[0])
  assert not np.array_equal(in_numpy(augment, same, jax.random.key(1))[1], out)


@pytest.mark.parametrize("augment", [COLOR, TRANSLATION, CUTOUT, ALL])
def test_gradients_are_those_of_finite_differences(augment):
  # All three are affine in the image for given draws: a difference is exact but for rounding.
  x, direction, weights = IMAGES[:4], normal(1, 4, 12, 10, 3), normal(2, 4, 12, 10, 3)
  total = jax.jit(lambda x: jnp.sum(weights * augment(KEY, x)))
  gradient = np.asarray(jax.jit(jax.grad(total))(x))
  difference = (total(x + direction) - total(x - direction)) / 2
  np.testing.assert_allclose(np.vdot(gradient, direction), difference, rtol=1e-3)
  assert np.all(np.abs(gradient).max(axis=(1, 2, 3)) > 0.1)


def test_what_is_blanked_gets_no_gradient_and_the_rest_all_of_it():
  gradient = np.asarray(jax.grad(lambda x: jnp.sum(CUTOUT(KEY, x)))(IMAGES))
  blank = np.asarray(changed(CUTOUT, KEY, IMAGES)) == 0
  np.testing.assert_array_equal(gradient, ~blank)


def test_strength_scales_the_range():
  images, out = in_numpy(DiffAugment(0.2, 0.0, 0.0))
  moved = np.abs(out.mean(axis=(1, 2, 3)) - images.mean(axis=(1, 2, 3)))
  assert 0.08 < moved.max() < 0.1 + 1e-5


@pytest.mark.parametrize("name", ["color", "translation", "cutout"])
@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_shares_outside_of_their_range_are_refused(name, value):
  with pytest.raises(UsageError, match=rf"augment\.{name} is {value}: must be from 0 to 1"):
    DiffAugment(**{"color": 0.0, "translation": 0.0, "cutout": 0.0} | {name: value})
