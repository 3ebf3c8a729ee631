"""The perceptual distance: its formula, its gradient, what it minds and what not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxt2i.models.efficientnet import EfficientNetLite0
from jaxt2i.models.perceptual import (
  POOLED,
  SIDE,
  STAGES,
  image_features,
  perceptual_distance,
  pooled,
  resize,
)
from tests.arrays import normal
from tests.features import features, waves

distance = jax.jit(perceptual_distance)


def pair(height=40, width=32):
  a = waves(height, width)
  b = np.clip(a + 0.2 * np.asarray(normal(0, *a.shape)), -1, 1)
  return jnp.asarray(a), jnp.asarray(b)


def test_equals_the_formula_in_numpy():
  a, b = pair()
  enlarged = [resize(x, SIDE) for x in (a, b)]
  assert enlarged[0].shape == (1, 160, 128, 3)
  run = jax.jit(lambda x: EfficientNetLite0().apply({"params": features()}, x).stages)
  of_a, of_b = ([np.asarray(s, np.float64)[0] for s in run(x)] for x in enlarged)
  expected = 0.0
  for stage in STAGES:
    x, y = (f[stage] / np.linalg.norm(f[stage], axis=-1, keepdims=True) for f in (of_a, of_b))
    expected += np.mean([np.sum((x[i] - y[i]) ** 2) for i in np.ndindex(x.shape[:2])])
  assert expected > 0.1
  np.testing.assert_allclose(distance(features(), a, b), [expected], rtol=1e-4)


def test_is_of_each_image_symmetric_and_zero_for_the_same():
  a, b = pair()
  both = distance(features(), jnp.concatenate([a, a]), jnp.concatenate([a, b]))
  assert both.shape == (2,)
  assert float(both[0]) == 0
  np.testing.assert_allclose(both[1:], distance(features(), b, a), rtol=1e-5)


def test_gradient_equals_finite_differences():
  a, b = pair()
  loss = jax.jit(lambda x: perceptual_distance(features(), x, b)[0])
  gradient = jax.jit(jax.grad(loss))(a)
  # Along its own direction float32 leaves enough digits.
  direction = gradient / jnp.linalg.norm(gradient)
  step = jnp.asarray(0.02, jnp.float32)
  slope = (loss(a + step * direction) - loss(a - step * direction)) / (2 * step)
  assert float(slope) > 0.01
  np.testing.assert_allclose(slope, jnp.linalg.norm(gradient), rtol=0.03)
  other = normal(5, *a.shape) * jnp.abs(gradient)
  other = other / jnp.linalg.norm(other)
  slope = (loss(a + step * other) - loss(a - step * other)) / (2 * step)
  bound = 0.05 * float(jnp.linalg.norm(gradient))
  np.testing.assert_allclose(slope, jnp.sum(gradient * other), atol=bound)


def test_gradient_is_finite_where_images_are_equal_or_flat():
  flat = jnp.zeros((1, 32, 32, 3))
  gradient = jax.jit(jax.grad(lambda x, y: jnp.sum(perceptual_distance(features(), x, y))))
  assert np.all(np.isfinite(gradient(flat, flat)))
  assert np.all(np.isfinite(gradient(flat, pair(32, 32)[1])))


def test_minds_blur_more_than_light():
  a = waves(64, 64)
  blurred = ndimage.gaussian_filter(a, (0, 1.5, 1.5, 0))
  lighter = a + np.sqrt(np.mean((a - blurred) ** 2), dtype=np.float32)  # the same squared error
  a, blurred, lighter = map(jnp.asarray, (a, blurred, lighter))
  assert float(distance(features(), a, blurred)[0]) > 2 * float(distance(features(), a, lighter)[0])


def test_large_images_are_looked_at_as_they_are():
  a, b = pair(144, 160)
  run = jax.jit(lambda x: EfficientNetLite0().apply({"params": features()}, x).stages)
  shapes = jax.eval_shape(lambda x: [run(x)[i] for i in STAGES], a)
  assert [x.shape[1:3] for x in shapes] == [(36, 40), (18, 20), (9, 10)]
  units = [[s / jnp.linalg.norm(s, axis=-1, keepdims=True) for s in run(x)] for x in (a, b)]
  expected = sum(
    float(jnp.mean(jnp.sum(jnp.square(units[0][i] - units[1][i]), axis=-1))) for i in STAGES
  )
  np.testing.assert_allclose(distance(features(), a, b), [expected], rtol=1e-4)


def test_too_small_images_are_refused():
  with pytest.raises(ValueError, match=r"images of 40x31, expected at least 32 pixels a side"):
    perceptual_distance(features(), jnp.zeros((1, 40, 31, 3)), jnp.zeros((1, 40, 31, 3)))


def test_resize_is_linear_between_the_centres_of_pixels():
  x = normal(0, 1, 4, 6, 3)
  found = resize(x, 8)
  assert found.shape == (1, 8, 12, 3)
  row = lambda image, i: 0.75 * image[0, i] + 0.25 * image[0, i + 1]  # a quarter below row i
  below = row(np.asarray(x), 1)
  np.testing.assert_allclose(found[0, 3, 5], 0.75 * below[2] + 0.25 * below[3], atol=1e-5)
  smaller = resize(
    jnp.asarray(np.indices((64, 64)).sum(0)[None, :, :, None] % 2, jnp.float32)
    * jnp.ones((1, 1, 1, 3)),
    16,
  )
  np.testing.assert_allclose(smaller, 0.5, atol=0.02)  # a chequerboard is grey, not aliased


def test_pooled_features_are_the_mean_of_the_last_stage():
  stages = jax.jit(image_features)(features(), pair(32, 32)[0])
  assert stages[-1].shape == (1, 8, 8, POOLED)
  flat = np.asarray(stages[-1], np.float64).reshape(64, POOLED)
  np.testing.assert_allclose(pooled(stages)[0], flat.mean(0), atol=1e-4)
