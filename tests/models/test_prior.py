"""Priors against a forward pass in NumPy; who sees what, by gradient; cache = no cache."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i.models.autoregressive import AutoregressivePrior
from jaxt2i.models.blocks import grid_angles, rotated
from jaxt2i.models.masked import MaskedPrior
from jaxt2i.models.prior import CONDITIONINGS, POSITIONS
from jaxt2i.models.text import PAD
from tests.arrays import integers, normal, random_params
from tests.priors import small

K, GRID, N, VOCAB, T = 24, (2, 3), 6, 11, 5
WIDTH, LAYERS, HEADS = 32, 2, 4
SIZES = dict(width=WIDTH, layers=LAYERS, heads=HEADS, dropout=0.3)
PRIOR = small(AutoregressivePrior, K, GRID, VOCAB, **SIZES)

# Three words, one word, none; and PAD between words, which may not be looked at either.
TEXT = jnp.array([[3, 7, 2, PAD, PAD], [5, PAD, PAD, PAD, PAD], [PAD] * 5, [4, PAD, 9, 1, 6]])
TOKENS = integers(3, 0, K, 4, N)


@functools.cache
def params():
  return random_params(PRIOR, TOKENS, TEXT, train=False)


@functools.partial(jax.jit, static_argnames=("train", "prior"))
def _logits(params, tokens, text, key, *, train, prior):
  rngs = {"dropout": key}
  return prior.apply({"params": params}, tokens, text, train=train, rngs=rngs)


def logits_of(params, tokens, text, seed=0, train=False, prior=PRIOR):
  return np.asarray(_logits(params, tokens, text, jax.random.key(seed), train=train, prior=prior))


@jax.jit
@jax.grad
def _gradient(params, weights, tokens):
  return jnp.sum(weights * jnp.sin(PRIOR.apply({"params": params}, tokens, TEXT, train=False)))


def gradient_of(params, weights, tokens=TOKENS):
  """Of the logits [4, N, K] that the weights [4, N, 1] choose."""
  return jax.tree.map(np.asarray, _gradient(params, weights, tokens))


def only(b=None, i=None):
  """Weights for image b (all by default) and position i (all by default)."""
  weights = np.zeros((4, N, 1), np.float32)
  weights[slice(None) if b is None else b, slice(None) if i is None else i] = 1
  return jnp.asarray(weights)


def reached(leaf, axis):
  return np.abs(leaf).max(axis=axis) > 0


def numpy_prior(params, tokens, text, *, residuals=True, masked=False):
  """The whole network for one image, a position, a layer and a head at a time."""
  p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)

  def norm(x, scale):
    return x / np.sqrt(np.mean(x**2, -1, keepdims=True) + 1e-6) * scale

  def attention(q, k, v, visible):
    out = np.zeros_like(q)
    size = WIDTH // HEADS
    for i in range(len(q)):
      for h in range(HEADS):
        cut = slice(h * size, (h + 1) * size)
        seen = visible(i)
        scores = k[seen, cut] @ q[i, cut] / np.sqrt(size)
        weights = np.exp(scores - scores.max())
        out[i, cut] = weights @ v[seen, cut] / weights.sum()
    return out

  def mlp(x, up, down):
    y = x @ up
    return 0.5 * y * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3))) @ down

  e = p["text_encoder"]
  words = np.flatnonzero(text != PAD)
  c = np.concatenate([e["slot"][0], (e["embed"]["embedding"][text] + e["positions"][0])[words]])
  b = e["block0"]
  q, k, v = np.split(norm(c, b["norm1"]["scale"]) @ b["qkv"]["kernel"], 3, axis=1)
  everything, past = lambda i: slice(None), lambda i: slice(i + 1)
  c = c + attention(q, k, v, everything) @ b["out"]["kernel"]
  hidden = norm(c, b["norm2"]["scale"])
  c = c + mlp(hidden, b["mlp"]["up"]["kernel"], b["mlp"]["down"]["kernel"])
  c = norm(c, e["norm"]["scale"])

  where = [p["rows"][i, 0] + p["columns"][0, j] for i in range(GRID[0]) for j in range(GRID[1])]
  x = p["embed"]["embedding"][tokens if masked else [K, *tokens[:-1]]] + np.array(where)
  for layer in range(LAYERS if residuals else 0):
    b = jax.tree.map(lambda a, layer=layer: a[layer], p["blocks"])
    q, k, v = np.split(norm(x, b["norm1"]["scale"]) @ b["qkv"]["kernel"], 3, axis=1)
    x = x + attention(q, k, v, everything if masked else past) @ b["out"]["kernel"]
    k, v = np.split(c @ b["text_kv"]["kernel"], 2, axis=1)
    q = norm(x, b["norm2"]["scale"]) @ b["text_q"]["kernel"]
    x = x + attention(q, k, v, everything) @ b["text_out"]["kernel"]
    hidden = norm(x, b["norm3"]["scale"])
    x = x + mlp(hidden, b["mlp"]["up"]["kernel"], b["mlp"]["down"]["kernel"])
  return norm(x, p["norm"]["scale"]) @ p["head"]["kernel"]


def test_logits_equal_a_numpy_forward_pass():
  logits = logits_of(params(), TOKENS, TEXT)
  assert logits.shape == (4, N, K)
  for b in range(4):
    expected = numpy_prior(params(), np.asarray(TOKENS[b]), np.asarray(TEXT[b]))
    np.testing.assert_allclose(logits[b], expected, atol=1e-4)


# --- causality ---


def test_a_logit_depends_on_the_tokens_before_it_and_no_other():
  tokens = jnp.tile(jnp.arange(N), (4, 1))  # all different: an embedding row is a position
  for i in range(N):
    gradient = gradient_of(params(), only(0, i), tokens)
    rows = reached(gradient["embed"]["embedding"], axis=1)  # [K+1]
    assert rows[K]  # BOS stands before all
    assert np.all(rows[:i]), f"logit {i} does not see all before it"
    assert not np.any(rows[i:K]), f"logit {i} sees token {i} or later"


def test_changing_a_token_changes_only_what_comes_after_it():
  before = logits_of(params(), TOKENS, TEXT)
  for j in range(N):
    tokens = np.array(TOKENS)
    tokens[:, j] = (tokens[:, j] + 1) % K
    after = logits_of(params(), jnp.asarray(tokens), TEXT)
    np.testing.assert_array_equal(after[:, : j + 1], before[:, : j + 1])
    assert np.all(reached(after[:, j + 1 :] - before[:, j + 1 :], axis=-1))


def test_a_logit_knows_the_rows_and_columns_up_to_its_own_in_raster_order():
  gradients = [gradient_of(params(), only(0, i)) for i in range(N)]
  rows = [reached(g["rows"], axis=(1, 2)) for g in gradients]  # [N, h]
  columns = [reached(g["columns"], axis=(0, 2)) for g in gradients]  # [N, w]
  np.testing.assert_array_equal(rows, [[True, False]] * 3 + [[True, True]] * 3)
  first_row = [[True, False, False], [True, True, False], [True, True, True]]
  np.testing.assert_array_equal(columns, first_row + [[True] * 3] * 3)


# --- the caption ---


def test_padding_of_a_caption_has_no_influence():
  text = jnp.array([[3, 7, 2, PAD, PAD], [5, PAD, PAD, PAD, PAD], [PAD] * 5, [4, PAD, 9, PAD, PAD]])
  encoder = params()["text_encoder"]
  short = {**params(), "text_encoder": {**encoder, "positions": encoder["positions"][:, :3]}}
  np.testing.assert_allclose(
    logits_of(params(), TOKENS, text), logits_of(short, TOKENS, text[:, :3]), atol=1e-5
  )


def test_padding_of_a_caption_receives_no_gradient():
  encoder = gradient_of(params(), only(0))["text_encoder"]
  words = reached(encoder["embed"]["embedding"], axis=1)
  np.testing.assert_array_equal(np.flatnonzero(words), [2, 3, 7])
  places = reached(encoder["positions"], axis=(0, 2))
  np.testing.assert_array_equal(places, [True, True, True, False, False])


def test_words_and_their_order_matter():
  # The same tokens under four captions: no two drawings are equally probable.
  text = jnp.array([[3, 7, 2, 0, 0], [7, 3, 2, 0, 0], [3, 7, 4, 0, 0], [3, 7, 0, 0, 0]])
  logits = logits_of(params(), jnp.tile(TOKENS[:1], (4, 1)), text)
  for a in range(4):
    for b in range(a):
      assert np.abs(logits[a] - logits[b]).max() > 1e-3


def test_an_empty_caption_is_the_null_condition():
  encoder = gradient_of(params(), only(2))["text_encoder"]
  assert np.all(encoder["embed"]["embedding"] == 0)  # not even the one of PAD
  assert np.all(encoder["positions"] == 0)
  assert np.abs(encoder["slot"]).max() > 1e-6  # that one learnt vector alone


# --- the cache ---


@jax.jit
def step_by_step(params, tokens, text, rubbish=0.0):
  """Logits from the cached steps; `rubbish` fills what no step may look at."""
  cache = PRIOR.apply({"params": params}, text, method="start")
  cache = cache.replace(keys=cache.keys + rubbish, values=cache.values - rubbish)

  def body(cache, inputs):
    token, index = inputs
    token = token[:, None]
    features, cache = PRIOR.apply({"params": params}, token, index, cache, method="step")
    return cache, PRIOR.apply({"params": params}, features, token, 0, method="code")

  before_the_first = jnp.full((1, len(tokens)), (rubbish > 0).astype(jnp.int32))
  given = jnp.concatenate([before_the_first, tokens.T[:-1]])
  _, logits = jax.lax.scan(body, cache, (given, jnp.arange(N)))
  return logits.transpose(1, 0, 2)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cached_steps_give_the_logits_of_one_pass(seed):
  tokens, text = integers(seed, 0, K, 4, N), np.array(integers(seed, 1, VOCAB, 4, T))
  text[np.arange(T)[None] >= np.array([[0], [1], [3], [T]])] = PAD
  text = jnp.asarray(text)
  whole = logits_of(params(), tokens, text)
  np.testing.assert_allclose(step_by_step(params(), tokens, text, 0.0), whole, atol=1e-5)


def test_steps_see_bos_first_and_nothing_that_is_still_to_come():
  clean = step_by_step(params(), TOKENS, TEXT, 0.0)
  # Another "token before the first", and a cache full of rubbish.
  np.testing.assert_array_equal(step_by_step(params(), TOKENS, TEXT, 1e3), clean)


# --- learning ---


def test_every_parameter_of_every_layer_receives_a_gradient():
  for path, leaf in jax.tree_util.tree_leaves_with_path(gradient_of(params(), only())):
    parts = leaf if path[0].key == "blocks" else leaf[None]
    for i, part in enumerate(parts):
      assert np.abs(part).max() > 1e-6, (jax.tree_util.keystr(path), i)


@functools.cache
def fresh():
  """As the module initialises itself."""
  init = lambda: PRIOR.init(jax.random.key(0), TOKENS, TEXT, train=False)
  return jax.tree.map(np.asarray, jax.jit(init)()["params"])


def test_layers_are_stacked_and_start_differently():
  for path, leaf in jax.tree_util.tree_leaves_with_path(fresh()["blocks"]):
    assert leaf.shape[0] == LAYERS
    if path[-1].key == "kernel":
      assert np.abs(leaf[0] - leaf[1]).max() > 1e-3
      # Scaled by the features that go in, not by the number of layers.
      np.testing.assert_allclose(np.std(leaf) * np.sqrt(leaf.shape[1]), 1, rtol=0.1)


def test_positions_start_as_large_as_embeddings():
  """Smaller ones drown in the words: which adjective belongs to which noun is then learnt late."""
  prior = small(AutoregressivePrior, 64, (16, 16), 64, width=64)
  tokens, text = jnp.zeros((1, 256), jnp.int32), jnp.zeros((1, 64), jnp.int32)
  start = jax.jit(lambda: prior.init(jax.random.key(0), tokens, text, train=False))()["params"]
  encoder = start["text_encoder"]
  spread = np.std(np.asarray(start["embed"]["embedding"]))
  for positions in (encoder["positions"], encoder["slot"], start["rows"], start["columns"]):
    assert np.std(np.asarray(positions)) == pytest.approx(spread, rel=0.3)


def test_an_untrained_prior_knows_nothing():
  logits = logits_of(jax.tree.map(jnp.asarray, fresh()), TOKENS, TEXT)
  log_p = logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
  nll = -np.mean(np.take_along_axis(log_p, np.asarray(TOKENS)[..., None], axis=-1))
  # Logits of variance 1 cost about a half: E[log Σ exp] = log K + 1/2.
  assert abs(float(nll) - (np.log(K) + 0.5)) < 0.5


def test_dropout_is_on_in_training_only_and_follows_its_key():
  evaluated = [logits_of(params(), TOKENS, TEXT, seed) for seed in (0, 1)]
  np.testing.assert_array_equal(*evaluated)
  first, again, other = (logits_of(params(), TOKENS, TEXT, seed, train=True) for seed in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert np.abs(first - other).max() > 0.01
  assert np.abs(first - evaluated[0]).max() > 0.01


def test_dropout_is_on_every_residual_branch():
  # With everything dropped, only the token before and the position are left.
  all_dropped = PRIOR.copy(dropout=1.0)
  logits = logits_of(params(), TOKENS, TEXT, train=True, prior=all_dropped)
  for b in range(4):
    expected = numpy_prior(params(), np.asarray(TOKENS[b]), np.asarray(TEXT[b]), residuals=False)
    np.testing.assert_allclose(logits[b], expected, atol=1e-4)


# --- masked ---

MASKED = small(MaskedPrior, K, GRID, VOCAB, **SIZES)
SOME = jnp.where(integers(4, 0, 2, 4, N) > 0, TOKENS, K)  # K: to be guessed


def test_a_masked_prior_has_the_same_parameters():
  shapes = jax.eval_shape(
    lambda: MASKED.init(jax.random.key(0), TOKENS, TEXT, train=False)["params"]
  )
  assert jax.tree.map(lambda x: x.shape, shapes) == jax.tree.map(lambda x: x.shape, params())


def test_masked_logits_equal_a_numpy_forward_pass():
  logits = logits_of(params(), SOME, TEXT, prior=MASKED)
  for b in range(4):
    tokens, text = np.asarray(SOME[b]), np.asarray(TEXT[b])
    expected = numpy_prior(params(), tokens, text, masked=True)
    np.testing.assert_allclose(logits[b], expected, atol=1e-4)


def test_masked_logits_depend_on_all_tokens_before_and_after():
  before = logits_of(params(), TOKENS, TEXT, prior=MASKED)
  for j in range(N):
    tokens = np.array(TOKENS)
    tokens[:, j] = (tokens[:, j] + 1) % K
    after = logits_of(params(), jnp.asarray(tokens), TEXT, prior=MASKED)
    assert np.all(reached(after - before, axis=-1))


def test_captions_that_were_read_once_give_the_same_guesses():
  @jax.jit
  def guess(params):
    context = MASKED.apply({"params": params}, TEXT, method="read")
    return MASKED.apply({"params": params}, SOME, context, method="guess")

  whole = logits_of(params(), SOME, TEXT, prior=MASKED)
  np.testing.assert_allclose(guess(params()), whole, atol=1e-6)


# --- any order ---

ANY = PRIOR.copy(any_order=True)
ORDERS = jnp.stack([jax.random.permutation(jax.random.key(i), N) for i in range(4)])


@functools.cache
def params_of_any():
  return random_params(ANY, TOKENS, TEXT, train=False)


@jax.jit
def any_logits(params, tokens, order):
  return ANY.apply({"params": params}, tokens, TEXT, train=False, order=order)


def test_raster_order_is_the_order_when_none_is_given():
  raster = jnp.tile(jnp.arange(N), (4, 1))
  given = any_logits(params_of_any(), TOKENS, raster)
  np.testing.assert_allclose(given, any_logits(params_of_any(), TOKENS, None), atol=1e-5)


def test_in_another_order_a_logit_depends_on_what_comes_before_it_there():
  before = np.asarray(any_logits(params_of_any(), TOKENS, ORDERS))
  place = np.argsort(np.asarray(ORDERS), axis=1)  # when each position comes
  for j in range(N):
    tokens = np.array(TOKENS)
    tokens[:, j] = (tokens[:, j] + 1) % K
    after = np.asarray(any_logits(params_of_any(), jnp.asarray(tokens), ORDERS))
    changed = reached(after - before, axis=-1)
    np.testing.assert_array_equal(changed, place > place[:, j : j + 1])


# --- several tokens a position ---

DEEP = PRIOR.copy(depth=3)  # of a grid 2 × 3: two positions


@functools.cache
def params_of_deep():
  return random_params(DEEP, TOKENS, TEXT, train=False)


@jax.jit
def deep_logits(params, tokens):
  return DEEP.apply({"params": params}, tokens, TEXT, train=False)


def test_tokens_of_a_position_depend_on_those_before_them_there_and_on_other_positions():
  before = np.asarray(deep_logits(params_of_deep(), TOKENS))
  for j in range(N):
    tokens = np.array(TOKENS)
    tokens[:, j] = (tokens[:, j] + 1) % K
    after = np.asarray(deep_logits(params_of_deep(), jnp.asarray(tokens)))
    changed = reached(after - before, axis=-1)
    np.testing.assert_array_equal(changed, np.tile(np.arange(N) > j, (4, 1)))


def test_the_same_code_means_another_thing_at_another_level():
  same = jnp.full((4, N), 5)
  swapped = same.at[:, 0].set(6), same.at[:, 1].set(6)
  one, other = (np.asarray(deep_logits(params_of_deep(), tokens)) for tokens in swapped)
  assert np.abs(one[:, 3:] - other[:, 3:]).max() > 1e-3


@jax.jit
def deep_step_by_step(params, tokens):
  apply = functools.partial(DEEP.apply, {"params": params})
  cache = apply(TEXT, method="start")
  before, out = jnp.zeros((4, 3), jnp.int32), []
  for index, here in enumerate(jnp.split(tokens, 2, axis=1)):
    features, cache = apply(before, jnp.asarray(index), cache, method="step")
    out += [apply(features, here, level, method="code") for level in range(3)]
    before = here
  return jnp.stack(out, axis=1)


def test_cached_steps_of_several_tokens_give_the_logits_of_one_pass():
  whole = deep_logits(params_of_deep(), TOKENS)
  np.testing.assert_allclose(deep_step_by_step(params_of_deep(), TOKENS), whole, atol=1e-5)


@pytest.mark.parametrize("prior", [ANY, DEEP], ids=["any order", "deep"])
def test_every_further_parameter_receives_a_gradient(prior):
  params = params_of_any() if prior is ANY else params_of_deep()
  order = ORDERS if prior is ANY else None
  loss = lambda p: jnp.sum(
    jnp.sin(prior.apply({"params": p}, TOKENS, TEXT, train=False, order=order))
  )
  for path, leaf in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(params)):
    assert np.abs(leaf).max() > 1e-6, jax.tree_util.keystr(path)


# --- where positions and captions come in ---

VARIANTS = {
  f"{positions}-{conditioning}": PRIOR.copy(positions=positions, conditioning=conditioning)
  for positions in POSITIONS
  for conditioning in CONDITIONINGS
}
VARIANTS["rotary-prefix"] = VARIANTS["rotary-prefix"].copy(qk_norm=True, gated_mlp=True)
NEW = [name for name in VARIANTS if name != "learned-cross"]


@functools.cache
def params_of(name):
  return random_params(VARIANTS[name], TOKENS, TEXT, train=False)


@functools.partial(jax.jit, static_argnames="name")
def variant_logits(params, tokens, text, *, name):
  return VARIANTS[name].apply({"params": params}, tokens, text, train=False)


@functools.partial(jax.jit, static_argnames="name")
def variant_step_by_step(params, tokens, text, *, name):
  apply = functools.partial(VARIANTS[name].apply, {"params": params})

  def body(cache, inputs):
    token, index = inputs
    features, cache = apply(token[:, None], index, cache, method="step")
    return cache, apply(features, token[:, None], 0, method="code")

  before = jnp.concatenate([jnp.zeros((1, len(tokens)), jnp.int32), tokens.T[:-1]])
  _, logits = jax.lax.scan(body, apply(text, method="start"), (before, jnp.arange(N)))
  return logits.transpose(1, 0, 2)


@pytest.mark.parametrize("name", NEW)
def test_cached_steps_of_every_variant_give_the_logits_of_one_pass(name):
  whole = variant_logits(params_of(name), TOKENS, TEXT, name=name)
  found = variant_step_by_step(params_of(name), TOKENS, TEXT, name=name)
  np.testing.assert_allclose(found, whole, atol=1e-5)


@pytest.mark.parametrize("name", NEW)
def test_every_variant_sees_what_comes_before_and_nothing_else(name):
  before = np.asarray(variant_logits(params_of(name), TOKENS, TEXT, name=name))
  for j in range(N):
    tokens = np.array(TOKENS)
    tokens[:, j] = (tokens[:, j] + 1) % K
    after = np.asarray(variant_logits(params_of(name), jnp.asarray(tokens), TEXT, name=name))
    np.testing.assert_array_equal(
      reached(after - before, axis=-1), np.tile(np.arange(N) > j, (4, 1))
    )


@pytest.mark.parametrize("name", NEW)
def test_every_variant_reads_words_and_no_padding(name):
  text = jnp.array([[3, 7, 2, PAD, PAD], [5, PAD, PAD, PAD, PAD], [PAD] * 5, [4, PAD, 9, PAD, PAD]])
  encoder = params_of(name)["text_encoder"]
  cut = {**encoder, "positions": encoder["positions"][:, :3]}
  short = {**params_of(name), "text_encoder": cut}
  whole = variant_logits(params_of(name), TOKENS, text, name=name)
  np.testing.assert_allclose(
    whole, variant_logits(short, TOKENS, text[:, :3], name=name), atol=1e-5
  )
  other = variant_logits(params_of(name), TOKENS, text.at[0, 1].set(8), name=name)
  changed = reached(np.asarray(whole) - np.asarray(other), axis=(1, 2))
  np.testing.assert_array_equal(changed, [True, False, False, False])


@pytest.mark.parametrize("name", NEW)
def test_every_variant_knows_where_it_is(name):
  # All tokens alike: only positions can tell the logits apart.
  same = jnp.full((4, N), 3)
  logits = np.asarray(variant_logits(params_of(name), same, TEXT, name=name))
  for i in range(1, N):
    assert np.abs(logits[:, i] - logits[:, :i].transpose(1, 0, 2)).max(axis=(0, 2)).min() > 1e-3


def test_with_qk_norm_the_length_of_queries_and_keys_is_of_no_matter():
  for name, moves in (("learned-prefix", True), ("rotary-prefix", False)):
    params = params_of(name)
    kernel = params["blocks"]["qkv"]["kernel"]
    longer = kernel.at[..., : 2 * WIDTH].multiply(3.0)
    blocks = {**params["blocks"], "qkv": {"kernel": longer}}
    before = variant_logits(params, TOKENS, TEXT, name=name)
    after = variant_logits({**params, "blocks": blocks}, TOKENS, TEXT, name=name)
    assert (np.abs(after - before).max() > 1e-2) == moves


@pytest.mark.parametrize("name", NEW)
def test_masked_variants_read_the_caption_and_all_tokens(name):
  variant = VARIANTS[name]
  fields = ("positions", "conditioning", "qk_norm", "gated_mlp")
  masked = MASKED.copy(dropout=0.0, **{field: getattr(variant, field) for field in fields})
  run = jax.jit(
    lambda tokens, text: masked.apply({"params": params_of(name)}, tokens, text, train=False)
  )
  before = np.asarray(run(SOME, TEXT))
  assert np.all(reached(np.asarray(run(SOME.at[:, 2].set(1), TEXT)) - before, axis=-1)[:, [0, 5]])
  changed = reached(np.asarray(run(SOME, TEXT.at[1, 0].set(8))) - before, axis=(1, 2))
  np.testing.assert_array_equal(changed, [False, True, False, False])


def test_rotation_turns_by_the_difference_of_positions():
  """q·k after rotation depends on rows and columns apart, however far from the corner."""
  angles = grid_angles((5, 6), 8)
  assert angles.shape == (30, 4)
  q, k = (normal(i, 1, 1, 1, 8) for i in (0, 1))

  def product(at, to):
    one, other = (angles[None, row * 6 + column][:, None] for row, column in (at, to))
    return float(jnp.sum(rotated(q, one) * rotated(k, other)))

  assert product((0, 0), (2, 3)) == pytest.approx(product((2, 1), (4, 4)), abs=1e-5)
  assert abs(product((0, 0), (2, 3)) - product((0, 0), (3, 2))) > 1e-3
  np.testing.assert_allclose(
    np.linalg.norm(rotated(q, angles[None, 7:8])), np.linalg.norm(q), rtol=1e-5
  )
