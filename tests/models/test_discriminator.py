"""The discriminator: what a logit sees; its losses, their gradients and λ against NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i import modules
from jaxt2i.errors import UsageError
from jaxt2i.models.discriminator import (
  Discriminator,
  accuracy,
  adaptive_weight,
  generator_loss,
  hinge_loss,
  lecam_loss,
)
from tests.arrays import normal, random_params

REAL, FAKE = 1.5 * normal(0, 3, 2, 5), 1.5 * normal(1, 3, 2, 5)
MEANS = jnp.array(0.4), jnp.array(-0.7)
SMALL = Discriminator(width=2, layers=1)


@functools.cache
def small_params():
  return random_params(SMALL, normal(0, 1, 24, 24, 3))


# --- the network ---


def test_logits_equal_a_numpy_forward_pass():
  x = normal(2, 2, 16, 20, 3)
  p = jax.tree.map(lambda a: np.asarray(a, np.float64), small_params())

  def conv(y, kernel, bias, stride):
    padded = np.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)))
    h, w = ((side + 2 - 4) // stride + 1 for side in y.shape[1:3])
    out = np.zeros((len(y), h, w, len(bias))) + bias
    for b, i, j in np.ndindex(len(y), h, w):
      patch = padded[b, i * stride : i * stride + 4, j * stride : j * stride + 4]
      out[b, i, j] += np.einsum("yxc,yxcd->d", patch, kernel)
    return out

  leaky = lambda y: np.where(y > 0, y, 0.2 * y)
  y = leaky(conv(np.asarray(x, np.float64), **p["conv0"], stride=2))
  y = conv(y, **p["conv1"], stride=1)
  y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-6)
  y = leaky(y * p["norm1"]["scale"] + p["norm1"]["bias"])
  expected = conv(y, **p["logit"], stride=1)[..., 0]
  logits = jax.jit(SMALL.apply)({"params": small_params()}, x)
  assert logits.shape == (2, 6, 8)
  np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize(("layers", "side"), [(1, 16), (2, 34)])
def test_a_logit_depends_on_its_patch_and_nothing_else(layers, side):
  # No statistics over the image or the batch: the gradient ends where the patch does.
  model = Discriminator(width=4, layers=layers)
  x = normal(0, 2, 64, 64, 3)
  params = random_params(model, x)
  middle = lambda x: jnp.sin(model.apply({"params": params}, x)[0, 6, 6])
  seen = np.abs(jax.jit(jax.grad(middle))(x)).max(axis=-1) > 0
  assert not seen[1].any()
  rows, columns = (np.flatnonzero(seen[0].any(axis=axis)) for axis in (1, 0))
  assert model.receptive_field == side
  for where in (rows, columns):
    assert (where[-1] - where[0] + 1, len(where)) == (side, side)


def test_widths_double_and_stay_at_eight_times():
  model = Discriminator(width=2, layers=5)
  shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 512, 512, 3)))["params"]
  assert [shapes[f"conv{i}"]["kernel"].shape[-1] for i in range(6)] == [2, 4, 8, 16, 16, 16]


def test_every_parameter_receives_a_gradient():
  x = normal(3, 2, 24, 24, 3)
  loss = lambda p: jnp.sum(jnp.sin(SMALL.apply({"params": p}, x)))
  for path, leaf in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(small_params())):
    assert np.abs(leaf).max() > 1e-4, jax.tree_util.keystr(path)


@pytest.mark.parametrize(
  ("options", "image_size", "message"),
  [
    ({"layers": 3}, 64, "layers is 3, which judges patches of 70 pixels a side: must be fewer"),
    ({"layers": 2}, 33, "layers is 2, which judges patches of 34 pixels a side: must be fewer"),
    ({"layers": 0}, 64, "config.adversarial.discriminator.layers is 0: must be at least 1."),
    ({"width": 0}, 64, "config.adversarial.discriminator.width is 0: must be at least 1."),
    ({"depth": 2}, 64, "config.adversarial.discriminator.depth is not an option"),
  ],
)
def test_images_without_a_patch_and_networks_without_layers_are_refused(
  options, image_size, message
):
  with pytest.raises(UsageError) as error:
    modules.discriminator({"width": 8, "layers": 1} | options, image_size)
  assert message in str(error.value)
  assert "\n" not in str(error.value)


def test_an_image_of_one_patch_is_accepted_and_judged():
  model = modules.discriminator({"width": 4, "layers": 2}, 34)
  shape = jax.eval_shape(
    lambda x: model.init_with_output(jax.random.key(0), x)[0], jnp.zeros((1, 34, 34, 3))
  ).shape
  assert min(shape) >= 1


# --- losses ---


def in_numpy(real, fake):
  """Hinge, generator's, LeCam, accuracy of each example; a patch at a time."""
  a_real, a_fake = (float(mean) for mean in MEANS)
  rows = []
  for r, f in zip(np.asarray(real, np.float64), np.asarray(fake, np.float64), strict=True):
    patches = list(zip(r.ravel(), f.ravel(), strict=True))
    rows.append(
      [
        sum(max(0, 1 - a) + max(0, 1 + b) for a, b in patches),
        sum(-b for _, b in patches),
        sum((a - a_fake) ** 2 + (b - a_real) ** 2 for a, b in patches),
        sum(int(a > 0) + int(b < 0) for a, b in patches) / 2,
      ]
    )
    rows[-1] = [value / len(patches) for value in rows[-1]]
  return np.array(rows)


