"""MiniLM against NumPy, with weights drawn at random and with the real ones where installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i import pretrained_text
from jaxt2i.models.minilm import VOCABULARY, MiniLM, sentence_vector
from tests.arrays import normal
from tests.models import numpy_minilm

# Three captions of 7, 1 and 10 word pieces, the first with one that occurs twice, and none.
LENGTHS = (7, 1, 10, 0)
IDS = np.random.default_rng(1).integers(1, VOCABULARY, (4, 12)).astype(np.int32)
IDS[0, 3] = IDS[0, 1]
IDS[np.arange(12) >= np.array(LENGTHS)[:, None]] = 0


@jax.jit
def run(params, ids):
  return MiniLM().apply({"params": params}, ids)


def assert_equals_numpy(weights):
  found = np.asarray(run(pretrained_text.convert(weights), IDS))
  assert found.shape == (4, 12, 384)
  for ids, ours, length in zip(IDS, found, LENGTHS, strict=True):
    assert not ours[length:].any()
    if length:
      expected = numpy_minilm.features(weights, ids[:length])
      np.testing.assert_allclose(ours[:length], expected, atol=2e-5 * np.abs(expected).max())


def test_equals_numpy():
  assert_equals_numpy(numpy_minilm.random_weights())


def test_equals_numpy_with_the_real_weights():
  if not pretrained_text.is_installed():
    pytest.skip("the weights are not installed")
  load = pytest.importorskip("safetensors.numpy").load
  assert_equals_numpy(load(pretrained_text.WEIGHTS.read()))


def test_takes_what_is_converted_and_no_more():
  params = jax.eval_shape(MiniLM().init, jax.random.key(0), IDS)["params"]
  shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype.name), tree)
  assert shapes(params) == shapes(pretrained_text.convert(numpy_minilm.random_weights()))


def test_a_sentence_is_the_mean_over_its_pieces_at_length_1():
  features = np.array(normal(0, 3, 5, 8))
  features[0, 2:] = 0
  features[2] = 0
  found = np.asarray(sentence_vector(jnp.asarray(features)))
  for row, pieces in zip(found, (features[0, :2], features[1]), strict=False):
    mean = pieces.mean(axis=0)
    np.testing.assert_allclose(row, mean / np.sqrt((mean**2).sum()), atol=1e-6)
  np.testing.assert_array_equal(found[2], 0)
