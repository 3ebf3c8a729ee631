"""Retrieval and R-precision: by hand, at chance, and with captions that several images share."""

import numpy as np
import pytest

from jaxt2i.errors import UserError
from jaxt2i.evaluators import drawn, intervals
from jaxt2i.evaluators.drawn import Drawing
from jaxt2i.evaluators.retrieval import (
  RPrecision,
  breakdown,
  found_at,
  own_first,
  right_answers,
)
from jaxt2i.matcher import Matcher
from tests.planted import OPTIONS, Planted, values_of
from tests.sources import Pictures, pictures


def r_precision(*args, **options):
  hits, chance = own_first(*args, **options)
  return float(np.mean(hits)), chance


def unit(x):
  return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def test_recall_at_k_by_hand():
  answers = np.eye(4, dtype=np.float32)
  queries = unit(np.array([[9, 1, 0, 0], [5, 4, 1, 0], [0, 5, 4, 6], [0, 0, 0, 1.0]]))
  similarity, right = queries @ answers.T, np.eye(4, dtype=bool)
  assert list(found_at(similarity, right, 1)) == [True, False, False, True]
  assert list(found_at(similarity, right, 2)) == [True, True, False, True]
  assert found_at(similarity, right, 3).all()
  right[1, 0] = True
  assert list(found_at(similarity, right, 1)) == [True, True, False, True]


def test_whatever_an_image_is_called_is_right_for_it():
  captions = [("a", "b"), ("b",), ("b", "c", "a"), ("c",)]
  expected = [[1, 1, 1, 0], [0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 1]]  # of "a", "b", "b", "c"
  np.testing.assert_array_equal(right_answers(captions), expected)


def test_a_perfect_and_a_random_match():
  rng = np.random.default_rng(0)
  points = unit(rng.normal(size=(400, 64)))
  captions = [(str(i),) for i in range(400)]
  assert r_precision(points, points, captions) == (1.0, pytest.approx(0.01))
  other = unit(rng.normal(size=(400, 64)))
  found, _ = r_precision(points, other, captions)
  assert found < 0.04  # chance is 0.01; 0.005 is a standard deviation


def test_a_matcher_that_swaps_captions_is_always_wrong():
  points = np.eye(4, dtype=np.float32)
  swapped = points[[1, 0, 3, 2]]
  assert r_precision(points, swapped, list(zip("abcd"))) == (0.0, 0.25)


def test_same_captions_are_no_rivals():
  points = np.eye(3, dtype=np.float32)
  # The second and the third image have one caption; their texts are the same point.
  texts = points[[0, 1, 1]]
  share, chance = r_precision(points, texts, [("a",), ("b",), ("b",)])
  assert chance == 0.5
  assert share == pytest.approx(2 / 3)  # the third image lies at right angles to all captions


def test_no_rival_is_another_caption_of_the_same_image():
  points = np.eye(3, dtype=np.float32)
  captions = [("a", "b", "x"), ("b",), ("c", "y")]
  texts = np.array([[0.5, 0, 0], [1, 0, 0], [0, 0, 1]], np.float32)
  share, chance = r_precision(points, texts, captions)
  assert chance == pytest.approx((1 / 2 + 1 / 3 + 1 / 3) / 3)  # the first image has one rival
  assert share == pytest.approx(2 / 3)  # all but the second image
  assert r_precision(points, texts, [c[:1] for c in captions])[0] == pytest.approx(1 / 3)


def test_an_image_that_all_captions_suit_spoils_nothing():
  points = np.eye(3, dtype=np.float32)
  captions = [("a", "b", "c"), ("b",), ("c",)]
  share, chance = r_precision(points, points, captions)
  assert (share, chance) == (1, pytest.approx((1 + 1 / 3 + 1 / 3) / 3))


def test_case_and_punctuation_make_no_rival():
  points = np.eye(3, dtype=np.float32)[[0, 0, 1]]
  captions = [("A cat.",), ("a  cat",), ("a dog",)]
  np.testing.assert_array_equal(own_first(points, points, captions)[0], [True] * 3)
  assert right_answers(captions)[0].tolist() == [True, True, False]


def test_all_captions_the_same_is_refused():
  with pytest.raises(UserError, match="needs two different ones"):
    r_precision(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), [("a",), ("a",)])


def test_the_seed_decides_on_the_rivals():
  rng = np.random.default_rng(1)
  points = unit(rng.normal(size=(300, 8)))
  noisy = unit(points + 0.6 * unit(rng.normal(size=(300, 8))))
  captions = [(str(i),) for i in range(300)]
  assert r_precision(points, noisy, captions) == r_precision(points, noisy, captions)
  found = {r_precision(points, noisy, captions, seed=seed)[0] for seed in range(5)}
  assert len(found) > 1


def test_breakdown_by_hand():
  hits = np.array([True, False, True, True])
  groups = [{"a", "b"}, {"a"}, {"a"}, {"c"}]
  expected = {"b": (1.0, 1), "c": (1.0, 1), "a": (2 / 3, 3)}
  assert list(breakdown(hits, groups).items()) == list(expected.items())
  assert breakdown(hits, groups, least=2) == {"a": (2 / 3, 3)}


# --- drawings ---

TEST = Pictures(pictures(40, 2))


class Judge(Matcher):
  """Sees the first two rows of a picture; knows those of each picture of TEST."""

  def __init__(self):
    pass

  def images(self, images):
    points = images[:, :2].reshape(len(images), -1).astype(np.float32) - 127.5
    return points / np.linalg.norm(points, axis=1, keepdims=True)

  def texts(self, captions):
    return self.images(np.stack([TEST.images[int(c.split()[1])] for c in captions]))


def ranked(images):
  """Of 20 captions of TEST; reconstructions are black."""
  black = lambda real: np.zeros_like(real)
  pipeline = Planted(lambda prompt, index: images[index], rebuild=black)
  return values_of(Drawing(TEST, 20, OPTIONS), pipeline, RPrecision(Judge()))


def test_a_judge_tells_how_many_drawings_fit_their_captions(monkeypatch):
  monkeypatch.setattr(drawn, "PIECE", 7)
  chosen = TEST.images[np.linspace(0, 39, 20).astype(int)]
  assert ranked(chosen)["r_precision"] == 1
  half = chosen.copy()
  half[:10] = np.roll(half[:10], 1, axis=0)
  found = ranked(half)
  assert found["r_precision"] == 0.5
  assert found["r_precision_real"] == 1
  assert found["r_precision_reconstructed"] <= 0.1
  assert found["r_precision_chance"] == pytest.approx(1 / 20)
  assert found["r_precision_95"] == intervals.of_share(np.arange(20) < 10)
  assert found["r_precision_by_length"] == {"1–5": (0.5, 20)}
  assert found["r_precision_by_word"] == {"picture": (0.5, 20)}
  assert found["image_to_text_r1"] == found["text_to_image_r1"] == 0.5


def test_a_model_of_wrong_captions_is_caught():
  chosen = TEST.images[np.linspace(0, 39, 20).astype(int)]
  found = ranked(np.roll(chosen, 1, axis=0))
  assert (found["r_precision"], found["r_precision_real"]) == (0, 1)