def test_losses_equal_numpy_for_each_example():
  expected = in_numpy(REAL, FAKE)
  assert np.std(expected, axis=0).min() > 0.01  # or examples could be mixed unseen
  ours = hinge_loss(REAL, FAKE), generator_loss(FAKE), lecam_loss(REAL, FAKE, *MEANS)
  for i, values in enumerate((*ours, accuracy(REAL, FAKE))):
    np.testing.assert_allclose(values, expected[:, i], rtol=1e-5)


def test_gradients_of_the_losses_equal_numpy():
  real, fake = np.asarray(REAL), np.asarray(FAKE)
  total = lambda loss: lambda *args: jnp.sum(loss(*args))
  hinge = jax.grad(total(hinge_loss), (0, 1))(REAL, FAKE)
  np.testing.assert_allclose(hinge[0], (real < 1) / -10, atol=1e-6)
  np.testing.assert_allclose(hinge[1], (fake > -1) / 10, atol=1e-6)
  assert 0 < np.mean(real < 1) < 1
  assert 0 < np.mean(fake > -1) < 1
  np.testing.assert_allclose(jax.grad(total(generator_loss))(FAKE), np.full_like(fake, -0.1))
  lecam = jax.grad(total(lecam_loss), (0, 1, 2, 3))(REAL, FAKE, *MEANS)
  np.testing.assert_allclose(lecam[0], 2 * (real + 0.7) / 10, rtol=1e-5)
  np.testing.assert_allclose(lecam[1], 2 * (fake - 0.4) / 10, rtol=1e-5, atol=1e-6)
  assert (float(lecam[2]), float(lecam[3])) == (0, 0)


def test_the_hinge_leaves_alone_what_is_right_by_a_margin():
  right = jnp.full((1, 2, 2), 1.5), jnp.full((1, 2, 2), -1.5)
  assert float(hinge_loss(*right)[0]) == 0
  assert float(hinge_loss(*right[::-1])[0]) == 5
  np.testing.assert_array_equal(accuracy(*right), [1.0])
  np.testing.assert_array_equal(accuracy(*right[::-1]), [0.0])


# --- λ ---


def test_adaptive_weight_is_the_ratio_of_the_norms():
  a, b = normal(0, 3, 3, 4, 2), 5 * normal(1, 3, 3, 4, 2)
  expected = np.linalg.norm(np.asarray(a).ravel()) / np.linalg.norm(np.asarray(b).ravel())
  np.testing.assert_allclose(adaptive_weight(a, b, 10.0), expected, rtol=1e-4)
  np.testing.assert_allclose(adaptive_weight(100 * a, b, 10.0), 10.0)


@pytest.mark.parametrize(
  ("of_loss", "of_adversarial", "expected"), [(0, 0, 0), (0, 1, 0), (1, 0, 7), (1e-3, 1e-12, 7)]
)
def test_adaptive_weight_is_finite_where_a_gradient_vanishes(of_loss, of_adversarial, expected):
  ones = jnp.ones((2, 3))
  assert float(adaptive_weight(of_loss * ones, of_adversarial * ones, 7.0)) == expected


def test_adaptive_weight_does_not_overflow_in_half_precision():
  # 300² > 65,504: in float16 both norms would be infinite and the ratio NaN.
  a, b = (jnp.full((100,), value, jnp.float16) for value in (300, 600))
  weight = adaptive_weight(a, b, 10.0)
  assert weight.dtype == jnp.float32
  np.testing.assert_allclose(weight, 0.5, rtol=1e-5)


def test_adaptive_weight_gives_no_gradient():
  a, b = normal(0, 4), normal(1, 4)
  gradients = jax.grad(lambda a, b: adaptive_weight(a, b, 10.0) ** 2, (0, 1))(a, b)
  for gradient in gradients:
    np.testing.assert_array_equal(gradient, np.zeros(4))
