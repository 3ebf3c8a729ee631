"""The recurrent text encoder against loops in NumPy; padding, by value and by gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i.errors import UsageError
from jaxt2i.models.text import PAD, RecurrentTextEncoder, TextEncoder
from tests.arrays import assert_close, normal, random_params

VOCAB, WIDTH, T = 11, 8, 5
LENGTHS = (3, 1, 0, 5)
TEXT = jnp.array([[3, 7, 2, PAD, PAD], [5, PAD, PAD, PAD, PAD], [PAD] * 5, [4, 9, 9, 1, 6]])

encoders = pytest.mark.parametrize(
  "encoder",
  [
    RecurrentTextEncoder(VOCAB, WIDTH, layers=2, cell="gru", embed_dim=6),
    RecurrentTextEncoder(VOCAB, WIDTH, layers=2, cell="lstm", embed_dim=WIDTH),
  ],
  ids=["gru", "lstm"],
)


@functools.cache
def params_of(encoder):
  return random_params(encoder, TEXT)


@functools.partial(jax.jit, static_argnames="encoder")
def encode(encoder, params, text):
  return encoder.apply({"params": params}, text)


@functools.partial(jax.jit, static_argnames="encoder")
@functools.partial(jax.grad, argnums=1)
def gradient(encoder, params, weights):
  """Of the features that the weights [B, 1+T, 1] choose."""
  return jnp.sum(weights * jnp.sin(encoder.apply({"params": params}, TEXT).features))


# --- values ---


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def numpy_gru(p, xs):
  """Outputs [T, D/2] of the words xs [T, D], one at a time."""
  h, out = np.zeros(WIDTH // 2), []
  for x in xs:
    of_x = {name: x @ p[f"i{name}"]["kernel"] + p[f"i{name}"]["bias"] for name in "rzn"}
    of_h = {name: h @ p[f"h{name}"]["kernel"] for name in "rzn"}
    reset, update = (sigmoid(of_x[name] + of_h[name]) for name in "rz")
    new = np.tanh(of_x["n"] + reset * (of_h["n"] + p["hn"]["bias"]))
    h = update * h + (1 - update) * new
    out.append(h)
  return np.array(out)


def numpy_lstm(p, xs):
  """As `numpy_gru`."""
  h, c, out = np.zeros(WIDTH // 2), np.zeros(WIDTH // 2), []
  for x in xs:
    a = {
      name: x @ p[f"i{name}"]["kernel"] + h @ p[f"h{name}"]["kernel"] + p[f"h{name}"]["bias"]
      for name in "ifgo"
    }
    c = sigmoid(a["f"]) * c + sigmoid(a["i"]) * np.tanh(a["g"])
    h = sigmoid(a["o"]) * np.tanh(c)
    out.append(h)
  return np.array(out)


def numpy_encoder(encoder, params, words):
  """Features [1 + words, D] of one caption without padding."""
  p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
  run = {"gru": numpy_gru, "lstm": numpy_lstm}[encoder.cell]
  x = p["embed"]["embedding"][words]
  if "project" in p:
    x = x @ p["project"]["kernel"]
  x = np.concatenate([p["slot"][0], x])
  for i in range(encoder.layers):
    there = run(p[f"block{i}_forward"], x)
    back = run(p[f"block{i}_backward"], x[::-1])[::-1]
    x = np.concatenate([there, back], axis=1)
  return x / np.sqrt(np.mean(x**2, axis=1, keepdims=True) + 1e-6) * p["norm"]["scale"]


@encoders
def test_features_equal_a_loop_over_words(encoder):
  context = encode(encoder, params_of(encoder), TEXT)
  assert context.features.shape == (4, 1 + T, WIDTH)
  for b, length in enumerate(LENGTHS):
    expected = numpy_encoder(encoder, params_of(encoder), np.asarray(TEXT[b, :length]))
    assert_close(context.features[b, : 1 + length], expected, 1e-5)


@encoders
def test_the_mask_shows_the_slot_and_the_words(encoder):
  mask = np.asarray(encode(encoder, params_of(encoder), TEXT).mask)
  np.testing.assert_array_equal(mask, np.arange(1 + T) <= np.array(LENGTHS)[:, None])


# --- padding ---


@encoders
def test_padding_and_its_embedding_change_nothing(encoder):
  params = params_of(encoder)
  table = params["embed"]["embedding"]
  other = {**params, "embed": {"embedding": table.at[PAD].set(normal(1, table.shape[1]) * 100)}}
  longer = jnp.pad(TEXT, ((0, 0), (0, 3)))
  expected = encode(encoder, params, TEXT)
  mask = np.asarray(expected.mask)
  for found in (encode(encoder, other, TEXT), encode(encoder, params, longer)):
    np.testing.assert_array_equal(np.asarray(found.mask)[:, : 1 + T], mask)
    assert not np.asarray(found.mask)[:, 1 + T :].any()
    features = np.asarray(found.features)[:, : 1 + T]
    assert_close(features[mask], np.asarray(expected.features)[mask], 1e-6)


@encoders
def test_padding_receives_no_gradient_and_every_word_does(encoder):
  mask = encode(encoder, params_of(encoder), TEXT).mask
  visible = gradient(encoder, params_of(encoder), mask[:, :, None].astype(jnp.float32))
  rows = np.abs(np.asarray(visible["embed"]["embedding"])).max(axis=1)
  np.testing.assert_array_equal(np.flatnonzero(rows), sorted({1, 2, 3, 4, 5, 6, 7, 9}))


@encoders
def test_an_empty_caption_is_the_slot_alone(encoder):
  of_empty = jnp.zeros((4, 1 + T, 1)).at[2, 0].set(1.0)
  leaves = jax.tree.map(np.asarray, gradient(encoder, params_of(encoder), of_empty))
  assert not leaves["embed"]["embedding"].any()
  assert np.abs(leaves["slot"]).max() > 1e-6
  alone = encode(encoder, params_of(encoder), jnp.zeros((1, 1), jnp.int32))
  expected = encode(encoder, params_of(encoder), TEXT)
  assert_close(alone.features[0, 0], expected.features[2, 0], 1e-6)


# --- what a prior relies on ---


@encoders
def test_every_slot_has_read_the_whole_caption(encoder):
  params = params_of(encoder)
  before = np.asarray(encode(encoder, params, TEXT).features)
  for j in range(T):  # of the longest caption
    changed = TEXT.at[3, j].set(8)
    after = np.asarray(encode(encoder, params, changed).features)
    np.testing.assert_array_equal(after[:3], before[:3])
    assert (np.abs(after[3] - before[3]).max(axis=1) > 1e-7).all()


@encoders
def test_every_parameter_receives_a_gradient(encoder):
  leaves = gradient(encoder, params_of(encoder), jnp.ones((4, 1 + T, 1)))
  for path, leaf in jax.tree_util.tree_leaves_with_path(leaves):
    assert np.abs(np.asarray(leaf)).max() > 1e-7, jax.tree_util.keystr(path)


def test_tables_of_the_width_are_not_projected():
  for size, projected in ((6, True), (WIDTH, False)):
    encoder = RecurrentTextEncoder(VOCAB, WIDTH, layers=1, cell="gru", embed_dim=size)
    params = params_of(encoder)
    assert params["embed"]["embedding"].shape == (VOCAB, size)
    assert ("project" in params) == projected


def test_both_encoders_start_with_the_same_slot():
  """They share how it is made: as large as an embedding, seen by everybody."""
  recurrent = RecurrentTextEncoder(VOCAB, WIDTH, layers=1, cell="gru", embed_dim=WIDTH)
  for encoder in (recurrent, TextEncoder(VOCAB, WIDTH, layers=1, heads=2)):
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), TEXT)["params"]
    assert shapes["slot"].shape == (1, 1, WIDTH)
    assert np.asarray(encode(encoder, params_of(encoder), TEXT).mask)[:, 0].all()


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"cell": "rnn"}, "cell is 'rnn': must be 'gru' or 'lstm'"),
    ({"width": 7}, "width is 7: must be even"),
  ],
)
def test_impossible_options_are_named(options, message):
  valid = {"vocab_size": VOCAB, "width": WIDTH, "layers": 1, "cell": "gru", "embed_dim": 4}
  with pytest.raises(UsageError, match=message):
    RecurrentTextEncoder(**valid | options)
