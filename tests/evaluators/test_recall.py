"""Recall: whose drawing is nearest, on planted models whose recall is known."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from jaxt2i.evaluators.recall import Recall, own_is_nearest, pixel_distances
from jaxt2i.sampling import SamplingOptions
from tests.sources import Pictures, pictures

OPTIONS = SamplingOptions()


@pytest.fixture
def planted(tokenizer_pipeline):
  """A pipeline that draws `draw(prompt)` and reconstructs images as `rebuild(images)`."""

  def make(draw, rebuild=lambda images: images):
    class Planted(type(tokenizer_pipeline)):
      def __init__(self):
        pass

      def __call__(self, prompts, *, n=1, seed=0, **options):
        class Drawings:
          images = np.stack([draw(prompt) for prompt in prompts])[:, None]

        self.__dict__["asked"] = (tuple(prompts), n, seed, options)
        return Drawings

      def encode(self, images):
        return images

      def decode(self, tokens):
        return rebuild(tokens)

    return Planted()

  return make


def number_of(prompt: str) -> int:
  return int(prompt.removeprefix("picture "))


def test_distances_are_those_of_brute_force():
  a, b = pictures(7), pictures(5, seed=1)
  expected = np.empty((7, 5))
  for i in range(7):
    for j in range(5):
      expected[i, j] = np.mean((a[i] / 255 - b[j] / 255) ** 2)
  np.testing.assert_allclose(pixel_distances(a, b), expected, rtol=1e-12)


def test_distances_know_no_overflow():
  black, white = np.zeros((1, 4, 4, 3), np.uint8), np.full((1, 4, 4, 3), 255, np.uint8)
  assert pixel_distances(black, white).item() == pytest.approx(1.0)
  assert pixel_distances(white, white).item() == 0.0


def test_distances_need_no_more_memory_than_their_inputs():
  # quickstart compares 200 pictures of 64 × 64: all differences at once would take 4 GB.
  images = pictures(40, side=32)
  tracemalloc.start()
  pixel_distances(images, images)
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < 8 * (2 * images.size * 8)


def test_own_is_nearest_is_that_of_brute_force():
  rng = np.random.default_rng(2)
  real = pictures(12)
  noise = rng.normal(0, 150, real.shape)
  fake = np.clip(real + noise, 0, 255).astype(np.uint8)
  fake[:5] = pictures(5, seed=3)
  hits = 0
  for i in range(12):
    distances = [np.mean((fake[i] / 255 - other / 255) ** 2) for other in real]
    hits += int(np.argmin(distances) == i)
  assert 0 < hits < 12
  assert own_is_nearest(fake, real).sum() == hits


def test_a_tie_is_no_hit():
  # Else a model that draws one picture would recall whatever is drawn twice.
  real = np.repeat(pictures(1), 3, axis=0)
  assert not own_is_nearest(real, real).any()


def test_a_perfect_memory(planted):
  source = Pictures(pictures(20))
  results = Recall(source, n=10, options=OPTIONS)(
    planted(lambda prompt: source.images[number_of(prompt)])
  )
  # Wilson's interval of 10 of 10.
  ends = (pytest.approx(10 / (10 + 1.96**2)), pytest.approx(1.0))
  assert results == {
    **{"recall": 1.0, "recall_95": ends, "recall_ceiling": 1.0, "recall_ceiling_95": ends},
    "recall_chance": 0.1,
  }


def test_a_model_that_always_draws_the_same(planted):
  source = Pictures(pictures(20))
  results = Recall(source, n=20, options=OPTIONS)(planted(lambda prompt: source.images[7]))
  assert results["recall"] == 1 / 20  # picture 7 itself
  gray = np.full((8, 8, 3), 128, np.uint8)
  assert Recall(source, n=20, options=OPTIONS)(planted(lambda prompt: gray))["recall"] <= 1 / 20


def test_a_memory_that_mixes_up_its_captions(planted):
  source = Pictures(pictures(20))
  shifted = planted(lambda prompt: source.images[(number_of(prompt) + 1) % 20])
  assert Recall(source, n=20, options=OPTIONS)(shifted)["recall"] == 0.0


def test_the_ceiling_is_the_tokenizers(planted):
  source = Pictures(pictures(20))
  images = lambda prompt: source.images[number_of(prompt)]
  lost = planted(images, rebuild=lambda images: np.zeros_like(images))
  results = Recall(source, n=20, options=OPTIONS)(lost)
  assert results["recall"] == 1.0
  assert results["recall_ceiling"] <= 1 / 20


@pytest.mark.parametrize(("n", "expected"), [(4, [0, 6, 12, 19]), (20, range(20)), (50, range(20))])
def test_captions_are_spread_over_the_split(planted, n, expected):
  source = Pictures(pictures(20))
  pipeline = planted(lambda prompt: source.images[number_of(prompt)])
  results = Recall(source, n=n, seed=3, options=SamplingOptions(temperature=0.5))(pipeline)
  prompts, per_prompt, seed, options = pipeline.asked
  assert prompts == tuple(f"picture {i}" for i in expected)
  assert (per_prompt, seed, options) == (1, 3, dataclasses.asdict(SamplingOptions(temperature=0.5)))
  assert results["recall_chance"] == 1 / len(expected)
