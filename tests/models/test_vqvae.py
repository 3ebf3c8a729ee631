"""The image tokenizer: the three ways through it agree, gradients reach all of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i.models.autoencoders import ConvDecoder, ConvEncoder, ViTDecoder, ViTEncoder
from jaxt2i.models.quantizers import FSQ, EMAQuantizer
from jaxt2i.models.vqvae import VQVAE, to_float, to_uint8
from tests.arrays import integers, normal, random_params

SIZE = 16
NETWORKS = {
  "conv": (ConvEncoder((8, 12), 1, 2), ConvDecoder((8, 12), 1, 2)),  # downsample 4
  "vit": (ViTEncoder(4, 16, 1, 2), ViTDecoder(4, 16, 1, 2)),
}
QUANTIZERS = {"fsq": FSQ((5, 4, 3)), "ema": EMAQuantizer(20, 3, 0.25, 0.9, 0.01)}
PAIRS = [("conv", "fsq"), ("vit", "ema")]


def images(batch=3):
  return integers(0, 0, 256, batch, SIZE, SIZE, 3).astype(jnp.uint8)


@functools.cache
def tokenizer(network, quantizer):
  encoder, decoder = NETWORKS[network]
  model = VQVAE(encoder=encoder, quantizer=QUANTIZERS[quantizer], decoder=decoder)
  variables = {"params": random_params(model, to_float(images()), train=False)}
  if quantizer == "ema":
    codebook = {"codes": normal(1, 20, 3), "count": jnp.ones(20), "total": normal(1, 20, 3)}
    variables["codebook"] = {"quantizer": codebook}
  return model, variables


@functools.partial(jax.jit, static_argnums=0)
def every_way(model, variables, x):
  """The forward pass, and what the two halves make of images and of tokens."""
  out = model.apply(variables, to_float(x), train=False)
  tokens = model.apply(variables, x, method="encode")
  return out, tokens, model.apply(variables, out.quantized.tokens, method="decode")


def test_8_bit_images_survive_the_way_to_floats_and_back():
  levels = jnp.arange(256).astype(jnp.uint8)
  floats = to_float(levels)
  np.testing.assert_allclose(floats, np.arange(256) / 127.5 - 1, atol=1e-6)
  assert (float(floats[0]), float(floats[-1])) == (-1.0, 1.0)
  np.testing.assert_array_equal(to_uint8(floats), levels)


def test_to_uint8_rounds_and_clips():
  x = jnp.array([-9.0, -1.001, -0.9961, -0.995, 0.9999, 1.01, 9.0])
  np.testing.assert_array_equal(to_uint8(x), [0, 0, 0, 1, 255, 255, 255])


@pytest.mark.parametrize(("network", "quantizer"), PAIRS)
def test_encode_and_decode_are_the_halves_of_the_forward_pass(network, quantizer):
  model, variables = tokenizer(network, quantizer)
  out, tokens, decoded = every_way(model, variables, images())
  side = SIZE // model.encoder.downsample
  assert tokens.shape == (3, side, side)
  assert (tokens.dtype, out.image.shape) == (jnp.int32, (3, SIZE, SIZE, 3))
  assert len(np.unique(tokens)) > 5  # not all the same
  np.testing.assert_array_equal(tokens, out.quantized.tokens)
  expected = np.asarray(to_uint8(out.image), np.int32)
  assert len(np.unique(expected)) > 50
  # z + (z_q − z) is z_q up to rounding under EMA: a pixel may round to the neighbour.
  assert np.abs(np.asarray(decoded, np.int32) - expected).max() <= 1


@pytest.mark.parametrize(("network", "quantizer"), PAIRS)
def test_images_of_a_batch_do_not_mix(network, quantizer):
  model, variables = tokenizer(network, quantizer)
  batch, changed = images(), np.array(images())
  changed[1] = 255 - changed[1]
  changed = jnp.asarray(changed)
  one, other = (np.asarray(every_way(model, variables, x)[0].image) for x in (batch, changed))
  np.testing.assert_array_equal(one[::2], other[::2])
  assert np.abs(one[1] - other[1]).max() > 0.01


@pytest.mark.parametrize(("network", "quantizer"), PAIRS)
def test_every_parameter_receives_a_gradient(network, quantizer):
  model, variables = tokenizer(network, quantizer)
  x = to_float(images())

  @jax.jit
  @jax.grad
  def gradient(params):
    out = model.apply({**variables, "params": params}, x, train=False)
    return jnp.mean(jnp.square(out.image - x)) + out.quantized.loss.mean()

  for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(variables["params"])):
    assert np.abs(leaf).max() > 1e-8, jax.tree_util.keystr(path)


def test_encoder_gets_the_gradient_of_the_decoder_at_the_codes():
  model, variables = tokenizer("vit", "ema")
  x = to_float(images())
  params = variables["params"]

  @jax.jit
  def both(params):
    def loss(params):
      out = model.apply({**variables, "params": params}, x, train=False)
      return jnp.mean(jnp.square(out.image - x))  # reconstruction alone

    # By hand: the decoder's gradient at z_q, pulled through the encoder as if z were z_q.
    encode = lambda p: model.apply({"params": p}, x, method=lambda m, x: m.to_code(m.encoder(x)))
    decode = lambda z_q: jnp.mean(
      jnp.square(model.decoder.apply({"params": params["decoder"]}, z_q) - x)
    )
    z, pull = jax.vjp(encode, params)
    tokens = model.apply(variables, images(), method="encode")
    z_q = variables["codebook"]["quantizer"]["codes"][tokens]
    return jax.grad(loss)(params), pull(jax.grad(decode)(z_q))[0], z - z_q

  automatic, by_hand, gap = jax.tree.map(np.asarray, both(params))
  assert np.abs(gap).max() > 0.1  # or the test could not tell z from z_q
  for part in ("encoder", "to_code"):
    for a, b in zip(jax.tree.leaves(automatic[part]), jax.tree.leaves(by_hand[part]), strict=True):
      np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max() + 1e-8)


def test_conv_encoder_looks_at_a_neighbourhood_only():
  encoder = ConvEncoder((4, 6), 1, 2)
  x = normal(0, 1, 64, 8, 3)
  params = random_params(encoder, x)
  corner = lambda x: jnp.sum(jnp.sin(encoder.apply({"params": params}, x)[0, 0, 0]))
  seen = jax.jit(jax.grad(corner))(x)
  rows = np.abs(seen).max(axis=(0, 2, 3)) > 0
  assert rows[:4].all()  # its own square
  # stem 1 and block 2 at a half, block 2 at a quarter: (2·2 + 1 + 1 + 2) squares of 2 pixels.
  assert not rows[20:].any()


@pytest.mark.parametrize("network", NETWORKS)
def test_decoder_gives_the_side_that_the_encoder_took(network):
  encoder, decoder = NETWORKS[network]
  x = jnp.zeros((1, 4 * SIZE, 2 * SIZE, 3))
  features = jax.eval_shape(lambda x: encoder.init_with_output(jax.random.key(0), x)[0], x)
  assert features.shape[1:3] == (
    4 * SIZE // encoder.downsample,
    2 * SIZE // encoder.downsample,
  )
  image = jax.eval_shape(lambda z: decoder.init_with_output(jax.random.key(0), z)[0], features)
  assert image.shape == x.shape


def test_vit_knows_where_a_patch_is():
  encoder = NETWORKS["vit"][0]
  x = jnp.ones((1, SIZE, SIZE, 3))  # every patch the same
  params = random_params(encoder, x)
  forward = jax.jit(lambda params: encoder.apply({"params": params}, x).reshape(-1, 16))
  flat = forward(params)
  assert len(np.unique(np.round(flat, 4), axis=0)) == len(flat)
  flat = forward({**params, "positions": jnp.zeros_like(params["positions"])})
  np.testing.assert_allclose(flat, np.broadcast_to(flat[:1], flat.shape), atol=1e-6)
