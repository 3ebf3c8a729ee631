"""Mixed captions, guidance, its schedule, and what it leads away from, in logits."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i.sampling import Conditions, SamplingOptions
from tests.arrays import normal

B, T, K = 3, 4, 5
FIRST, SECOND = jnp.arange(12).reshape(B, T), jnp.arange(12).reshape(B, T) + 20
NEGATIVE = jnp.full((B, T), 7)
MIX = jnp.array([[1.0, 0.25, 0.0], [0.0, 0.75, 1.0]])
TWO = Conditions(text=jnp.stack([FIRST, SECOND]), mix=MIX, negative=NEGATIVE)
DONE = jnp.asarray(0.25)
PLAIN, GUIDED = SamplingOptions(), SamplingOptions(guidance_scale=3.0)
RISING = SamplingOptions(guidance_scale=3.0, guidance_schedule="rising")


def test_captions_come_one_after_the_other_and_the_negative_one_last_where_it_is_needed():
  np.testing.assert_array_equal(TWO.stacked(PLAIN), np.concatenate([FIRST, SECOND]))
  np.testing.assert_array_equal(TWO.stacked(GUIDED), np.concatenate([FIRST, SECOND, NEGATIVE]))
  tokens = jnp.array([[1, 2], [3, 4], [5, 6]])
  np.testing.assert_array_equal(TWO.repeated(tokens, GUIDED), np.concatenate([tokens] * 3))
  np.testing.assert_array_equal(TWO.repeated(tokens[:, 0], PLAIN), [1, 3, 5, 1, 3, 5])


@pytest.mark.parametrize("shape", [(K,), (6, K)])
def test_logits_are_mixed_then_guided(shape):
  first, second, negative = (normal(i, B, *shape) for i in range(3))
  share = np.asarray(MIX[1]).reshape(B, *[1] * len(shape))
  mixed = (1 - share) * first + share * second
  stacked = jnp.concatenate([first, second])
  np.testing.assert_allclose(TWO.combined(stacked, PLAIN, DONE), mixed, atol=1e-6)
  stacked = jnp.concatenate([first, second, negative])
  for options, scale in ((GUIDED, 3.0), (RISING, 1.5)):  # 1 + (3 − 1) / 4
    expected = negative + scale * (mixed - negative)
    np.testing.assert_allclose(TWO.combined(stacked, options, DONE), expected, atol=1e-5)


def test_one_caption_without_guidance_is_left_alone_bit_by_bit():
  logits = normal(0, B, K)
  np.testing.assert_array_equal(Conditions.of(FIRST).combined(logits, PLAIN, DONE), logits)


def test_a_rising_guidance_ends_at_its_scale():
  c, u = normal(0, B, K), normal(1, B, K)
  both, end = jnp.concatenate([c, u]), jnp.asarray(1.0)
  one = Conditions.of(FIRST)
  np.testing.assert_allclose(
    one.combined(both, RISING, end), one.combined(both, GUIDED, end), atol=1e-6
  )


def test_guidance_leads_away_from_no_caption_unless_told():
  np.testing.assert_array_equal(Conditions.of(FIRST).stacked(GUIDED)[B:], np.zeros((B, T)))
