"""Reconstruction over a split: equal to brute force, whatever the batches."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i import data, metrics
from jaxt2i.data.stream import eval_stream
from jaxt2i.evaluators import reconstruction
from jaxt2i.evaluators.frechet import Moments, frechet_distance
from jaxt2i.evaluators.reconstruction import Reconstruction
from jaxt2i.models import perceptual
from tests.features import features
from tests.runs import config


def image_row(record, rng):
  return {"image": record.image}


@pytest.fixture(scope="module")
def source():
  return data.load("val", **config("vqvae:shapes,tiny")["data"])


@pytest.fixture(scope="module")
def evaluate(clear_pipeline, source):
  """The evaluator with batches of a size, or over batches given."""

  def run(batch_size=32, batches=None):
    rows = batches or (lambda: eval_stream(source, image_row, batch_size=batch_size))
    return Reconstruction(clear_pipeline.tokenizer, rows)(clear_pipeline.tokenizer_variables)

  return run


def test_equals_brute_force_over_the_split(clear_pipeline, source, evaluate):
  real = np.stack([source[i].image for i in range(len(source))])
  tokens = clear_pipeline.encode(real)
  fake = clear_pipeline.decode(tokens)
  assert len(np.unique(tokens)) > 3
  psnr = [
    10 * math.log10(1 / np.mean((a / 255.0 - b / 255.0) ** 2))
    for a, b in zip(real, fake, strict=True)
  ]
  ssim = np.asarray(
    metrics.ssim(jnp.asarray(real, jnp.float32) / 255, jnp.asarray(fake, jnp.float32) / 255)
  )
  counts = np.bincount(tokens.ravel(), minlength=512)
  shares = counts[counts > 0] / tokens.size
  results = evaluate()
  assert results["psnr"] == pytest.approx(np.mean(psnr), rel=1e-5)
  assert results["ssim"] == pytest.approx(float(ssim.mean()), abs=1e-5)
  assert results["codebook_usage"] == np.mean(counts > 0)
  assert results["perplexity"] == pytest.approx(math.exp(-np.sum(shares * np.log(shares))))
  half = 1.96 * np.std(psnr, ddof=1) / math.sqrt(len(psnr))
  expected = (np.mean(psnr) - half, np.mean(psnr) + half)
  assert results["psnr_95"] == pytest.approx(expected, rel=1e-5)
  half = 1.96 * ssim.std(ddof=1) / math.sqrt(len(ssim))
  assert results["ssim_95"][1] - results["ssim"] == pytest.approx(half, rel=1e-3)
  names = {"psnr", "psnr_95", "ssim", "ssim_95", "codebook_usage", "perplexity"}
  assert results.keys() == names


def test_training_watches_the_same_numbers_without_intervals(clear_pipeline, source, evaluate):
  rows = lambda: eval_stream(source, image_row, batch_size=32)
  numbers, counts = Reconstruction(clear_pipeline.tokenizer, rows).measure(
    clear_pipeline.tokenizer_variables
  )
  assert numbers == {k: x for k, x in evaluate().items() if not k.endswith("_95")}
  assert counts.sum() == len(source) * 64


def test_does_not_depend_on_the_batch_size(evaluate, source):
  assert len(source) % 7 != 0
  small, large = evaluate(7), evaluate(32)
  for name in small:
    assert small[name] == pytest.approx(large[name], rel=1e-6, abs=1e-6), name


def test_padding_does_not_count(evaluate, source):
  def batches(padding):
    image = np.stack([source[i].image for i in range(3)] + [padding] * 4)
    return lambda: [{"image": image, "weight": np.float32([1, 1, 1, 0, 0, 0, 0])}]

  black = evaluate(batches=batches(np.zeros((64, 64, 3), np.uint8)))
  noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
  noisy = evaluate(batches=batches(noise))
  assert black == noisy
  assert math.isfinite(black["psnr"])


def test_usage_is_of_the_whole_split_and_no_mean_of_batches(evaluate, source):
  weight = np.ones(1, np.float32)
  singles = [{"image": source[i].image[None], "weight": weight} for i in range(4)]
  together = evaluate(batches=lambda: singles)
  alone = [evaluate(batches=lambda single=single: [single]) for single in singles]
  assert together["codebook_usage"] >= max(each["codebook_usage"] for each in alone)
  assert together["psnr"] == pytest.approx(np.mean([each["psnr"] for each in alone]), rel=1e-5)


def test_with_features_it_also_says_how_far_they_are(clear_pipeline, source, monkeypatch):
  monkeypatch.setattr(reconstruction, "LEAST_IMAGES", len(source))
  rows = lambda: eval_stream(source, image_row, batch_size=7)  # the last batch is padded
  variables = {**clear_pipeline.tokenizer_variables, "features": features()}
  results = Reconstruction(clear_pipeline.tokenizer, rows)(variables)

  real = np.stack([source[i].image for i in range(len(source))])
  fake = clear_pipeline.decode(clear_pipeline.encode(real))
  look = jax.jit(lambda x: perceptual.image_features(features(), x / 127.5 - 1))
  of_real, of_fake = (look(jnp.asarray(x, jnp.float32)) for x in (real, fake))
  expected = float(perceptual.distance(of_real, of_fake).mean())
  assert results["perceptual"] == pytest.approx(expected, rel=1e-4)
  a, b = (np.asarray(perceptual.pooled(x), np.float64) for x in (of_real, of_fake))
  # tr (Σa Σb)^½ by singular values, as there are fewer images than features.
  centred = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (a, b)]
  shared = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
  expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + sum(np.sum(x**2) for x in centred) - 2 * shared
  assert results["rfd"] == pytest.approx(expected, rel=1e-3)
  low, high = results["rfd_95"]
  assert low < results["rfd"] < high
  # Its half is 1.96 standard deviations of the distances of pairs drawn anew.
  rng, anew = np.random.default_rng(7), []
  for _ in range(200):
    i = rng.integers(len(a), size=len(a))
    anew.append(frechet_distance(Moments.of(a[i]), Moments.of(b[i])))
  assert (high - low) / 2 == pytest.approx(1.96 * np.std(anew), rel=0.25)


def test_of_few_images_there_is_no_frechet_distance(clear_pipeline, source):
  weight = np.ones(2, np.float32)
  batches = lambda: [{"image": np.stack([source[0].image, source[1].image]), "weight": weight}]
  variables = {**clear_pipeline.tokenizer_variables, "features": features()}
  results = Reconstruction(clear_pipeline.tokenizer, batches)(variables)
  assert "perceptual" in results
  assert "rfd" not in results
