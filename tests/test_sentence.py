"""Captions to features: which rows are there, that company does not matter, and what they mean."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i.data.word_pieces import WordPieces
from jaxt2i.errors import UserError
from jaxt2i.models.minilm import sentence_vector
from jaxt2i.sentence import CHUNK
from tests.models import numpy_minilm
from tests.sentences import library, random_encoder, real_encoder

# From tests/models/transformers_minilm.py, transformers 5.23, torch 2.13.
REFERENCE = json.loads(Path(__file__).with_name("sentence_reference.json").read_text())


@pytest.fixture
def encoder(monkeypatch):
  return random_encoder(monkeypatch, 20)


def test_features_are_those_of_the_caption_and_then_zeros(encoder):
  captions = ["a red cat", "", "cats and dogs on red grass! a red cat and a dog on grass", "red"]
  features = encoder(captions)
  assert features.shape == (4, 20, 384)
  assert features.dtype == np.float32
  for ids, row in zip(WordPieces(library(), 20)(captions), features, strict=True):
    ids = ids[ids != 0]
    assert not row[len(ids) :].any()
    if len(ids):
      expected = numpy_minilm.features(numpy_minilm.random_weights(), ids)
      np.testing.assert_allclose(row[: len(ids)], expected, atol=1e-4)


def test_company_does_not_matter(encoder):
  one = "a red cat and a black dog"
  alone = encoder([one])[0]
  assert alone.any()
  # At four places of three chunks, the last of which padding fills up.
  others = ["grass"] * 5 + ["cats on dogs on cats and dogs!"] * (2 * CHUNK)
  captions = [one, *others, one, "", one, *others[::-1], one]
  for i, features in enumerate(encoder(captions)):
    if captions[i] == one:
      np.testing.assert_array_equal(features, alone)


def test_nothing_gives_nothing(encoder):
  assert encoder([]).shape == (0, 20, 384)
  assert not encoder(["", " ", "\n"]).any()


def test_odd_captions_do_no_harm(encoder):
  features = encoder(["\udcff", "x" * 10_000, "\0", "🦊", "a " * 5_000])
  assert np.all(np.isfinite(features))
  np.testing.assert_array_equal(features[0], encoder(["?"])[0])
  assert np.all(features[4].any(axis=1))  # cut


def test_the_fingerprint_knows_the_length(monkeypatch):
  first, second, other = (random_encoder(monkeypatch, n).fingerprint for n in (12, 12, 13))
  assert first == second != other


@pytest.mark.parametrize("max_length", [-1, 2, 513])
def test_a_length_out_of_range_is_named(monkeypatch, max_length):
  with pytest.raises(UserError, match=rf"max_length {max_length} .*: expected 3 to 512"):
    random_encoder(monkeypatch, max_length)


def test_equals_the_numbers_of_transformers():
  """With the real weights."""
  encoder = real_encoder(64)
  captions = [row["caption"] for row in REFERENCE]
  features = encoder(captions)
  vectors = np.asarray(sentence_vector(jnp.asarray(features)))
  for row, found, vector in zip(REFERENCE, features, vectors, strict=True):
    pieces = found[found.any(axis=1)]
    assert len(pieces) == row["pieces"]
    values = pieces.ravel()[np.linspace(0, pieces.size - 1, len(row["features"])).astype(int)]
    np.testing.assert_allclose(values, row["features"], atol=1e-5)
    assert np.linalg.norm(pieces) == pytest.approx(row["norm"], rel=1e-5)
    np.testing.assert_allclose(vector[: len(row["vector"])], row["vector"], atol=1e-6)


def test_what_means_the_same_lies_near():
  """With the real weights."""
  pairs = (
    ("a dog runs across a lawn", "a puppy is racing over the grass"),
    ("two children play football", "kids are kicking a soccer ball"),
    ("a red car parked in the street", "an automobile at the side of a road"),
    ("slice of chocolate cake", "a sweet dessert on a plate"),
  )
  vectors = [
    np.asarray(sentence_vector(jnp.asarray(real_encoder(32)(side))))
    for side in zip(*pairs, strict=True)
  ]
  similarity = vectors[0] @ vectors[1].T
  np.testing.assert_array_equal(np.argmax(similarity, axis=1), np.arange(len(pairs)))
  np.testing.assert_array_equal(np.argmax(similarity, axis=0), np.arange(len(pairs)))
