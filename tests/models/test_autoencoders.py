"""Encoders and decoders: which pixels reach which features, and how a residual network begins."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i.models.autoencoders import (
  ConvDecoder,
  ConvEncoder,
  ViTDecoder,
  ViTEncoder,
  VQGANDecoder,
  VQGANEncoder,
)
from tests.arrays import normal, random_params

SIZE, SQUARE = 16, 4
PAIRS = {  # all with squares of 4 pixels
  "conv": (ConvEncoder((4, 6), 1, 2), ConvDecoder((4, 6), 1, 2)),
  "vqgan": (VQGANEncoder((4, 6, 8), 1), VQGANDecoder((4, 6, 8), 1)),
  "vit": (ViTEncoder(4, 16, 1, 2), ViTDecoder(4, 16, 1, 2)),
}
CONVOLUTIONAL = ("conv", "vqgan")


@functools.cache
def influence(network):
  """[y, x, i, j]: how much the output at (y, x) changes with the input at (i, j)."""
  encoder, decoder = PAIRS[network]
  x = normal(0, 1, SIZE, SIZE, 3)
  first = {"params": random_params(encoder, x)}
  second = {"params": random_params(decoder, jax.eval_shape(encoder.apply, first, x))}

  @jax.jit
  def gradients(x):
    out, pull = jax.vjp(lambda x: decoder.apply(second, encoder.apply(first, x)), x)
    pixels = jnp.eye(SIZE * SIZE).reshape(-1, 1, SIZE, SIZE, 1)
    return jax.vmap(lambda pixel: pull(jnp.broadcast_to(pixel, out.shape))[0])(pixels)

  return np.abs(gradients(x)).max(axis=(1, -1)).reshape((SIZE,) * 4)


@pytest.mark.parametrize("network", PAIRS)
def test_every_pixel_of_the_output_depends_on_all_of_its_square(network):
  reached = influence(network) > 1e-6
  for y, x in np.ndindex(SIZE, SIZE):
    top, left = y - y % SQUARE, x - x % SQUARE
    assert reached[y, x, top : top + SQUARE, left : left + SQUARE].all(), (y, x)


@pytest.mark.parametrize("network", PAIRS)
def test_every_pixel_of_the_input_is_of_use(network):
  assert (influence(network).max(axis=(0, 1)) > 1e-4).all()


def test_vqgan_encoder_sees_exactly_its_receptive_field():
  encoder = VQGANEncoder((4, 6, 8), 1)
  x = normal(0, 1, 64, SQUARE, 3)
  params = random_params(encoder, x)
  at = 7
  low = high = at
  for level in reversed(range(3)):
    low, high = low - 2, high + 2  # two convolutions of a block
    if level:
      low, high = 2 * low, 2 * high + 2  # 3×3 at every other place: itself and two after it
  low, high = low - 1, high + 1  # the stem
  assert (low, high) == (4 * at - 15, 4 * at + 21)
  feature = lambda x: jnp.sum(jnp.sin(encoder.apply({"params": params}, x)[0, at]))
  seen = np.abs(jax.jit(jax.grad(feature))(x)).max(axis=(0, 2, 3)) > 0
  assert 0 < low < high < 63
  np.testing.assert_array_equal(np.flatnonzero(seen), np.arange(low, high + 1))


@pytest.mark.parametrize("network", CONVOLUTIONAL)
def test_what_moves_in_the_image_moves_in_the_features(network):
  # The same weights on two sizes; a crop that begins at a square has the same features inside.
  encoder, _ = PAIRS[network]
  x = normal(0, 1, 72, 64, 3)
  params = random_params(encoder, x)
  apply = jax.jit(lambda x: encoder.apply({"params": params}, x))
  whole, crop = apply(x), apply(x[:, 2 * SQUARE :])
  assert crop.shape[1] == whole.shape[1] - 2
  np.testing.assert_allclose(crop[:, 6:-6], whole[:, 8:-6], atol=1e-4)
  assert np.abs(crop[:, 0] - whole[:, 2]).max() > 1e-2  # at the edge they differ: zeros around


@pytest.mark.parametrize("network", CONVOLUTIONAL)
def test_blocks_as_they_begin_leave_the_rest_as_it_would_be_without_them(network):
  # That the last convolution of a block begins at zero, test_blocks.py says.
  for module in PAIRS[network]:
    x = normal(0, 2, 8, 8, 3)
    params = random_params(module, x)
    kept = {name: value for name, value in params.items() if "block" not in name}
    assert len(params) - len(kept) == len(module.channels)
    for block in params.keys() - kept.keys():
      params[block]["conv2"] = jax.tree.map(jnp.zeros_like, params[block]["conv2"])
    plain = jax.jit(module.clone(blocks=0).apply)({"params": kept}, x)
    assert np.std(plain) > 0.1
    np.testing.assert_allclose(jax.jit(module.apply)({"params": params}, x), plain, atol=1e-5)
