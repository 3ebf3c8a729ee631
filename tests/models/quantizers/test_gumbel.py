"""Gumbel-softmax quantisation: what is drawn, how it cools, which gradients there are."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i.errors import UsageError
from jaxt2i.models.quantizers import GumbelQuantizer
from tests.arrays import assert_close, normal

K, D = 6, 3
SHAPE = (4, 3, 5, K)
OPTIONS = dict(
  codebook_size=K,
  code_dim=D,
  kl_weight=0.5,
  temperature_start=2.0,
  temperature_end=0.5,
  anneal_steps=4,
)
QUANTIZER = GumbelQuantizer(**OPTIONS)


def variables(steps=0):
  return {"params": {"codes": normal(9, K, D)}, "codebook": {"steps": jnp.asarray(steps)}}


@functools.partial(jax.jit, static_argnames="train")
def run(variables, z, key=0, *, train=True):
  return QUANTIZER.apply(
    variables, z, train=train, rngs={"codebook": jax.random.key(key)}, mutable=["codebook"]
  )


def softmax(x):
  e = np.exp(np.asarray(x, np.float64) - np.max(x, axis=-1, keepdims=True))
  return e / e.sum(axis=-1, keepdims=True)


def test_evaluation_takes_the_greatest_logit():
  z = normal(0, *SHAPE)
  out, updates = run(variables(), z, train=False)
  np.testing.assert_array_equal(out.tokens, np.asarray(z).argmax(axis=-1))
  codes = np.asarray(variables()["params"]["codes"])
  assert_close(out.z_q, codes[np.asarray(out.tokens)], 0)
  looked_up = QUANTIZER.apply(variables(), out.tokens, method="lookup")
  assert_close(looked_up, codes[np.asarray(out.tokens)], 0)
  assert int(updates["codebook"]["steps"]) == 0


def test_training_draws_codes_as_often_as_the_softmax_says():
  logits = normal(0, K)
  z = jnp.broadcast_to(logits.reshape(1, 1, 1, K), (40, 20, 25, K))
  out, _ = run(variables(steps=9), z)
  shares = np.bincount(np.asarray(out.tokens).ravel(), minlength=K) / out.tokens.size
  assert_close(shares, softmax(logits), 0.02)  # 20,000 draws: three standard deviations are 0.011
  codes = np.asarray(variables()["params"]["codes"])
  assert_close(out.z_q, codes[np.asarray(out.tokens)], 1e-5)  # a code, not a mixture
  assert np.any(np.asarray(out.tokens) != np.asarray(run(variables(9), z, 1)[0].tokens))


def test_temperature_falls_exponentially_and_stays():
  state, seen = variables(), []
  for _ in range(6):
    out, updates = run(state, normal(0, *SHAPE))
    seen.append(float(out.stats["temperature"]))
    state = {**state, **updates}
  assert_close(seen, [2.0, 2**0.5, 1.0, 0.5**0.5, 0.5, 0.5], 1e-6)


def test_gradients_are_those_of_the_mixture():
  z, pull = normal(0, *SHAPE), normal(1, *SHAPE[:3], D)
  codes = variables()["params"]["codes"]
  loss = lambda v, z: jnp.sum(pull * run(v, z, 3)[0].z_q)
  to_variables, to_z = jax.grad(loss, (0, 1), allow_int=True)(variables(), z)
  # The noise that this key gives, found where nothing else acts on it: through the tokens of
  # widely spread logits it could not be, so the gradient is checked against the relaxation itself.
  noise = jax.random.gumbel(_key_of_noise(3), z.shape)
  mixture = lambda codes, z: jnp.sum(pull * (jax.nn.softmax((z + noise) / 2.0) @ codes))
  by_codes, by_z = jax.grad(mixture, (0, 1))(codes, z)
  assert_close(to_z, np.asarray(by_z), 1e-5)
  assert_close(to_variables["params"]["codes"], np.asarray(by_codes), 1e-4)
  assert np.abs(np.asarray(by_z)).max() > 0.1


def _key_of_noise(key):
  """The key that `make_rng` gives inside the quantizer."""

  class Probe(GumbelQuantizer):
    def __call__(self, z, *, train):
      return self.make_rng("codebook")

  return Probe(**OPTIONS).apply(
    variables(), jnp.zeros(SHAPE), train=True, rngs={"codebook": jax.random.key(key)}
  )


def test_its_loss_is_the_divergence_from_an_even_use():
  z = normal(0, *SHAPE)
  out, _ = run(variables(), z)
  p = softmax(z)
  expected = np.sum(p * np.log(p * K), axis=-1).mean(axis=(1, 2))
  assert_close(out.losses["kl"], expected, 1e-6)
  assert_close(out.loss, 0.5 * expected, 1e-6)
  even, _ = run(variables(), jnp.zeros(SHAPE))
  assert_close(even.loss, np.zeros(4), 1e-6)
  to_codes = jax.grad(lambda v: run(v, z)[0].loss.mean(), allow_int=True)(variables())
  assert np.all(to_codes["params"]["codes"] == 0)


def test_it_asks_for_a_logit_a_code():
  assert (QUANTIZER.latent_dim, QUANTIZER.code_dim, QUANTIZER.codebook_size) == (K, D, K)


@pytest.mark.parametrize(
  ("options", "named"),
  [
    (dict(codebook_size=1), "codebook_size is 1"),
    (dict(temperature_end=0.0), "temperature_end is 0.0: must be above 0"),
    (dict(temperature_end=3.0), "at most temperature_start"),
    (dict(anneal_steps=0), "anneal_steps is 0"),
    (dict(kl_weight=-1.0), "kl_weight is -1.0"),
  ],
)
def test_what_cannot_work_is_refused(options, named):
  with pytest.raises(UsageError, match=named):
    GumbelQuantizer(**{**OPTIONS, **options})
