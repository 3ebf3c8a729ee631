"""The training state, and the moving average of weights against its formula."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxt2i.state import TrainState, ema
from tests.arrays import normal


def variables():
  return {
    "params": {"kernel": normal(0, 3, 2)},
    "codebook": {"codes": normal(1, 4, 2)},
    "frozen": {"params": {"kernel": normal(2, 2)}},
  }


def test_fresh_state_holds_all_collections_and_starts_the_average_at_the_weights():
  given = variables()
  state = TrainState.create(given, optax.adam(0.1))
  assert (int(state.step), state.step.dtype) == (0, jnp.int32)
  assert set(state.collections) == {"codebook", "frozen"}
  np.testing.assert_array_equal(state.ema_params["kernel"], given["params"]["kernel"])
  jax.tree.map(
    np.testing.assert_array_equal, state.opt_state, optax.adam(0.1).init(given["params"])
  )


def test_average_has_buffers_of_its_own():
  # The training step donates the state: one buffer twice would be donated twice.
  state = TrainState.create(variables(), optax.sgd(0.1))
  step = jax.jit(lambda state: jax.tree.map(lambda x: x * 2, state), donate_argnums=0)
  before = np.asarray(state.params["kernel"]).copy()
  np.testing.assert_array_equal(step(state).ema_params["kernel"], 2 * before)


def test_ema_variables_are_the_average_with_the_other_collections():
  state = TrainState.create(variables(), optax.sgd(0.1))
  state = state.replace(ema_params=jax.tree.map(lambda x: x + 1, state.params))
  given = state.ema_variables
  assert set(given) == {"params", "codebook", "frozen"}
  np.testing.assert_array_equal(given["params"]["kernel"], state.params["kernel"] + 1)
  np.testing.assert_array_equal(given["codebook"]["codes"], variables()["codebook"]["codes"])


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_ema_equals_the_formula(decay):
  averages = {"a": normal(0, 3), "b": {"c": normal(1, 2, 2)}}
  expected = jax.tree.map(lambda x: np.asarray(x, np.float64), averages)
  for step in range(30):
    params = {"a": normal(10 + step, 3), "b": {"c": normal(50 + step, 2, 2)}}
    averages = ema(averages, params, decay, jnp.asarray(step, jnp.int32))
    d = min(decay, (step + 1) / (step + 10))
    expected = jax.tree.map(
      lambda e, p, d=d: d * e + (1 - d) * np.asarray(p, np.float64), expected, params
    )
  jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, atol=1e-5), averages, expected)


def test_ema_forgets_the_initial_weights_soon():
  average = {"a": jnp.array([1000.0])}
  for step in range(20):
    average = ema(average, {"a": jnp.array([1.0])}, 0.9999, jnp.asarray(step, jnp.int32))
  # With a constant decay of 0.9999 it would still be 998.
  np.testing.assert_allclose(average["a"], [1.0], atol=1e-2)


def test_ema_late_in_a_run_has_the_decay_asked_for():
  late = ema({"a": jnp.zeros(1)}, {"a": jnp.ones(1)}, 0.99, jnp.asarray(10**6, jnp.int32))
  np.testing.assert_allclose(late["a"], [0.01], rtol=1e-4)
