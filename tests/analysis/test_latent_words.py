"""Codes and words: scikit-learn's mutual information, chance, and a planted pair."""

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from jaxt2i.analysis import latent_words
from tests.analysis.latent_sets import latent_set

RNG = np.random.default_rng


def value(section, name):
  return next(m.value for m in section.measures if m.name == name)


def words(rng, count):
  some = [
    rng.choice(["cat", "dog", "tree", "house", "boat"], 2, replace=False) for _ in range(count)
  ]
  return [f"a {one} with the {other}" for one, other in some]


def test_mutual_information_is_that_of_scikit_learn():
  rng = RNG(0)
  a, b = rng.random((60, 4)) < 0.3, rng.random((60, 3)) < 0.6
  b[:, 0] = ~a[:, 0]
  found = latent_words.mutual_information(a, b)
  for i, j in np.ndindex(4, 3):
    expected = mutual_info_score(a[:, i], b[:, j]) / np.log(2)
    assert found[i, j] == pytest.approx(expected, abs=1e-9)


def test_mutual_information_of_what_never_varies_is_nothing():
  always, some = np.ones((8, 1), bool), np.arange(8)[:, None] % 2 == 0
  assert latent_words.mutual_information(always, some).item() == 0
  assert latent_words.mutual_information(some, some).item() == pytest.approx(1)


@pytest.mark.parametrize("seed", range(5))
def test_independent_captions_tell_nothing(seed):
  rng = RNG(seed)
  found = latent_set(rng.integers(30, size=(80, 3, 3)), np.eye(30), captions=words(rng, 80))
  section = latent_words.measure(found)
  # By chance one pair in 20 such reports.
  assert value(section, "pairs_above_floor") <= 1
  assert abs(value(section, "mean_bits_above_shuffled")) < 0.002
  assert value(section, "floor_bits") > value(section, "largest_bits") * 0.7


def test_a_planted_pair_is_found_first_with_its_patches():
  rng = RNG(1)
  tokens, captions = rng.integers(29, size=(80, 3, 3)), words(rng, 80)
  for image in range(0, 80, 3):
    captions[image] += " near a Volcano"
    tokens[image, 1, 2] = 29
  section = latent_words.measure(latent_set(tokens, np.eye(30), captions=captions))
  first = section.tables["pairs"][0]
  assert (first["code"], first["word"], first["images_with_both"]) == (29, "volcano", 27)
  assert first["z"] > 20
  assert {(y, x) for _, y, x in first["places"]} == {(1, 2)}
  assert all(image % 3 == 0 for image, _, _ in first["places"])
  assert len(first["places"]) == latent_words.PATCHES
  assert "code 29 and “volcano”" in section.answer


def test_codes_that_exclude_a_word_are_not_shown():
  tokens = np.zeros((40, 2, 2), int)
  tokens[:20] = 1
  captions = ["cat"] * 20 + ["dog"] * 20
  section = latent_words.measure(latent_set(tokens, np.eye(2), captions=captions))
  pairs = {(pair["code"], pair["word"]) for pair in section.tables["pairs"]}
  assert pairs == {(1, "cat"), (0, "dog")}
  assert value(section, "largest_bits") == pytest.approx(1)


def test_a_word_gets_so_many_pairs_at_most():
  tokens = np.zeros((40, 4, 4), int)
  tokens[:20] = np.arange(16).reshape(4, 4)
  section = latent_words.measure(
    latent_set(tokens, np.eye(16), captions=["cat"] * 20 + ["dog"] * 20)
  )
  assert [pair["word"] for pair in section.tables["pairs"]] == ["cat"] * latent_words.OF_A_WORD


def test_without_words_the_section_says_so():
  section = latent_words.measure(latent_set(np.zeros((20, 2, 2), int), np.eye(2)))
  assert section.measures == ()
  assert section.answer.startswith("Not measured")
