"""FID, KID, CMMD and CLIP score: by their definitions, on features at random and on drawings."""

import numpy as np
import pytest

from jaxt2i.clip import clip
from jaxt2i.evaluators import intervals, published
from jaxt2i.evaluators.clip_score import clip_score
from jaxt2i.evaluators.drawn import Drawing
from jaxt2i.evaluators.frechet import Moments, frechet_distance, frechet_distances
from jaxt2i.evaluators.published import ClipScores, clip_space
from tests.planted import OPTIONS, Planted, values_of
from tests.sources import Pictures, scenes
from tests.supplied import write_clip


def features(seed, n, size, shift=0.0):
  rng = np.random.default_rng(seed)
  mixing = np.random.default_rng(99).normal(size=(size, size)) / np.sqrt(size)
  return (np.abs(rng.normal(size=(n, size)) @ mixing) + shift).astype(np.float32)


@pytest.mark.parametrize(("n", "m", "size"), [(60, 40, 8), (12, 15, 40)])
def test_without_large_matrices_it_is_the_same_distance(n, m, size):
  x, y = features(0, n, size), features(1, m, size, 0.3)
  weights = intervals.resamples(n, 0)[:, :5], intervals.resamples(m, 1)[:, :5]
  found = frechet_distances(x, y, weights)
  columns = zip(weights[0].T, weights[1].T, strict=True)
  expected = [frechet_distance(Moments.of(x, w), Moments.of(y, v)) for w, v in columns]
  np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
  same = frechet_distances(x, x, (weights[0], weights[0]))
  assert np.all(same < 1e-9 * found.max() + 1e-9)


def test_fid_and_kid_are_of_inceptions_features():
  x, y = features(0, 30, 2048), features(1, 30, 2048, 0.1)
  found = published._of_inception(x, y)
  assert found["fid"] == pytest.approx(frechet_distance(Moments.of(x), Moments.of(y)), rel=1e-6)
  k = lambda a, b: (a @ b.T / 2048 + 1) ** 3
  a, b = x.astype(np.float64), y.astype(np.float64)
  off = 1 - np.eye(30)
  kid = np.sum(off * (k(a, a) + k(b, b))) / 870 - 2 * np.mean(k(a, b))
  assert found["inception_kid"] == pytest.approx(kid, rel=1e-9)
  for name in ("fid", "inception_kid"):
    low, high = found[f"{name}_95"]
    assert low < found[name] < high


def test_cmmd_is_a_thousand_times_the_distance():
  unit = lambda a: a / np.linalg.norm(a, axis=1, keepdims=True)
  x, y = unit(features(0, 20, 16)), unit(features(1, 25, 16, 0.3))
  found = published._of_clip(x, y)["cmmd"]
  a, b = x.astype(np.float64), y.astype(np.float64)
  k = lambda p, q: np.exp(-np.sum((p[:, None] - q[None]) ** 2, axis=-1) / 200)
  within = lambda p: np.sum(k(p, p) * (1 - np.eye(len(p)))) / (len(p) * (len(p) - 1))
  assert found == pytest.approx(1000 * (within(a) + within(b) - 2 * k(a, b).mean()), rel=1e-6)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
  folder = tmp_path_factory.mktemp("clip")
  write_clip(folder)
  return clip(folder)


def test_drawings_are_scored_by_clip(network):
  images, other = scenes(12, 0), scenes(12, 1)
  source = Pictures(images)
  drawing = Drawing(source, 12, OPTIONS)
  black = lambda real: np.zeros_like(real)
  pipeline = Planted(lambda prompt, index: other[index], rebuild=black)
  found = values_of(drawing, pipeline, ClipScores(network))
  texts = network.texts([f"picture {i}" for i in range(12)])
  sets = {"clip_score": other, "clip_score_real": images, "clip_score_reconstructed": images * 0}
  for name, pictures in sets.items():
    scores = clip_score(network.images(pictures), texts)
    assert found[name] == pytest.approx(scores.mean())
    half = 1.96 * scores.std(ddof=1) / np.sqrt(12)
    assert found[f"{name}_95"] == pytest.approx((scores.mean() - half, scores.mean() + half))
  space = clip_space(network)
  assert space.compare(space.look(images), space.look(images))["cmmd"] < 1e-3


def test_the_protocol_names_the_weights(network):
  assert "drawings" not in published.protocol(network)
  said = published.protocol_of_sets(network, 12)
  assert "CLIP ViT" in said
  assert "sha256" in said
  assert "12 drawings" in said
