"""The prior against a forward pass in NumPy; who sees what, by gradient; cache = no cache."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i.models.prior import PAD, Prior
from tests.arrays import integers, normal, random_params

K, GRID, N, VOCAB, T = 24, (2, 3), 6, 11, 5
WIDTH, LAYERS, HEADS = 32, 2, 4
PRIOR = Prior(K, GRID, VOCAB, WIDTH, LAYERS, HEADS, text_layers=1, dropout=0.3)

# Three words, one word, none; and PAD between words, which may not be looked at either.
TEXT = jnp.array([[3, 7, 2, PAD, PAD], [5, PAD, PAD, PAD, PAD], [PAD] * 5, [4, PAD, 9, 1, 6]])
TOKENS = integers(3, 0, K, 4, N)


@functools.cache
def variables():
  return {"params": random_params(PRIOR, TOKENS, TEXT, train=False)}


@functools.cache
def fresh():
  """As the module initialises itself."""
  return jax.jit(lambda: PRIOR.init(jax.random.key(0), TOKENS, TEXT, train=False))()


@functools.partial(jax.jit, static_argnames=("train", "prior"))
def logits_of(variables, tokens, text, key=None, train=False, prior=PRIOR):
  rngs = {} if key is None else {"dropout": key}
  return prior.apply(variables, tokens, text, train=train, rngs=rngs)


def numpy_prior(params, tokens, text, *, residuals=True):
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
  everything = lambda i: slice(None)
  c = c + attention(q, k, v, everything) @ b["out"]["kernel"]
  hidden = norm(c, b["norm2"]["scale"])
  c = c + mlp(hidden, b["mlp"]["up"]["kernel"], b["mlp"]["down"]["kernel"])
  c = norm(c, e["norm"]["scale"])

  where = [p["rows"][i, 0] + p["columns"][0, j] for i in range(GRID[0]) for j in range(GRID[1])]
  x = p["embed"]["embedding"][[K, *tokens[:-1]]] + np.array(where)
  for layer in range(LAYERS if residuals else 0):
    b = jax.tree.map(lambda a, layer=layer: a[layer], p["blocks"])
    q, k, v = np.split(norm(x, b["norm1"]["scale"]) @ b["qkv"]["kernel"], 3, axis=1)
    x = x + attention(q, k, v, lambda i: slice(i + 1)) @ b["out"]["kernel"]
    k, v = np.split(c @ b["text_kv"]["kernel"], 2, axis=1)
    q = norm(x, b["norm2"]["scale"]) @ b["text_q"]["kernel"]
    x = x + attention(q, k, v, everything) @ b["text_out"]["kernel"]
    hidden = norm(x, b["norm3"]["scale"])
    x = x + mlp(hidden, b["mlp"]["up"]["kernel"], b["mlp"]["down"]["kernel"])
  return norm(x, p["norm"]["scale"]) @ p["head"]["kernel"]


def test_logits_equal_a_numpy_forward_pass():
  logits = logits_of(variables(), TOKENS, TEXT)
  assert logits.shape == (4, N, K)
  for b in range(4):
    expected = numpy_prior(variables()["params"], np.asarray(TOKENS[b]), np.asarray(TEXT[b]))
    np.testing.assert_allclose(logits[b], expected, atol=1e-4)


def test_a_logit_depends_on_the_tokens_before_it_and_no_other():
  tokens = jnp.arange(N)[None]  # all different: an embedding row is a position
  text = TEXT[:1]
  weights = normal(1, K)

  @jax.jit
  @jax.jacrev
  def sensitivity(embedding):
    params = {**variables()["params"], "embed": {"embedding": embedding}}
    return PRIOR.apply({"params": params}, tokens, text, train=False)[0] @ weights  # [N]

  gradient = sensitivity(variables()["params"]["embed"]["embedding"])  # [N, K+1, D]
  reached = np.abs(gradient).max(axis=-1)
  for i in range(N):
    assert reached[i, K] > 1e-6  # BOS, at 0, is before all
    assert np.all(reached[i, :i] > 1e-6), f"logit {i} does not see all before it"
    assert np.all(reached[i, i:K] == 0), f"logit {i} sees token {i} or later"


def test_changing_a_token_changes_only_what_comes_after_it():
  before = logits_of(variables(), TOKENS, TEXT)
  for j in range(N):
    after = logits_of(variables(), TOKENS.at[:, j].add(1) % K, TEXT)
    np.testing.assert_array_equal(after[:, : j + 1], before[:, : j + 1])
    changed = np.abs(after[:, j + 1 :] - before[:, j + 1 :]).max(axis=-1)
    assert np.all(changed > 1e-6)


def test_positions_know_their_row_and_column():
  params = variables()["params"]
  tokens = jnp.zeros((1, N), jnp.int32)

  @jax.jit
  @jax.jacrev
  def sensitivity(places):
    x = PRIOR.apply({"params": {**params, **places}}, tokens, TEXT[:1], train=False)
    return jnp.sum(jnp.sin(x[0]), axis=-1)

  gradient = sensitivity({"rows": params["rows"], "columns": params["columns"]})
  row = np.abs(gradient["rows"]).max(axis=(2, 3)) > 0  # [N, h]
  column = np.abs(gradient["columns"]).max(axis=(1, 3)) > 0  # [N, w]
  np.testing.assert_array_equal(row[:, 1], [False] * 3 + [True] * 3)  # raster order
  np.testing.assert_array_equal(column[:, 2], [False, False, True, True, True, True])


def test_padding_of_a_caption_has_no_influence():
  params = variables()["params"]
  short = {**params["text_encoder"], "positions": params["text_encoder"]["positions"][:, :3]}
  padded = logits_of(variables(), TOKENS[:3], TEXT[:3])
  cut = logits_of({"params": {**params, "text_encoder": short}}, TOKENS[:3], TEXT[:3, :3])
  np.testing.assert_allclose(padded, cut, atol=1e-5)


def test_padding_of_a_caption_receives_no_gradient():
  @jax.jit
  @jax.grad
  def gradient(params):
    return jnp.sum(jnp.sin(PRIOR.apply({"params": params}, TOKENS[:1], TEXT[:1], train=False)))

  encoder = gradient(variables()["params"])["text_encoder"]
  words = np.abs(encoder["embed"]["embedding"]).max(axis=-1) > 0
  np.testing.assert_array_equal(np.flatnonzero(words), [2, 3, 7])
  places = np.abs(encoder["positions"][0]).max(axis=-1) > 0
  np.testing.assert_array_equal(places, [True, True, True, False, False])


def test_words_and_their_order_matter():
  base = logits_of(variables(), TOKENS[:1], TEXT[:1])
  for other in ([3, 7, 4, PAD, PAD], [7, 3, 2, PAD, PAD], [3, 7, PAD, PAD, PAD]):
    changed = logits_of(variables(), TOKENS[:1], jnp.array([other]))
    assert float(jnp.abs(changed - base).max()) > 1e-4


def test_an_empty_caption_is_the_null_condition():
  @jax.jit
  @jax.value_and_grad
  def gradient(params):
    logits = PRIOR.apply({"params": params}, TOKENS[2:3], TEXT[2:3], train=False)
    return jnp.sum(jnp.sin(logits))

  _, by_part = gradient(variables()["params"])
  encoder = by_part["text_encoder"]
  assert np.all(encoder["embed"]["embedding"] == 0)
  assert np.all(encoder["positions"] == 0)
  assert np.abs(encoder["slot"]).max() > 1e-6  # that one learnt vector alone
  # And so it is the same for any length of padding.
  params = variables()["params"]
  shorter = {**params["text_encoder"], "positions": params["text_encoder"]["positions"][:, :1]}
  np.testing.assert_allclose(
    logits_of(variables(), TOKENS[2:3], TEXT[2:3]),
    logits_of({"params": {**params, "text_encoder": shorter}}, TOKENS[2:3], TEXT[2:3, :1]),
    atol=1e-5,
  )


@functools.partial(jax.jit, static_argnames="garbage")
def step_by_step(variables, tokens, text, garbage=None):
  """Logits from the cached steps; `garbage` fills what no step may look at."""
  cache = PRIOR.apply(variables, text, method="start")
  first = jnp.zeros(len(tokens), jnp.int32)
  if garbage is not None:
    cache = cache.replace(
      keys=jnp.full_like(cache.keys, garbage), values=jnp.full_like(cache.values, garbage)
    )
    first = first + K - 1

  def body(cache, inputs):
    token, index = inputs
    logits, cache = PRIOR.apply(variables, token, index, cache, method="step")
    return cache, logits

  given = jnp.concatenate([first[None], tokens.T[:-1]])
  _, logits = jax.lax.scan(body, cache, (given, jnp.arange(N)))
  return logits.transpose(1, 0, 2)


@pytest.mark.parametrize("seed", [0, 1])
def test_cached_steps_give_the_logits_of_one_pass(seed):
  tokens, text = integers(seed, 0, K, 4, N), integers(seed, 1, VOCAB, 4, T)
  lengths = integers(seed + 9, 0, T + 1, 4, 1).at[0].set(0)
  text = jnp.where(jnp.arange(T)[None] < lengths, text, PAD)
  whole = logits_of(variables(), tokens, text)
  np.testing.assert_allclose(step_by_step(variables(), tokens, text), whole, atol=1e-5)


def test_steps_see_bos_first_and_nothing_that_is_still_to_come():
  clean = step_by_step(variables(), TOKENS, TEXT)
  # Another "token before the first", and a cache full of rubbish.
  rubbish = step_by_step(variables(), TOKENS, TEXT, garbage=1e3)
  np.testing.assert_array_equal(rubbish, clean)


def test_every_parameter_of_every_layer_receives_a_gradient():
  @jax.jit
  @jax.grad
  def gradient(params):
    return jnp.mean(jnp.sin(PRIOR.apply({"params": params}, TOKENS, TEXT, train=False)))

  gradients = gradient(variables()["params"])
  for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
    parts = leaf if path[0].key == "blocks" else leaf[None]
    for i, part in enumerate(parts):
      assert float(jnp.abs(part).max()) > 1e-8, (jax.tree_util.keystr(path), i)


def test_layers_are_stacked_and_start_differently():
  for path, leaf in jax.tree_util.tree_leaves_with_path(fresh()["params"]["blocks"]):
    assert leaf.shape[0] == LAYERS
    if path[-1].key == "kernel":
      assert float(jnp.abs(leaf[0] - leaf[1]).max()) > 1e-3
      # Scaled by the features that go in, not by the number of layers.
      np.testing.assert_allclose(jnp.std(leaf) * np.sqrt(leaf.shape[1]), 1, rtol=0.1)


def test_an_untrained_prior_knows_nothing():
  log_p = jax.nn.log_softmax(logits_of(fresh(), TOKENS, TEXT))
  nll = -jnp.mean(jnp.take_along_axis(log_p, TOKENS[..., None], axis=-1))
  # Logits of variance 1 cost about a half: E[log Σ exp] = log K + 1/2.
  assert abs(float(nll) - (np.log(K) + 0.5)) < 0.5


def test_dropout_is_on_in_training_only_and_follows_its_key():
  evaluated = logits_of(variables(), TOKENS, TEXT)
  np.testing.assert_array_equal(
    evaluated, logits_of(variables(), TOKENS, TEXT, jax.random.key(0), train=False)
  )
  first, again, other = (
    logits_of(variables(), TOKENS, TEXT, jax.random.key(seed), train=True) for seed in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, again)
  assert float(jnp.abs(first - other).max()) > 0.01
  assert float(jnp.abs(first - evaluated).max()) > 0.01
  off = PRIOR.copy(dropout=0.0)
  np.testing.assert_allclose(
    logits_of(variables(), TOKENS, TEXT, train=True, prior=off), evaluated, atol=1e-6
  )


def test_dropout_is_on_every_residual_branch():
  # With everything dropped, only the token before and the position are left.
  all_dropped = PRIOR.copy(dropout=1.0)
  logits = logits_of(variables(), TOKENS, TEXT, jax.random.key(0), train=True, prior=all_dropped)
  for b in range(4):
    expected = numpy_prior(
      variables()["params"], np.asarray(TOKENS[b]), np.asarray(TEXT[b]), residuals=False
    )
    np.testing.assert_allclose(logits[b], expected, atol=1e-4)
