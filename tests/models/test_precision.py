"""Parameters in bfloat16: products follow them, all that needs more bits stays float32."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i.models.dual_encoder import PretrainedImageEncoder
from jaxt2i.models.efficientnet import EfficientNetLite0
from jaxt2i.models.precision import Conv, LayerNorm, RMSNorm
from jaxt2i.state import FEATURES
from jaxt2i.types import FROZEN
from tests import kinds
from tests.arrays import normal

PRODUCT = re.compile(
  r"stablehlo\.(?:dot_general|convolution)\b.* : \(tensor<([^>]*)>, tensor<([^>]*)>\) ->"
)
# Losses differ by 0.5 % at most, and the cosine of gradients is 0.993 at least, over all kinds.
LOSS, COSINE = 0.01, 0.98
QUICK = {
  "conv-vq",
  "conv-lfq",
  "vit-gumbel",
  "autoregressive-rotary-prefix-qk_norm-gated_mlp",
  "masked-gru",
  "dual-features",
}


def cast(params, dtype):
  return jax.tree.map(lambda x: x.astype(dtype), params)


def loss_and_gradient(task, batch, dtype):
  """As a training step has them: parameters are cast where they are differentiated."""

  def loss(params, rest):
    variables = {"params": cast(params, dtype), **rest}
    output = task.loss(variables, batch, jax.random.key(3), train=True)
    return output.loss, output

  return jax.jit(jax.value_and_grad(loss, has_aux=True))


def is_of_the_quantizer(a, b):
  """Whether a product is of latents [64, 4], codes [16, 4] and their probabilities alone.

  Those stay float32. Layers have 8 features in or out.
  """
  sizes = set(f"{a}x{b}".replace("xf32", "").split("x"))
  return sizes <= {"64", "16", "4"}


def is_of_points(a, b):
  """Whether a product is of images with captions on the sphere."""
  return {a, b} <= {"4x12xf32", "12x4xf32", "4x4xf32"}


# Quantizers know nothing of the networks around them: one network for all, one quantizer for all.
@pytest.mark.parametrize(
  "kind", [k for k in kinds.ALL if k not in kinds.TOKENIZERS or "conv-" in k or "-fsq" in k]
)
def test_products_are_bfloat16_and_all_that_leaves_is_float32(kind):
  task, batch = kinds.ALL[kind]()
  variables = kinds.random_variables(task, batch)
  lowered = loss_and_gradient(task, batch, jnp.bfloat16).lower(*variables)
  products = PRODUCT.findall(lowered.as_text())
  rough = [pair for pair in products if all("xbf16" in operand for operand in pair)]
  exact = [pair for pair in products if pair not in rough]
  assert len(rough) > 20
  allowed = is_of_points if kind.startswith("dual") else is_of_the_quantizer
  assert all(allowed(*pair) for pair in exact), exact
  if kind in kinds.PRIORS or kind.endswith(("fsq", "bsq")):
    assert not exact
  (loss, output), gradients = lowered.out_info
  assert loss.dtype == jnp.float32
  for leaf in jax.tree.leaves((output, gradients)):
    assert leaf.dtype in (jnp.float32, jnp.int32)


@pytest.mark.parametrize(
  "kind", [k if k in QUICK else pytest.param(k, marks=pytest.mark.slow) for k in kinds.ALL]
)
def test_loss_and_gradients_are_near_those_of_float32(kind):
  task, batch = kinds.ALL[kind]()
  variables = kinds.random_variables(task, batch)
  results = []
  for dtype in (jnp.float32, jnp.bfloat16):
    lowered = loss_and_gradient(task, batch, dtype).lower(*variables)
    # Run once: what takes long is compiling.
    program = lowered.compile(compiler_options={"xla_backend_optimization_level": 0})
    (loss, _), gradients = program(*variables)
    results.append((loss, np.concatenate([x.ravel() for x in jax.tree.leaves(gradients)])))
  (exact, exact_gradient), (rough, gradient) = results
  assert rough != exact
  np.testing.assert_allclose(rough, exact, rtol=LOSS)
  assert np.isfinite(gradient).all()
  lengths = np.linalg.norm(gradient) * np.linalg.norm(exact_gradient)
  assert gradient @ exact_gradient > COSINE * lengths


@pytest.mark.parametrize("norm", [LayerNorm(), RMSNorm()])
def test_a_normalisation_is_float32_inside(norm):
  x = (300 + normal(0, 5, 64)).astype(jnp.bfloat16)  # of two steps of bfloat16 each
  params = jax.tree.map(lambda p: p + 0.5, norm.init(jax.random.key(0), x.astype(jnp.float32)))
  found = norm.apply(cast(params, jnp.bfloat16), x)
  assert found.dtype == jnp.bfloat16
  expected = norm.apply(params, x.astype(jnp.float32))
  np.testing.assert_array_equal(found, expected.astype(jnp.bfloat16))


def test_a_layer_takes_its_input_in_the_dtype_of_its_kernel():
  x, layer = normal(0, 2, 4, 4, 3), Conv(5, (3, 3))
  params = layer.init(jax.random.key(0), x)
  for given, dtype in ((jnp.float32, jnp.bfloat16), (jnp.bfloat16, jnp.float32)):
    found = layer.apply(cast(params, dtype), x.astype(given))
    assert found.dtype == dtype
    np.testing.assert_array_equal(
      found, layer.apply(cast(params, dtype), x.astype(given).astype(dtype))
    )


def test_a_cache_has_the_dtype_of_what_goes_into_it():
  task, batch = kinds.prior("autoregressive", positions="rotary")
  params, _ = kinds.random_variables(task, batch)

  def step(params):
    variables = {"params": params}
    cache = task.model.apply(variables, batch["text"], method="start")
    first = batch["tokens"][:, 0, :2]
    features, moved = task.model.apply(variables, first, jnp.int32(1), cache, method="step")
    return cache, moved, task.model.apply(variables, features, first, 1, method="code")

  for dtype in (jnp.float32, jnp.bfloat16):
    cache, moved, logits = jax.eval_shape(step, cast(params, dtype))
    assert cache == moved
    assert {cache.keys.dtype, cache.values.dtype, cache.text_values.dtype} == {jnp.dtype(dtype)}
    assert logits.dtype == jnp.float32


def efficientnet():
  image = jnp.zeros((1, 32, 32, 3))
  shapes = jax.eval_shape(EfficientNetLite0().init, jax.random.key(0), image)["params"]
  return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


@pytest.mark.parametrize("frozen", ["perceptual", "encoder"])
def test_a_frozen_network_stays_float32_beside_a_learnt_one(frozen):
  image = jnp.zeros((2, 32, 32, 3), jnp.uint8)
  if frozen == "perceptual":
    task, _ = kinds.tokenizer("conv", "fsq")
    task = type(task)(task.model, task.l1_weight, 0.1)
    batch, collections = {"image": image}, {FEATURES: efficientnet()}
  else:
    task, batch = kinds.dual_encoder("transformer")
    task = type(task)(task.model.copy(image_encoder=PretrainedImageEncoder()))
    batch = {"image": image, "text": batch["text"][:2]}
    collections = {FROZEN: {"image_encoder": {"efficientnet": efficientnet()}}}
  params, _ = kinds.random_variables(task, batch)
  text = loss_and_gradient(task, batch, jnp.bfloat16).lower(params, collections).as_text()
  products = PRODUCT.findall(text)
  # Its stem, which is given windows of an image; and the learnt network all the same.
  assert any("x27xf32" in a and b == "27x32xf32" for a, b in products)
  assert any("xbf16" in a and "xbf16" in b for a, b in products)
  assert not any(("bf16" in a) != ("bf16" in b) for a, b in products)
