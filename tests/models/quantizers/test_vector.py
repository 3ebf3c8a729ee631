"""Vector quantisation against NumPy: who receives which gradient, the moving codebook."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i.errors import UsageError
from jaxt2i.models.quantizers import EMAQuantizer, VectorQuantizer
from jaxt2i.models.quantizers.codebooks import entropy_penalty
from tests.arrays import assert_close, integers, normal

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


TWO_CODES = ema_quantizer(codebook_size=2, code_dim=1, codebook_decay=0.5, revival_threshold=0.2)


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


HALF_A_LATENT = 0.5 * K / math.prod(SHAPE[:-1])  # a step, as a share of the even share
REVIVAL_ALONE = ema_quantizer(codebook_decay=1.0, revival_threshold=HALF_A_LATENT)


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


@pytest.mark.parametrize("batch", [1, 4])
def test_ema_a_code_is_dead_below_a_share_of_the_even_share(batch):
  quantizer = ema_quantizer(codebook_size=4, code_dim=1, codebook_decay=1.0, revival_threshold=0.5)
  # 8 or 32 latents for 4 codes: 2 or 8 each would be even, so a code lives from 1 or 4 on.
  least = 1.0 * batch
  before = codebook_of(np.zeros((4, 1)), least * np.array([0.99, 1.01, 0.0, 3.0]))
  out, after = train_step(quantizer, before, 7 + normal(0, batch, 2, 4, 1))
  revived = np.asarray(after["codebook"]["codes"])[:, 0] != 0
  np.testing.assert_array_equal(revived, [True, False, True, False])
  assert_close(after["codebook"]["count"], least * np.array([1.0, 1.01, 1.0, 3.0]), 1e-6)
  assert float(out.stats["dead_codes"]) == 2


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

  used, far = run(threshold=0.05)
  assert used >= 8
  assert far < 0.1
  used, far = run(threshold=1e-9)  # what the revival is for
  assert used == 1
  assert far > 1


# --- codebook by gradient ---


def vector_quantizer(**options):
  defaults = dict(
    codebook_size=K, code_dim=D, commitment_weight=0.25, codebook_decay=0.9, revival_threshold=1e-6
  )
  return VectorQuantizer(**{**defaults, **options})


def learnt(codes, count, share=0.3):
  """A codebook in use, part of it learnt, part of it set by revival."""
  codes = jnp.asarray(codes, jnp.float32)
  codebook = {"count": jnp.asarray(count, jnp.float32), "offset": (1 - share) * codes}
  return {"params": {"codes": share * codes}, "codebook": codebook}


@pytest.fixture
def live_learnt(live):
  return learnt(live["codebook"]["codes"], live["codebook"]["count"])


@pytest.mark.parametrize("beta", [0.0, 0.25, 3.0])
def test_vq_who_receives_which_gradient(live, live_learnt, beta):
  quantizer = vector_quantizer(commitment_weight=beta)
  z, pull = normal(0, *SHAPE), normal(1, *SHAPE)
  codes = np.asarray(live["codebook"]["codes"])
  tokens = brute_force(z, codes)

  @jax.jit
  def gradients(z, variables):
    run = lambda z, v: train_step(quantizer, v, z)[0]
    reconstruction = lambda z, v: jnp.sum(pull * run(z, v).z_q)
    own = lambda z, v: run(z, v).loss.mean()
    return [jax.grad(loss, (0, 1))(z, variables) for loss in (reconstruction, own)]

  of_reconstruction, of_own = gradients(z, live_learnt)
  np.testing.assert_array_equal(of_reconstruction[0], pull)
  assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(of_reconstruction[1]))
  gap = (np.asarray(z) - codes[tokens]) / z.size
  # β on the encoder's side alone; the codes are pulled with weight 1 (eq. 3).
  assert_close(of_own[0], 2 * beta * gap, 1e-7)
  expected = np.zeros((K, D))
  np.add.at(expected, tokens.ravel(), -2 * gap.reshape(-1, D))
  assert_close(of_own[1]["params"]["codes"], expected, 1e-6)
  assert np.abs(expected).max() > 1e-3


def test_vq_loss_is_the_codebook_loss_and_beta_times_the_commitment(live, live_learnt):
  z = normal(0, *SHAPE)
  out = evaluate(vector_quantizer(commitment_weight=0.25), live_learnt, z)
  codes = np.asarray(live["codebook"]["codes"])
  gap = np.mean((np.asarray(z) - codes[brute_force(z, codes)]) ** 2, axis=(1, 2, 3))
  assert_close(out.losses["commitment"], gap, 1e-6)
  assert_close(out.losses["codebook"], gap, 1e-6)
  assert_close(out.loss, 1.25 * gap, 1e-6)


def test_vq_first_batch_sets_every_code_and_revival_the_dead_ones_only(live):
  z = 5 + normal(0, *SHAPE)
  quantizer = vector_quantizer(codebook_decay=1.0, revival_threshold=HALF_A_LATENT)
  fresh = quantizer.init(jax.random.key(0), z, train=False)
  out, variables = train_step(quantizer, fresh, z)
  codes = np.asarray(quantizer.apply(variables, method="codes"))
  assert is_row_of(codes, z).all()
  np.testing.assert_array_equal(out.tokens, brute_force(z, codes))
  dead = np.arange(K) % 3 == 0
  before = learnt(live["codebook"]["codes"], np.where(dead, 0.499, 0.501))
  out, after = train_step(quantizer, before, z)
  codes = np.asarray(quantizer.apply({**before, **after}, method="codes"))
  np.testing.assert_array_equal(is_row_of(codes, z), dead)
  assert_close(codes[~dead], np.asarray(live["codebook"]["codes"])[~dead], 1e-6)
  assert float(out.stats["dead_codes"]) == dead.sum()


def test_vq_descent_moves_codes_to_the_means_of_their_latents():
  quantizer = vector_quantizer(codebook_size=2, code_dim=1)
  variables = learnt([[-1.0], [1.0]], [1.0, 1.0])
  z = jnp.array([-3.0, -2.0, 4.0, 6.0]).reshape(1, 1, 4, 1)

  @jax.jit
  def step(variables):
    gradient = jax.grad(lambda v: train_step(quantizer, v, z)[0].loss.mean())(variables)
    moved = jax.tree.map(lambda p, g: p - 0.5 * g, variables["params"], gradient["params"])
    return {**variables, "params": moved}

  for _ in range(60):
    variables = step(variables)
  assert_close(quantizer.apply(variables, method="codes"), [[-2.5], [5.0]], 1e-3)


# --- options of both ---


def test_cosine_looks_for_the_smallest_angle_and_keeps_length_one(live, live_learnt):
  z = normal(0, *SHAPE) * (0.1 + jnp.abs(normal(1, *SHAPE[:3], 1)))
  directions = np.array(live["codebook"]["codes"])
  directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
  units = np.asarray(z) / np.linalg.norm(z, axis=-1, keepdims=True)
  cosines = np.einsum("bhwd,kd->bhwk", units, directions)
  for quantizer, variables in (
    (ema_quantizer(cosine=True), codebook_of(directions, live["codebook"]["count"])),
    (vector_quantizer(cosine=True), live_learnt),
  ):
    out, after = train_step(quantizer, variables, z)
    np.testing.assert_array_equal(out.tokens, cosines.argmax(axis=-1))
    codes = np.asarray(quantizer.apply({**variables, **after}, method="codes"))
    assert_close(np.linalg.norm(codes, axis=-1), np.ones(K), 1e-5)
    assert_close(np.linalg.norm(out.z_q, axis=-1), np.ones(SHAPE[:3]), 1e-5)
    # ‖a − b‖² of unit vectors is 2 − 2 cos.
    distance = (2 - 2 * cosines.max(axis=-1)).mean(axis=(1, 2)) / D
    assert_close(out.losses["commitment"], distance, 1e-5)


def test_rotate_changes_the_gradient_and_nothing_else(live):
  z, pull = normal(0, *SHAPE), normal(1, *SHAPE)
  plain, rotated = ema_quantizer(), ema_quantizer(rotate=True)
  one, other = evaluate(plain, live, z), evaluate(rotated, live, z)
  np.testing.assert_array_equal(one.tokens, other.tokens)
  np.testing.assert_array_equal(one.loss, other.loss)
  assert_close(one.z_q, other.z_q, 1e-6)
  gradient = jax.grad(lambda z: jnp.sum(pull * evaluate(rotated, live, z).z_q))(z)
  # Lengths of gradients are scaled by λ = ‖z_q‖ / ‖z‖: R is orthogonal.
  length = lambda x: np.linalg.norm(np.asarray(x, np.float64), axis=-1)
  assert_close(length(gradient), length(other.z_q) / length(z) * length(pull), 1e-4)
  assert np.abs(np.asarray(gradient - pull)).max() > 0.1


def test_kmeans_finds_the_clusters_of_the_first_batch_only():
  centres = 6.0 * np.eye(4, 3) - 3
  z = jnp.asarray(centres[integers(0, 0, 4, 4, 8, 8)]) + 0.05 * normal(1, 4, 8, 8, 3)
  z = z.astype(jnp.float32)
  quantizer = ema_quantizer(codebook_size=32, kmeans_iterations=10, codebook_decay=1.0)
  fresh = quantizer.init(jax.random.key(0), z, train=False)
  _, after = train_step(quantizer, fresh, z)
  codes = np.asarray(after["codebook"]["codes"])
  flat = np.asarray(z).reshape(-1, 3)
  assert not is_row_of(codes, z).all()  # means, no latents
  for code in codes[np.unique(brute_force(flat, codes))]:
    members = flat[brute_force(flat, codes) == brute_force(code, codes)]
    assert np.abs(code - members.mean(axis=0)).max() < 0.05
  _, later = train_step(quantizer, after, z + 1)
  assert_close(later["codebook"]["codes"], codes, 1e-6)  # nothing dead, decay 1: nothing moves


def test_entropy_reaches_the_loss_by_its_weight(live, live_learnt):
  z = normal(0, *SHAPE)
  for make, variables in ((ema_quantizer, live), (vector_quantizer, live_learnt)):
    plain = evaluate(make(), variables, z)
    out = evaluate(make(entropy_weight=0.3, entropy_temperature=0.5), variables, z)
    codes = np.asarray(live["codebook"]["codes"])
    expected = entropy_penalty(z, jnp.asarray(codes), 0.5)
    assert_close(out.losses["entropy"], np.asarray(expected), 1e-6)
    assert_close(out.loss - plain.loss, 0.3 * np.asarray(expected), 1e-6)


@pytest.mark.parametrize(
  ("options", "named"),
  [
    (dict(codebook_size=1), "codebook_size is 1: must be 2 or more"),
    (dict(code_dim=0), "code_dim is 0"),
    (dict(codebook_decay=1.5), "codebook_decay is 1.5: must be from 0 to 1"),
    (dict(commitment_weight=-1.0), "commitment_weight is -1.0"),
    (dict(entropy_temperature=0.0), "entropy_temperature is 0.0: must be above 0"),
    (dict(cosine=True, code_dim=1), "two directions"),
  ],
)
def test_what_cannot_work_is_refused(options, named):
  for make in (ema_quantizer, vector_quantizer):
    with pytest.raises(UsageError, match=named):
      make(**options)
