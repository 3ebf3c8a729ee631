"""Residual quantisation: each level takes what the ones before it left."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i.errors import UsageError
from jaxt2i.models.quantizers import FSQ, EMAQuantizer, ResidualQuantizer, VectorQuantizer
from tests.arrays import assert_close, normal

K, D, DEPTH = 8, 3, 3
SHAPE = (2, 2, 4, D)
INNER = dict(
  codebook_size=K, code_dim=D, commitment_weight=0.25, codebook_decay=0.9, revival_threshold=1e-6
)
QUANTIZER = ResidualQuantizer(DEPTH, EMAQuantizer(**INNER))


def codebooks():
  return [normal(10 + level, K, D) * 0.4**level for level in range(DEPTH)]


def variables():
  count = jnp.full(K, 3.0)
  return {
    "codebook": {
      f"levels_{i}": {"codes": codes, "count": count, "total": 3 * codes}
      for i, codes in enumerate(codebooks())
    }
  }


@functools.partial(jax.jit, static_argnames="train")
def run(z, train=False):
  return QUANTIZER.apply(
    variables(), z, train=train, rngs={"codebook": jax.random.key(0)}, mutable=["codebook"]
  )


def by_hand(z):
  """Tokens [B, h, w, depth], the sum of their codes, what each level was given."""
  left, tokens, given = np.asarray(z, np.float64), [], []
  for codes in map(np.asarray, codebooks()):
    given.append(left)
    tokens.append(np.argmin(np.sum((left[..., None, :] - codes) ** 2, axis=-1), axis=-1))
    left = left - codes[tokens[-1]]
  return np.stack(tokens, axis=-1), np.asarray(z) - left, given


def test_levels_take_what_is_left_and_tokens_stand_side_by_side():
  z = normal(0, *SHAPE)
  out, _ = run(z)
  tokens, z_q, _ = by_hand(z)
  assert QUANTIZER.tokens_per_position == DEPTH
  assert out.tokens.shape == (2, 2, 4 * DEPTH)
  np.testing.assert_array_equal(out.tokens, tokens.reshape(2, 2, -1))
  assert_close(out.z_q, z_q, 1e-6)
  looked_up = QUANTIZER.apply(variables(), out.tokens, method="lookup")
  assert_close(looked_up, z_q, 1e-6)


def test_each_level_comes_nearer():
  z = normal(0, *SHAPE)
  _, _, given = by_hand(z)
  errors = [np.mean(left**2) for left in given]
  assert errors[0] > errors[1] > errors[2]


def test_the_commitment_of_every_level_reaches_the_encoder():
  z, pull = normal(0, *SHAPE), normal(1, *SHAPE)
  tokens, _, given = by_hand(z)
  gaps = [
    left - np.asarray(codes)[tokens[..., i]]
    for i, (left, codes) in enumerate(zip(given, codebooks(), strict=True))
  ]
  out, _ = run(z)
  commitment = sum(np.mean(gap**2, axis=(1, 2, 3)) for gap in gaps)
  assert_close(out.losses["commitment"], commitment, 1e-5)
  assert_close(out.loss, 0.25 * commitment, 1e-5)
  of_own = jax.grad(lambda z: run(z)[0].loss.mean())(z)
  assert_close(of_own, 2 * 0.25 * sum(gaps) / z.size, 1e-6)
  of_reconstruction = jax.grad(lambda z: jnp.sum(pull * run(z)[0].z_q))(z)
  np.testing.assert_array_equal(of_reconstruction, pull)


def test_every_level_has_a_codebook_of_its_own_that_moves():
  _, updates = run(normal(0, *SHAPE), train=True)
  assert set(updates["codebook"]) == {f"levels_{i}" for i in range(DEPTH)}
  for level, codes in enumerate(codebooks()):
    moved = updates["codebook"][f"levels_{level}"]["codes"]
    assert np.abs(np.asarray(moved - codes)).max() > 1e-3


def test_codebooks_that_gradients_move_receive_them():
  quantizer = ResidualQuantizer(2, VectorQuantizer(**INNER))
  z = normal(0, *SHAPE)
  fresh = quantizer.init(jax.random.key(0), z, train=False)
  codes = {f"levels_{i}": {"codes": codes} for i, codes in enumerate(codebooks()[:2])}
  loss = lambda codes: quantizer.apply({**fresh, "params": codes}, z, train=False).loss.mean()
  for leaf in jax.tree.leaves(jax.grad(loss)(codes)):
    assert np.abs(leaf).max() > 1e-4


@pytest.mark.parametrize(
  ("depth", "inner", "named"),
  [
    (1, EMAQuantizer(**INNER), "depth is 1: must be from 2"),
    (2, FSQ((5, 5)), "must be 'vq' or 'ema'"),
    (2, EMAQuantizer(**INNER, cosine=True), "cosine"),
  ],
)
def test_what_cannot_work_is_refused(depth, inner, named):
  with pytest.raises(UsageError, match=named):
    ResidualQuantizer(depth, inner)
