"""EfficientNet-Lite0 against PyTorch: numbers that it gave once, and live where it is installed."""

import json
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i import pretrained
from jaxt2i.models.efficientnet import HEAD, STAGES, STEM, EfficientNetLite0, Stem, depthwise
from tests.arrays import normal
from tests.features import features, waves

# From tests/models/torch_efficientnet.py, torch 2.13, of `waves(64, 80)`.
REFERENCE = Path(__file__).with_name("efficientnet_reference.json")


@jax.jit
def run(params, x):
  out = EfficientNetLite0().apply({"params": params}, x)
  return [*out.stages, out.pooled]


def reference_conv(x, kernel, stride):
  return jax.lax.conv_general_dilated(
    x,
    kernel[:, :, None],
    (stride, stride),
    "SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=x.shape[-1],
  )


@pytest.mark.parametrize(
  ("shape", "kernel", "stride"),
  [((8, 6), 3, 1), ((8, 6), 3, 2), ((7, 9), 3, 2), ((8, 6), 5, 2), ((7, 9), 5, 2), ((2, 1), 5, 1)],
)
def test_depthwise_and_its_gradients_equal_those_of_xla(shape, kernel, stride):
  x, w = normal(0, 2, *shape, 4), normal(1, kernel, kernel, 4)

  @jax.jit
  def both(x, w):
    ways = (reference_conv, depthwise)
    sums = [lambda x, w, way=way: jnp.sum(jnp.sin(way(x, w, stride))) for way in ways]
    gradients = [jax.grad(loss, (0, 1))(x, w) for loss in sums]
    return [(way(x, w, stride), *g) for way, g in zip(ways, gradients, strict=True)]

  for expected, found in zip(*both(x, w), strict=True):
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(8, 6), (7, 9), (8, 9), (1, 2)])
def test_stem_and_its_gradients_equal_a_convolution(shape):
  convolution = nn.Conv(STEM, (3, 3), strides=2, padding="SAME")
  params = {"kernel": normal(0, 3, 3, 3, STEM), "bias": normal(1, STEM)}
  x = normal(2, 2, *shape, 3)

  @jax.jit
  def both(params, x):
    ways = [module.apply for module in (convolution, Stem())]
    sums = [lambda p, x, way=way: jnp.sum(jnp.sin(way({"params": p}, x))) for way in ways]
    gradients = [jax.grad(loss, (0, 1))(params, x) for loss in sums]
    values = [way({"params": params}, x) for way in ways]
    return [(y, *jax.tree.leaves(g)) for y, g in zip(values, gradients, strict=True)]

  for expected, found in zip(*both(params, x), strict=True):
    np.testing.assert_allclose(found, expected, atol=5e-5)


def test_equals_the_numbers_of_pytorch():
  reference = json.loads(REFERENCE.read_text())
  found = run(features(), waves(64, 80))
  assert len(found) == len(reference) == len(STAGES) + 1
  for array, expected in zip(found, reference, strict=True):
    assert list(array.shape) == expected["shape"]
    flat = np.asarray(array, np.float64).ravel()
    values = flat[np.linspace(0, len(flat) - 1, len(expected["values"])).astype(int)]
    tolerance = 2e-5 * expected["std"]
    assert np.std(flat) == pytest.approx(expected["std"], rel=1e-4)
    assert np.mean(flat) == pytest.approx(expected["mean"], abs=tolerance)
    np.testing.assert_allclose(values, expected["values"], atol=2 * tolerance)


@pytest.mark.parametrize("shape", [(64, 80), (75, 33)])
def test_equals_pytorch_live(shape):
  torch = pytest.importorskip("torch")
  from tests.models import torch_efficientnet

  path = pretrained.path()
  x = waves(*shape)
  with torch.no_grad():
    weights = torch_efficientnet.load(path)
    expected = torch_efficientnet.features(weights, torch.from_numpy(x).permute(0, 3, 1, 2))
  theirs = [*(y.permute(0, 2, 3, 1) for y in expected[1:8]), expected[9]]
  for ours, their in zip(run(features(), x), theirs, strict=True):
    their = their.numpy()
    np.testing.assert_allclose(ours, their, atol=2e-5 * np.abs(their).max())


def test_has_the_shapes_that_it_states():
  params = jax.eval_shape(EfficientNetLite0().init, jax.random.key(0), waves(64, 64))["params"]
  shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype.name), tree)
  assert shapes(params) == shapes(features())
  out = jax.eval_shape(run, params, jnp.zeros((5, 64, 96, 3)))
  strides = (2, 4, 8, 16, 16, 32, 32)
  expected = [(5, 64 // s, 96 // s, c) for s, (_, c, *_) in zip(strides, STAGES, strict=True)]
  assert [x.shape for x in out] == [*expected, (5, HEAD)]
