"""AdamW against NumPy, Muon against its definition, and the learning rate at its corners."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxt2i.errors import UsageError
from jaxt2i.models.autoencoders import ConvEncoder
from jaxt2i.models.autoregressive import AutoregressivePrior
from jaxt2i.muon import orthogonalise, scale_by_muon
from jaxt2i.optim import Optimizer
from tests.priors import small

DEFAULTS = dict(
  learning_rate=0.1,
  warmup_steps=10,
  final_share=0.02,
  b1=0.9,
  b2=0.99,
  weight_decay=0.0,
  clip_norm=1.0,
  kind="adamw",
)


@pytest.fixture(autouse=True)
def _loose_dtypes():
  with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer power
    yield


def optimizer(**options):
  return Optimizer(**{**DEFAULTS, **options})


def test_learning_rate_at_start_end_of_warm_up_and_end():
  schedule = optimizer().schedule(110)
  rates = [float(schedule(step)) for step in (0, 5, 10, 60, 110, 500)]
  middle = 0.1 * (0.02 + 0.98 / 2)  # half way down the cosine
  np.testing.assert_allclose(rates, [0, 0.05, 0.1, middle, 0.002, 0.002], rtol=1e-5)


def test_learning_rate_rises_then_falls():
  schedule = optimizer().schedule(110)
  rates = np.array([float(schedule(step)) for step in range(111)])
  assert np.all(np.diff(rates[:11]) > 0)
  assert np.all(np.diff(rates[10:]) < 0)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 12])
def test_learning_rate_of_runs_shorter_than_the_warm_up(num_steps):
  schedule = optimizer().schedule(num_steps)
  rates = [float(schedule(step)) for step in range(num_steps + 1)]
  assert np.all(np.isfinite(rates))
  np.testing.assert_allclose(max(rates), 0.1, rtol=1e-5)  # reached half way at the latest
  assert int(np.argmax(rates)) == num_steps // 2
  np.testing.assert_allclose(rates[-1], 0.002, rtol=1e-5)


def numpy_adamw(params, gradients, rates, *, b1, b2, decay, clip):
  """Loshchilov & Hutter, arXiv 1711.05101, with gradients clipped to a global norm before."""
  m = {name: 0.0 for name in params}
  v = {name: 0.0 for name in params}
  for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
    norm = np.sqrt(sum(np.sum(g**2) for g in gradient.values()))
    for name, g in gradient.items():
      g = g * min(1.0, clip / norm)
      m[name] = b1 * m[name] + (1 - b1) * g
      v[name] = b2 * v[name] + (1 - b2) * g**2
      step = (m[name] / (1 - b1**t)) / (np.sqrt(v[name] / (1 - b2**t)) + 1e-8)
      params[name] = params[name] - rate * (step + decay.get(name, 0) * params[name])
  return params


@pytest.mark.parametrize("clip", [0.5, 100.0])
def test_updates_equal_adamw_in_numpy(clip):
  rng = np.random.default_rng(0)
  start = {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}
  # Of different lengths: a constant length would hide the clipping from Adam.
  gradients = [{k: s * rng.normal(size=v.shape) for k, v in start.items()} for s in (3, 0.1, 9, 1)]
  options = optimizer(weight_decay=0.3, clip_norm=clip, warmup_steps=2)
  tx = options.build(8)
  params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), start)
  state = tx.init(params)
  step = jax.jit(tx.update)
  for gradient in gradients:
    gradient = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), gradient)
    updates, state = step(gradient, state, params)
    params = jax.tree.map(jnp.add, params, updates)
  expected = numpy_adamw(
    dict(start),
    gradients,
    [float(options.schedule(8)(step)) for step in range(4)],
    b1=0.9,
    b2=0.99,
    decay={"kernel": 0.3},
    clip=clip,
  )
  for name, value in expected.items():
    np.testing.assert_allclose(params[name], value, atol=1e-4)


def test_weight_decay_moves_kernels_and_embeddings_only():
  prior = small(AutoregressivePrior, 8, (1, 2), 5, width=8, layers=2)
  tokens, text = jnp.zeros((1, 2), jnp.int32), jnp.zeros((1, 3), jnp.int32)
  shapes = jax.eval_shape(lambda: prior.init(jax.random.key(0), tokens, text, train=False))
  params = jax.tree.map(lambda x: np.ones(x.shape, np.float32), shapes["params"])
  tx = optimizer(weight_decay=0.5, warmup_steps=0).build(10)

  @jax.jit
  def step(params):
    zero = jax.tree.map(jnp.zeros_like, params)  # no gradient: what moves is the decay
    return tx.update(zero, tx.init(params), params)[0]

  updates = step(params)
  decayed = set()
  for path, update in jax.tree_util.tree_leaves_with_path(updates):
    expected = -0.1 * 0.5 if path[-1].key in ("kernel", "embedding") else 0.0
    np.testing.assert_allclose(update, np.full(update.shape, expected), rtol=1e-5)
    decayed |= {jax.tree_util.keystr(path, simple=True, separator="/")} if expected else set()
  assert {"head/kernel", "embed/embedding", "blocks/qkv/kernel"} <= decayed
  # Scales of norms, though stacked over layers into a matrix, and positions are spared.
  assert params["blocks"]["norm1"]["scale"].ndim == 2
  spared = {"blocks/norm1/scale", "rows", "columns", "text_encoder/positions", "norm/scale"}
  assert not spared & decayed


def test_gradients_are_scaled_together_and_only_when_too_long():
  tx = optimizer(clip_norm=1.0).build(10)
  params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
  step = jax.jit(tx.update)

  def first_moment(a, b):
    gradient = {"a": jnp.array([a]), "b": jnp.array([b])}
    _, state = step(gradient, tx.init(params), params)
    moments = jax.tree.leaves(state, is_leaf=lambda part: hasattr(part, "mu"))[0].mu
    return [float(moments[name][0]) / 0.1 for name in ("a", "b")]  # 1 − b1

  np.testing.assert_allclose(first_moment(30.0, 40.0), [0.6, 0.8], rtol=1e-5)
  np.testing.assert_allclose(first_moment(0.3, 0.4), [0.3, 0.4], rtol=1e-5)


def tiny_params(model, *args, **options):
  return jax.jit(lambda: model.init(jax.random.key(0), *args, **options)["params"])()


def params_of_a_prior():
  prior = small(AutoregressivePrior, 8, (1, 2), 5, width=8, layers=3)
  return tiny_params(prior, jnp.zeros((1, 2), jnp.int32), jnp.zeros((1, 3), jnp.int32), train=False)


def params_of_an_encoder():
  return tiny_params(ConvEncoder((4, 8), blocks=1, stem=2), jnp.zeros((1, 8, 8, 3)))


def first_updates(tx, params):
  """Random gradients and what becomes of them, by name."""
  leaves, tree = jax.tree.flatten(params)
  keys = jax.random.split(jax.random.key(1), len(leaves))
  gradients = tree.unflatten(
    [jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
  )
  updates, _ = jax.jit(tx.update)(gradients, tx.init(params), params)
  named = lambda values: {
    jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(values)
  }
  return named(gradients), named(updates)


@pytest.mark.parametrize(
  ("make", "moved"),
  [
    (
      params_of_a_prior,
      {
        *(f"blocks/{name}/kernel" for name in ("qkv", "out", "text_q", "text_kv", "text_out")),
        *(f"blocks/mlp/{name}/kernel" for name in ("up", "down")),
        *(f"text_encoder/block0/{name}/kernel" for name in ("qkv", "out")),
        *(f"text_encoder/block0/mlp/{name}/kernel" for name in ("up", "down")),
      },
    ),
    (
      params_of_an_encoder,
      {f"level{i}_block0/{name}/kernel" for i in (0, 1) for name in ("conv1", "conv2")},
    ),
  ],
)
def test_muon_orthogonalises_kernels_in_blocks_and_leaves_the_rest_to_adamw(make, moved):
  params = make()
  tx = optimizer(kind="muon", warmup_steps=0, clip_norm=1e9).build(10)
  gradients, updates = first_updates(tx, params)
  _, expected = first_updates(optax.adamw(0.1, b1=0.9, b2=0.99, weight_decay=0), params)
  assert moved < set(updates)
  for name, update in updates.items():
    if name not in moved:
      np.testing.assert_allclose(update, expected[name], rtol=1e-5, err_msg=name)
      continue
    # Layers that are stacked are matrices of their own, a convolution is one of inputs by outputs.
    shape = update.shape if update.ndim == 3 else (1, -1, update.shape[-1])
    for step, gradient in zip(update.reshape(shape), gradients[name].reshape(shape), strict=True):
      u, s, vt = np.linalg.svd(gradient, full_matrices=False)
      turned = u.T @ -step @ vt.T / (0.1 * 0.2 * max(step.shape) ** 0.5)
      # Same singular vectors, singular values near 1: Newton–Schulz stops between 0.7 and 1.2,
      # and lifts small ones less.
      off_diagonal = turned - np.diag(np.diag(turned))
      assert np.abs(off_diagonal).max() < 1e-3, name
      large = s > 0.1 * s.max()
      assert np.all((np.diag(turned)[large] > 0.6) & (np.diag(turned)[large] < 1.3)), name


@pytest.mark.parametrize("shape", [(48, 16), (16, 48), (16, 16)])
def test_muon_equals_optax_which_iterates_on_the_kernel_itself(shape):
  rng = np.random.default_rng(0)
  # Singular values from 1 to 1e-6: of the small ones the Gram matrix knows only the squares.
  u, _, vt = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
  gradient = jnp.asarray(u * np.logspace(0, -6, 16) @ vt, jnp.float32)
  ours, theirs = (
    tx.update(gradient, tx.init(gradient), gradient)[0]
    for tx in (scale_by_muon(), optax.contrib.muon(1.0, consistent_rms=0.2))
  )
  np.testing.assert_allclose(ours, -theirs, atol=2e-4)


def test_momentum_is_nesterov_s():
  first, second = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([[0.0, 1.0], [0.0, 0.0]])
  tx = scale_by_muon(decay=0.5)
  _, state = tx.update(first, tx.init(first))
  update, _ = tx.update(second, state)
  expected = 0.2 * 2**0.5 * orthogonalise(second + 0.5 * (second + 0.5 * first))
  np.testing.assert_allclose(update, expected, rtol=1e-6)


def test_no_gradient_is_no_direction():
  np.testing.assert_array_equal(orthogonalise(jnp.zeros((3, 2))), 0)


def test_an_unknown_optimiser_is_refused():
  with pytest.raises(UsageError, match=r"optimizer\.kind is 'adam': must be adamw or muon"):
    optimizer(kind="adam")


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("learning_rate", float("nan")),
    ("learning_rate", 0.0),
    ("warmup_steps", -1),
    ("final_share", 1.5),
    ("b1", 1.0),
    ("b2", float("nan")),
    ("weight_decay", -0.1),
    ("clip_norm", 0.0),
    ("kind", "adam"),
  ],
)
def test_options_that_cannot_work_are_refused(name, value):
  with pytest.raises(UsageError, match=rf"optimizer\.{name} is {value!r}: must be"):
    optimizer(**{name: value})
