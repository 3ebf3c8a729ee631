"""Metrics against hand-worked values and scikit-image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from jaxt2i import metrics
from jaxt2i.metrics import Mean


def test_mean_counts_examples_not_batches():
  # 3 examples of 1 and 1 example of 5: mean 2, while the mean of the batch means is 3.
  merged = Mean.of(jnp.ones(3)) + Mean.of(jnp.array([5.0]))
  assert float(merged.compute()) == 2.0
  assert float(merged.weight) == 4.0


def test_mean_leaves_padding_out_even_if_it_is_nan():
  values = jnp.array([1.0, 3.0, jnp.nan])
  mean = Mean.of(values, jnp.array([1.0, 0.5, 0.0]))
  np.testing.assert_allclose(float(mean.compute()), 2.5 / 1.5, rtol=1e-6)
  # A NaN that counts is not hidden.
  assert np.isnan(float(Mean.of(values).compute()))


def test_mean_takes_any_shape_and_dtype_and_sums_in_float32():
  assert float(Mean.of(3.0).compute()) == 3.0
  assert float(Mean.of(jnp.array([True, False, True, True])).compute()) == 0.75
  # In bfloat16 the sum of 1,000 ones stops at 256.
  mean = Mean.of(jnp.ones((10, 100), jnp.bfloat16), np.ones((10, 100), np.int32))
  assert mean.total.dtype == jnp.float32
  assert float(mean.total) == 1000.0


def test_mean_refuses_a_weight_of_another_shape():
  with pytest.raises(ValueError, match=r"\(2,\).*\(2, 3\)"):
    Mean.of(jnp.ones((2, 3)), jnp.ones(2))


def test_mean_passes_through_jit_and_its_gradient_is_that_of_the_mean():
  def loss(x):
    return Mean.of(x * x, jnp.array([1.0, 3.0])).compute()

  gradient = jax.jit(jax.grad(loss))(jnp.array([1.0, 2.0]))
  np.testing.assert_allclose(gradient, [2 * 1 / 4, 3 * 4 / 4], rtol=1e-6)
  mean = jax.jit(Mean.of)(jnp.array([1.0, 2.0]))
  assert isinstance(mean, Mean)


def test_merge_and_compute_by_name():
  total = {}
  for values in ([1.0, 2.0], [6.0]):
    total = metrics.merge(total, {"loss": Mean.of(jnp.array(values))})
  total = metrics.merge(total, {"psnr": Mean.of(20.0)})
  assert metrics.compute(total) == {"loss": 3.0, "psnr": 20.0}
  assert all(type(value) is float for value in metrics.compute(total).values())


def test_compute_of_nothing_is_nan():
  empty = Mean.of(jnp.ones(2), jnp.zeros(2))
  assert np.isnan(metrics.compute({"loss": empty})["loss"])


def test_usage_and_perplexity():
  assert metrics.usage(np.array([5, 0, 0, 0])) == 0.25
  np.testing.assert_allclose(metrics.perplexity(np.array([5, 0, 0, 0])), 1.0)
  np.testing.assert_allclose(metrics.perplexity(jnp.full(512, 3.0)), 512, rtol=1e-6)
  assert metrics.usage(jnp.full(512, 3.0)) == 1.0
  # Entropy of (1/2, 1/4, 1/4): 1.5 bits.
  np.testing.assert_allclose(metrics.perplexity(np.array([4, 2, 2, 0])), 2**1.5)
  assert metrics.usage(np.zeros(4)) == 0.0
  assert np.isnan(metrics.perplexity(np.zeros(4)))


def test_usage_is_of_the_split_not_the_mean_of_its_batches():
  batches = [np.array([4, 0]), np.array([0, 4])]
  assert metrics.usage(sum(batches)) == 1.0
  assert np.mean([metrics.usage(b) for b in batches]) == 0.5
  np.testing.assert_allclose(metrics.perplexity(sum(batches)), 2.0)


def image_pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
  rng = np.random.default_rng(0)
  noise = rng.random((3, 24, 40, 3), np.float32)
  y, x = np.mgrid[0:24, 0:40] / 40
  smooth = np.stack(
    [np.stack([np.sin(f * x) ** 2, np.cos(f * y) ** 2, x * y], -1) for f in (2, 5, 9)]
  )
  smooth = smooth.astype(np.float32)
  flat = np.full_like(noise, 0.7)
  square = flat.copy()
  square[:, 5:15, 8:30] = 0.2
  white = np.ones_like(noise)
  return {
    "noise": (noise, np.clip(noise + 0.1 * rng.standard_normal(noise.shape), 0, 1)),
    "smooth": (smooth, np.clip(smooth * 0.9 + 0.02, 0, 1)),
    "unlike": (noise, smooth),
    "line art": (square, white),
    "flat": (flat, white),
    "negative": (square, 1 - square),
  }


@pytest.mark.parametrize("name", image_pairs())
def test_psnr_and_ssim_agree_with_scikit_image(name):
  a, b = (x.astype(np.float32) for x in image_pairs()[name])
  exact = [x.astype(np.float64) for x in (a, b)]
  expected_psnr = [
    peak_signal_noise_ratio(p, q, data_range=1.0) for p, q in zip(*exact, strict=True)
  ]
  np.testing.assert_allclose(jax.jit(metrics.psnr)(a, b), expected_psnr, atol=1e-4)
  options = {
    "gaussian_weights": True,
    "sigma": 1.5,
    "use_sample_covariance": False,
    "data_range": 1.0,
    "channel_axis": -1,
  }
  expected_ssim = [structural_similarity(p, q, **options) for p, q in zip(*exact, strict=True)]
  np.testing.assert_allclose(jax.jit(metrics.ssim)(a, b), expected_ssim, atol=1e-4)
  np.testing.assert_allclose(metrics.ssim(b, a), expected_ssim, atol=1e-4)


def test_identical_images_are_perfect_and_finite():
  a = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
  np.testing.assert_allclose(metrics.psnr(a, a), [100.0, 100.0], atol=1e-4)
  np.testing.assert_allclose(metrics.ssim(a, a), [1.0, 1.0], atol=1e-6)


def test_an_image_does_not_depend_on_those_beside_it():
  a, b = image_pairs()["noise"]
  a, b = jnp.asarray(a), jnp.asarray(b, jnp.float32)
  for score in (metrics.psnr, metrics.ssim):
    np.testing.assert_allclose(score(a, b)[1], score(a[1:2], b[1:2])[0], rtol=1e-5)


def test_ssim_refuses_images_smaller_than_its_window():
  small = np.zeros((1, 10, 16, 3), np.float32)
  with pytest.raises(ValueError, match="10x16"):
    metrics.ssim(small, small)
