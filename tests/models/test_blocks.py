"""Shared parts of the networks against NumPy, written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i.models.attention import attend
from jaxt2i.models.blocks import (
  MLP,
  EncoderBlock,
  GatedMLP,
  ResBlock,
  ThriftyResBlock,
  depth_to_space,
  enlarge,
  space_to_depth,
  split_heads,
)
from tests.arrays import normal, random_params
from tests.models.numpy_attention import numpy_attend


def gelu(x):
  return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_space_to_depth_gathers_each_square_row_by_row(factor):
  x = np.arange(2 * 6 * 12 * 2, dtype=np.float32).reshape(2, 6, 12, 2)
  y = np.asarray(space_to_depth(jnp.asarray(x), factor))
  assert y.shape == (2, 6 // factor, 12 // factor, factor * factor * 2)
  for i, j in np.ndindex(y.shape[1:3]):
    square = x[:, i * factor : (i + 1) * factor, j * factor : (j + 1) * factor]
    np.testing.assert_array_equal(y[:, i, j], square.reshape(2, -1))


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_depth_to_space_is_the_inverse(factor):
  x = normal(0, 2, 6, 12, 2)
  np.testing.assert_array_equal(depth_to_space(space_to_depth(x, factor), factor), x)
  z = normal(1, 2, 3, 2, 5 * factor**2)
  np.testing.assert_array_equal(space_to_depth(depth_to_space(z, factor), factor), z)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_enlarge_repeats_each_pixel_both_ways(factor):
  x = normal(0, 2, 3, 4, 5)
  expected = np.repeat(np.repeat(x, factor, axis=1), factor, axis=2)
  np.testing.assert_array_equal(enlarge(x, factor), expected)


def test_resblock_begins_as_the_identity_and_its_last_convolution_can_leave_it():
  x = normal(0, 2, 5, 4, 8)

  @jax.jit
  def run():
    params = ResBlock().init(jax.random.key(1), x)["params"]
    loss = lambda p: jnp.sum(jnp.sin(ResBlock().apply({"params": p}, x)))
    return ResBlock().apply({"params": params}, x), jax.grad(loss)(params)

  out, gradient = run()
  np.testing.assert_array_equal(out, x)
  assert np.abs(gradient["conv2"]["kernel"]).max() > 1e-3


def test_resblock_adds_the_correction_to_its_input_not_to_the_normalised_one():
  x = 3 + 2 * normal(0, 2, 5, 4, 8)
  params = random_params(ResBlock(), x)
  p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)

  def norm(y, scale):
    centred = y - y.mean(-1, keepdims=True)
    return centred / np.sqrt(y.var(-1, keepdims=True) + 1e-6) * scale

  def silu(y):
    return y / (1 + np.exp(-y))

  def conv(y, kernel, bias):
    padded = np.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)))
    out = np.zeros((*y.shape[:3], kernel.shape[3])) + bias
    for di, dj in np.ndindex(3, 3):
      out += padded[:, di : di + y.shape[1], dj : dj + y.shape[2]] @ kernel[di, dj]
    return out

  y = silu(norm(np.asarray(x, np.float64), p["norm1"]["scale"]))
  y = conv(y, **p["conv1"])
  y = conv(silu(norm(y, p["norm2"]["scale"])), **p["conv2"])
  out = jax.jit(ResBlock().apply)({"params": params}, x)
  np.testing.assert_allclose(out, np.asarray(x) + y, atol=1e-4)


def test_a_thrifty_block_computes_the_same():
  x = normal(0, 2, 5, 4, 8)
  params = random_params(ResBlock(), x)

  def run(block):
    loss = lambda p, x: jnp.sum(jnp.sin(block.apply({"params": p}, x)))
    return jax.jit(jax.value_and_grad(loss, (0, 1)))(params, x)

  for one, other in zip(
    *map(jax.tree.leaves, map(run, (ResBlock(), ThriftyResBlock()))), strict=True
  ):
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_split_heads_keeps_the_order_that_attend_joins():
  x = normal(0, 2, 3, 12)
  heads = split_heads(x, 4)
  np.testing.assert_array_equal(heads[1, 2, 3], x[1, 2, 9:])
  # One key alone gets all the weight, so attention gives the value back as it was.
  one = heads[:, :1]
  np.testing.assert_allclose(attend(one, one, one, jnp.ones((1, 1, 1), bool)), x[:, :1], atol=1e-6)


def test_mlp_is_two_matrices_around_a_gelu():
  x = normal(0, 2, 3, 8)
  params = random_params(MLP(), x)
  p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
  assert p["up"]["kernel"].shape == (8, 32)
  expected = gelu(np.asarray(x) @ p["up"]["kernel"]) @ p["down"]["kernel"]
  np.testing.assert_allclose(jax.jit(MLP().apply)({"params": params}, x), expected, atol=1e-4)


def test_gated_mlp_is_a_product_of_two_projections():
  x = normal(0, 2, 3, 10)
  params = random_params(GatedMLP(), x)
  p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
  assert p["up"]["kernel"].shape == (10, 2 * 32)  # 8/3 of 10, to the next multiple of 8
  gate, y = np.split(np.asarray(x) @ p["up"]["kernel"], 2, axis=-1)
  expected = (gate / (1 + np.exp(-gate)) * y) @ p["down"]["kernel"]
  np.testing.assert_allclose(jax.jit(GatedMLP().apply)({"params": params}, x), expected, atol=1e-4)


def test_encoder_block_equals_numpy():
  x = 2 * normal(0, 2, 5, 8)
  mask = np.array(normal(2, 2, 1, 5)) > -0.3
  mask[..., 0] = True
  block = EncoderBlock(heads=2)
  params = random_params(block, x, jnp.asarray(mask))
  p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)

  def norm(y, scale):
    return y / np.sqrt(np.mean(y**2, -1, keepdims=True) + 1e-6) * scale

  y = np.asarray(x, np.float64)
  q, k, v = np.split(norm(y, p["norm1"]["scale"]) @ p["qkv"]["kernel"], 3, axis=-1)
  attended = numpy_attend(*(a.reshape(2, 5, 2, 4) for a in (q, k, v)), mask)
  y = y + attended @ p["out"]["kernel"]
  hidden = norm(y, p["norm2"]["scale"]) @ p["mlp"]["up"]["kernel"]
  y = y + gelu(hidden) @ p["mlp"]["down"]["kernel"]
  out = jax.jit(block.apply)({"params": params}, x, jnp.asarray(mask))
  np.testing.assert_allclose(out, y, atol=1e-3)
