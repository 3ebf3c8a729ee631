"""Quantizers against NumPy: values, which parameter gets which gradient, the moving codebook."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i.models.quantizers import FSQ, EMAQuantizer, nearest, straight_through
from jaxt2i.sharding import make_mesh, replicated, shard_batch
from tests.arrays import integers, normal

LEVELS = [(8, 5, 5, 5), (3,), (6, 2, 7)]


def assert_close(actual, expected, atol):
  np.testing.assert_allclose(np.asarray(actual, np.float64), expected, rtol=0, atol=atol)


def all_tokens(levels):
  return jnp.arange(np.prod(levels), dtype=jnp.int32)


def grid_of(levels):
  """Every code as integers [K, D], the first dimension running fastest; independent of the code."""
  ranges = [range(-(level // 2), level - level // 2) for level in reversed(levels)]
  return np.array([code[::-1] for code in itertools.product(*ranges)])


def numpy_bound(z, levels):
  """Mentzer et al., appendix A, in float64."""
  levels = np.asarray(levels)
  half_range = (levels - 1) * 1.001 / 2
  offset = np.where(levels % 2 == 0, 0.5, 0.0)
  return np.tanh(np.asarray(z, np.float64) + np.arctanh(offset / half_range)) * half_range - offset


def numpy_bound_inverse(bounded, levels):
  levels = np.asarray(levels)
  half_range = (levels - 1) * 1.001 / 2
  offset = np.where(levels % 2 == 0, 0.5, 0.0)
  return np.arctanh((bounded + offset) / half_range) - np.arctanh(offset / half_range)


# --- straight through ---


def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other():
  z, z_q = jnp.array([0.3, -2.0]), jnp.array([1.0, -1.5])
  value, pull = jax.vjp(straight_through, z, z_q)
  assert_close(value, [1.0, -1.5], 1e-7)
  to_z, to_z_q = pull(jnp.array([5.0, 7.0]))
  assert_close(to_z, [5.0, 7.0], 0)
  assert_close(to_z_q, [0.0, 0.0], 0)


# --- FSQ ---


@functools.partial(jax.jit, static_argnums=0)
def fsq(levels, z):
  return FSQ(levels).apply({}, z, train=True)


@functools.partial(jax.jit, static_argnums=0)
def lookup(levels, tokens):
  return FSQ(levels).lookup(tokens)


def fsq_scalar(level, values):
  """Codes of single numbers, in units of one level."""
  z = jnp.asarray(values, jnp.float32).reshape(-1, 1, 1, 1)
  integers = np.asarray(fsq((level,), z).z_q).ravel() * (level // 2)
  np.testing.assert_allclose(integers, np.round(integers), atol=1e-5)
  return np.round(integers)


@pytest.mark.parametrize("levels", LEVELS)
def test_fsq_codes_are_the_grid_of_levels(levels):
  quantizer = FSQ(levels)
  assert quantizer.codebook_size == np.prod(levels)
  assert quantizer.code_dim == len(levels)
  half_width = np.array(levels) // 2
  assert_close(lookup(levels, all_tokens(levels)), grid_of(levels) / half_width, 1e-7)


@pytest.mark.parametrize("levels", LEVELS)
def test_fsq_every_code_can_be_reached_and_keeps_its_token(levels):
  # Latents that the bound maps onto the integers, worked out without the code under test.
  z = numpy_bound_inverse(grid_of(levels), levels).astype(np.float32)
  out = fsq(levels, jnp.asarray(z[:, None, None]))
  assert out.tokens.dtype == jnp.int32
  np.testing.assert_array_equal(out.tokens[:, 0, 0], all_tokens(levels))
  assert_close(out.z_q, lookup(levels, out.tokens), 1e-6)


@pytest.mark.parametrize("levels", LEVELS)
def test_fsq_tokens_and_codes_agree_exactly_and_equal_numpy(levels):
  z = 2 * normal(0, 4, 50, 50, len(levels))
  out = fsq(levels, z)
  assert_close(out.z_q, lookup(levels, out.tokens), 1e-6)
  bounded = numpy_bound(z, levels)
  places = np.cumprod((1, *levels[:-1]))
  expected = (np.round(bounded) + np.array(levels) // 2) @ places
  # Where float32 may round to either side, both are right.
  clear = np.all(np.abs(bounded - np.floor(bounded) - 0.5) > 1e-4, axis=-1)
  assert clear.mean() > 0.99
  np.testing.assert_array_equal(np.asarray(out.tokens)[clear], expected[clear])


@pytest.mark.parametrize("level", [2, 3, 4, 5, 8, 15, 16])
def test_fsq_reaches_exactly_its_levels_in_order(level):
  integers = fsq_scalar(level, [-1e30, -1e4, *np.linspace(-12, 12, 4001), 1e4, 1e30])
  assert np.all(np.diff(integers) >= 0)
  np.testing.assert_array_equal(np.unique(integers), np.arange(level) - level // 2)


@pytest.mark.parametrize("level", [3, 4, 5, 8])
def test_fsq_keeps_zero_in_the_middle_of_the_code_zero(level):
  # The bound keeps 0 at 0: an even number of levels is not rounded to one side.
  np.testing.assert_array_equal(fsq_scalar(level, [0.0, 0.1, -0.1]), [0, 0, 0])
  low, high = numpy_bound_inverse(np.array([-0.5, 0.5]), [level])
  around = [1.01 * low, 0.99 * low, 0.99 * high, 1.01 * high]
  np.testing.assert_array_equal(fsq_scalar(level, around), [-1, 0, 0, 1])


def test_fsq_with_odd_levels_is_odd():
  z = normal(0, 3, 4, 4, 2)
  np.testing.assert_array_equal(fsq((5, 7), -z).z_q, -fsq((5, 7), z).z_q)


@pytest.mark.parametrize("levels", LEVELS)
def test_fsq_gradient_is_that_of_the_bound(levels):
  z = normal(0, 2, 3, 3, len(levels))
  weights = normal(1, *z.shape)
  gradient = jax.jit(jax.grad(lambda z: jnp.sum(weights * fsq(levels, z).z_q)))(z)
  half_width = np.array(levels) // 2
  step = 1e-5
  z64 = np.asarray(z, np.float64)
  slope = (numpy_bound(z64 + step, levels) - numpy_bound(z64 - step, levels)) / (2 * step)
  assert_close(gradient, np.asarray(weights) * slope / half_width, 1e-4)
  half_range = (np.array(levels) - 1) * 1.001 / 2
  offset = np.where(np.array(levels) % 2 == 0, 0.5, 0)
  closed = half_range * (1 - np.tanh(z64 + np.arctanh(offset / half_range)) ** 2)
  assert_close(gradient, np.asarray(weights) * closed / half_width, 1e-4)


def test_fsq_has_nothing_to_learn():
  z = normal(0, 1, 2, 2, 4)
  init = lambda: FSQ((8, 5, 5, 5)).init(jax.random.key(0), z, train=True)
  assert not jax.tree.leaves(jax.eval_shape(init))
  value, gradient = jax.jit(jax.value_and_grad(lambda z: fsq((8, 5, 5, 5), z).loss.sum()))(z)
  assert value == 0
  assert np.all(gradient == 0)
  assert fsq((8, 5, 5, 5), z).losses == {}


# --- EMA ---

K, D, SHAPE = 12, 3, (4, 2, 5, 3)


def ema_quantizer(**options):
  defaults = dict(
    codebook_size=K,
    code_dim=D,
    commitment_weight=0.25,
    codebook_decay=0.9,
    revival_threshold=1e-6,
  )
  return EMAQuantizer(**{**defaults, **options})


def codebook_of(codes, count):
  codes, count = jnp.asarray(codes, jnp.float32), jnp.asarray(count, jnp.float32)
  return {"codebook": {"codes": codes, "count": count, "total": codes * count[:, None]}}


@pytest.fixture
def live():
  """A codebook in use: every count far above any threshold here."""
  codes = normal(10, K, D)
  return codebook_of(codes, 3 + normal(11, K) ** 2)


@functools.partial(jax.jit, static_argnums=0)
def train_step(quantizer, variables, z, key=0):
  out, updates = quantizer.apply(
    variables, z, train=True, rngs={"codebook": jax.random.key(key)}, mutable=["codebook"]
  )
  return out, {**variables, **updates}


@functools.partial(jax.jit, static_argnums=0)
def evaluate(quantizer, variables, z):
  return quantizer.apply(variables, z, train=False)


def brute_force(z, codes):
  z, codes = np.asarray(z, np.float64), np.asarray(codes, np.float64)
  return np.argmin(np.sum((z[..., None, :] - codes) ** 2, axis=-1), axis=-1)


def test_nearest_is_the_nearest():
  z = 3 * normal(0, 500, 5)
  codes = normal(1, 40, 5) * jnp.linspace(0.1, 4, 40)[:, None]
  np.testing.assert_array_equal(nearest(z, codes), brute_force(z, codes))
  # Not the largest inner product: a long code must not win over a near one.
  codes = jnp.array([[10.0, 0.0], [1.0, 0.0]])
  np.testing.assert_array_equal(nearest(jnp.array([[1.2, 0.0], [9.0, 0.0]]), codes), [1, 0])


@pytest.mark.parametrize("train", [False, True])
def test_ema_tokens_codes_and_lookup(live, train):
  quantizer = ema_quantizer()
  z = normal(0, *SHAPE)
  if train:
    out, _ = train_step(quantizer, live, z)
  else:
    out = evaluate(quantizer, live, z)
  codes = np.asarray(live["codebook"]["codes"])
  expected = brute_force(z, codes)
  assert out.tokens.dtype == jnp.int32
  np.testing.assert_array_equal(out.tokens, expected)
  assert_close(out.z_q, codes[expected], 1e-6)
  looked_up = quantizer.apply(live, out.tokens, method="lookup")
  np.testing.assert_array_equal(looked_up, codes[expected])
  by_hand = np.mean((np.asarray(z) - codes[expected]) ** 2, axis=(1, 2, 3))  # of each image
  assert_close(out.losses["commitment"], by_hand, 1e-6)


@pytest.mark.parametrize(("weight", "train"), [(0.0, True), (0.25, True), (3.0, False)])
def test_ema_who_receives_which_gradient(live, weight, train):
  quantizer = ema_quantizer(commitment_weight=weight)
  z = normal(0, *SHAPE)
  pull = normal(1, *SHAPE)  # gradient of a reconstruction loss at z_q

  def run(z, variables):
    return train_step(quantizer, variables, z)[0] if train else evaluate(quantizer, variables, z)

  @jax.jit
  def gradients(z, variables):
    reconstruction = lambda z, v: jnp.sum(pull * run(z, v).z_q)
    commitment = lambda z, v: run(z, v).loss.mean()
    both = [jax.grad(loss, (0, 1))(z, variables) for loss in (reconstruction, commitment)]
    return both, run(z, variables)

  (of_reconstruction, of_commitment), out = gradients(z, live)
  # 1. Reconstruction reaches z unchanged, and the codebook not at all.
  np.testing.assert_array_equal(of_reconstruction[0], pull)
  assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(of_reconstruction[1]))

  # 2. Commitment: 2β(z − z_q)/numel to z, nothing to the codebook.
  codes = np.asarray(live["codebook"]["codes"])
  z_q = codes[brute_force(z, codes)]
  assert_close(of_commitment[0], 2 * weight * (np.asarray(z) - z_q) / z.size, 1e-7)
  assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(of_commitment[1]))

  # β scales the term in the loss, not the one in the log, and no other term is there.
  assert_close(out.loss, weight * np.mean((np.asarray(z) - z_q) ** 2, axis=(1, 2, 3)), 1e-6)
  assert list(out.losses) == ["commitment"]


def test_ema_update_equals_the_closed_form_over_three_steps(live):
  quantizer = ema_quantizer(codebook_decay=0.8)
  variables = live
  codes, count, total = (
    np.asarray(live["codebook"][name], np.float64) for name in ("codes", "count", "total")
  )
  for step in range(3):
    z = normal(20 + step, *SHAPE) + 0.5 * step
    out, variables = train_step(quantizer, variables, z, key=step)
    flat = np.asarray(z, np.float64).reshape(-1, D)
    tokens = brute_force(flat, codes)
    np.testing.assert_array_equal(out.tokens.ravel(), tokens)  # of the codes before the update
    for k in range(K):
      count[k] = 0.8 * count[k] + 0.2 * np.sum(tokens == k)
      total[k] = 0.8 * total[k] + 0.2 * flat[tokens == k].sum(axis=0)
    codes = total / count[:, None]
    assert_close(variables["codebook"]["count"], count, 1e-5)
    assert_close(variables["codebook"]["total"], total, 1e-5)
    assert_close(variables["codebook"]["codes"], codes, 1e-5)


TWO_CODES = ema_quantizer(codebook_size=2, code_dim=1, codebook_decay=0.5, revival_threshold=0.4)


def test_ema_code_goes_to_the_mean_of_its_latents():
  quantizer = TWO_CODES
  variables = codebook_of([[-1.0], [1.0]], [1.0, 1.0])
  z = jnp.array([-3.0, -2.0, 4.0, 6.0]).reshape(1, 1, 4, 1)
  for step in range(40):
    _, variables = train_step(quantizer, variables, z, step)
  assert_close(variables["codebook"]["codes"], [[-2.5], [5.0]], 1e-5)
  assert_close(variables["codebook"]["count"], [2.0, 2.0], 1e-5)


def test_ema_evaluation_changes_nothing(live):
  z = normal(0, *SHAPE)
  empty = codebook_of(np.zeros((K, D)), np.zeros(K))
  for variables in (live, empty):  # even where every code is dead
    quantizer = ema_quantizer(revival_threshold=1.0)
    _, updates = quantizer.apply(variables, z, train=False, mutable=["codebook"])
    jax.tree.map(np.testing.assert_array_equal, {**updates}, variables)
    quantizer.apply(variables, z, train=False)  # needs no key and nothing mutable


def test_ema_initialisation_does_not_look_at_the_data():
  z = normal(0, *SHAPE)
  keys = {"params": jax.random.key(0), "codebook": jax.random.key(1)}
  variables = ema_quantizer().init(keys, z, train=True)
  assert list(variables) == ["codebook"]  # and no parameters
  assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(variables))


def is_row_of(codes, z):
  """For each code, whether it is one of the latents."""
  flat = np.asarray(z).reshape(-1, z.shape[-1])
  return np.any(np.all(np.isclose(codes[:, None], flat[None], rtol=0, atol=1e-6), -1), 1)


REVIVAL_ALONE = ema_quantizer(codebook_decay=1.0, revival_threshold=0.5)


def test_ema_first_batch_initialises_the_codebook():
  quantizer = REVIVAL_ALONE
  z = 5 + normal(0, *SHAPE)
  fresh = quantizer.init(jax.random.key(0), z, train=False)
  out, variables = train_step(quantizer, fresh, z, key=1)
  codes = np.asarray(variables["codebook"]["codes"])
  assert is_row_of(codes, z).all()
  assert len(np.unique(codes, axis=0)) > K // 2  # not one latent for all
  # The lookup of this very step already uses them.
  np.testing.assert_array_equal(out.tokens, brute_force(z, codes))
  assert_close(variables["codebook"]["count"], np.full(K, 0.5), 1e-7)
  assert_close(variables["codebook"]["total"], codes * 0.5, 1e-6)
  # Reproducible by key, and another key draws other latents.
  np.testing.assert_array_equal(codes, train_step(quantizer, fresh, z, 1)[1]["codebook"]["codes"])
  other = np.asarray(train_step(quantizer, fresh, z, 2)[1]["codebook"]["codes"])
  assert np.abs(codes - other).max() > 0.1


def test_ema_reseeds_dead_codes_only(live):
  quantizer = REVIVAL_ALONE
  dead = np.arange(K) % 3 == 0
  count = np.where(dead, 0.499, 0.501)
  before = codebook_of(live["codebook"]["codes"], count)
  z = 5 + normal(0, *SHAPE)
  _, after = train_step(quantizer, before, z)
  codes = np.asarray(after["codebook"]["codes"])
  np.testing.assert_array_equal(is_row_of(codes, z), dead)
  assert_close(codes[~dead], np.asarray(before["codebook"]["codes"])[~dead], 1e-6)
  assert_close(after["codebook"]["count"], np.where(dead, 0.5, 0.501), 1e-6)


def test_ema_revived_code_without_latents_dies_again():
  z = jnp.zeros((1, 1, 4, 1))  # identical latents: the first of equal codes wins them all
  _, variables = train_step(TWO_CODES, codebook_of(np.zeros((2, 1)), np.zeros(2)), z)
  assert_close(variables["codebook"]["count"], [0.5 * 0.4 + 0.5 * 4, 0.5 * 0.4], 1e-6)
  _, variables = train_step(TWO_CODES, variables, z + 1)
  # Code 1 was re-seeded with a latent of the new batch, and this time wins.
  assert_close(variables["codebook"]["codes"], [[0.0], [1.0]], 1e-6)
  assert_close(variables["codebook"]["count"], [0.5 * 2.2, 0.5 * 0.4 + 0.5 * 4], 1e-6)


def test_ema_collapsed_codebook_recovers():
  centres = 4.0 * normal(5, 8, D)

  def run(threshold):
    quantizer = ema_quantizer(codebook_size=32, revival_threshold=threshold)
    # All codes in one place, one of them winning everything.
    variables = codebook_of(np.full((32, D), 9.0), np.eye(32)[0] * 50 + 1e-3)
    for i in range(30):
      z = centres[integers(i, 0, 8, 4, 4, 4)] + 0.01 * normal(i, 4, 4, 4, D)
      out, variables = train_step(quantizer, variables, z, i)
    codes = np.asarray(variables["codebook"]["codes"])
    far = np.linalg.norm(codes[brute_force(centres, codes)] - np.asarray(centres), axis=-1)
    return len(np.unique(out.tokens)), far.max()

  used, far = run(threshold=0.1)
  assert used >= 8
  assert far < 0.1
  used, far = run(threshold=1e-9)  # what the revival is for
  assert used == 1
  assert far > 1


@pytest.mark.skipif(jax.device_count() < 2, reason="needs two devices")
@pytest.mark.parametrize("kind", ["fsq", "ema"])
def test_one_and_two_devices_agree(kind):
  quantizer = FSQ((4, 5, 3)) if kind == "fsq" else ema_quantizer(revival_threshold=0.1)
  batches = [np.asarray(normal(i, *SHAPE)) for i in range(3)]
  results = []
  for batch_size in (1, 4):
    mesh = make_mesh(batch_size)
    assert mesh.size == min(batch_size, 2)
    step = jax.jit(
      lambda variables, z, key: train_step(quantizer, variables, z, key),
      out_shardings=replicated(mesh),
    )
    variables = jax.device_put(
      {"codebook": {}} if kind == "fsq" else codebook_of(np.zeros((K, D)), np.zeros(K)),
      replicated(mesh),
    )
    tokens, losses = [], []
    for i, z in enumerate(batches):
      out, variables = step(variables, shard_batch(z, mesh), i)
      tokens.append(np.asarray(out.tokens))
      losses.append(float(out.loss.mean()))
    results.append((tokens, losses, variables))
  (tokens1, losses1, variables1), (tokens2, losses2, variables2) = results
  np.testing.assert_array_equal(tokens1, tokens2)
  assert_close(losses1, losses2, 1e-6)
  jax.tree.map(lambda a, b: assert_close(a, np.asarray(b), 1e-6), variables1, variables2)
