"""The tokenizer's loss by hand from the network's outputs; what it updates and what it does not."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i import metrics
from jaxt2i.errors import UsageError
from jaxt2i.models.autoencoders import ViTDecoder, ViTEncoder
from jaxt2i.models.perceptual import perceptual_distance
from jaxt2i.models.quantizers import FSQ, EMAQuantizer
from jaxt2i.models.vqvae import VQVAE, to_float
from jaxt2i.tasks.tokenizer import TokenizerTask
from tests.arrays import integers, normal, random_params
from tests.features import features

SIZE, BETA = 8, 0.7
QUANTIZERS = {"fsq": FSQ((5, 4, 3)), "ema": EMAQuantizer(12, 3, BETA, 0.9, 0.01)}
IMAGE = integers(0, 0, 256, 4, SIZE, SIZE, 3).astype(jnp.uint8)
KEY = jax.random.key(0)


def model_of(quantizer):
  network = dict(patch=4, width=16, layers=1, heads=2)
  return VQVAE(ViTEncoder(**network), QUANTIZERS[quantizer], ViTDecoder(**network))


@functools.cache
def task_of(quantizer, l1_weight=0.3):
  task = TokenizerTask(model_of(quantizer), l1_weight, 0.0)
  variables = {"params": random_params(task.model, to_float(IMAGE), train=False)}
  if quantizer == "ema":
    count = 3 + normal(2, 12) ** 2
    codes = normal(1, 12, 3)
    total = codes * count[:, None]
    variables["codebook"] = {"quantizer": {"codes": codes, "count": count, "total": total}}
  return task, variables


@functools.partial(jax.jit, static_argnums=0, static_argnames="train")
def loss_of(task, variables, batch, *, train=True):
  return task.loss(variables, batch, KEY, train=train)


@functools.cache
def terms(quantizer):
  """Of each image: mse, mae, mean of (z − z_q)², tokens; from the parts of the network."""
  task, variables = task_of(quantizer)

  @jax.jit
  def parts(x):
    z = task.model.apply(variables, x, method=lambda m, x: m.to_code(m.encoder(x)))
    out = task.model.apply(variables, x, train=False)
    return x, z, out.image, out.quantized.tokens

  x, z, image, tokens = (np.asarray(a, np.float64) for a in parts(to_float(IMAGE)))
  squared = [np.mean((a - b) ** 2) for a, b in zip(image, x, strict=True)]
  absolute = [np.mean(np.abs(a - b)) for a, b in zip(image, x, strict=True)]
  commitment = np.zeros(len(x))
  if quantizer == "ema":
    codes = np.asarray(variables["codebook"]["quantizer"]["codes"], np.float64)
    distances = np.sum((z[..., None, :] - codes) ** 2, axis=-1)
    gap = z - codes[np.argmin(distances, axis=-1)]
    commitment = np.mean(gap**2, axis=(1, 2, 3))
  return np.array(squared), np.array(absolute), commitment, tokens.astype(int)


def test_init_gives_the_codebook_where_there_is_one():
  for quantizer, expected in (("fsq", {"params"}), ("ema", {"params", "codebook"})):
    task = TokenizerTask(model_of(quantizer), 0.1, 0.0)
    shapes = jax.eval_shape(lambda task=task: task.init(KEY, {"image": np.asarray(IMAGE)}))
    assert set(shapes) == expected
    assert set(shapes["params"]) == {"encoder", "decoder", "to_code"}


def expected_loss(quantizer, rows, l1_weight=0.3):
  squared, absolute, commitment, _ = (x[rows] for x in terms(quantizer))
  beta = BETA if quantizer == "ema" else 0
  return np.mean(squared + l1_weight * absolute) + beta * np.mean(commitment)


@pytest.mark.parametrize(
  ("quantizer", "l1_weight", "train"),
  [("fsq", 0.0, True), ("fsq", 0.3, False), ("ema", 0.3, True), ("ema", 0.3, False)],
)
def test_loss_is_reconstruction_plus_commitment(quantizer, l1_weight, train):
  task, variables = task_of(quantizer, l1_weight)
  out = loss_of(task, variables, {"image": IMAGE}, train=train)
  squared, _, commitment, tokens = terms(quantizer)
  expected = expected_loss(quantizer, slice(None), l1_weight)
  assert out.loss.shape == ()
  np.testing.assert_allclose(out.loss, expected, rtol=1e-5)
  means = metrics.compute(out.metrics)
  np.testing.assert_allclose(means["loss"], expected, rtol=1e-5)
  np.testing.assert_allclose(means["mse"], np.mean(squared), rtol=1e-5)
  codebook_size = QUANTIZERS[quantizer].codebook_size
  np.testing.assert_allclose(means["window_usage"], len(np.unique(tokens)) / codebook_size)
  assert ("commitment" in means) == (quantizer == "ema")
  if quantizer == "ema":
    np.testing.assert_allclose(means["commitment"], np.mean(commitment), rtol=1e-5)  # without β


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_rows_of_weight_0_do_not_count(quantizer):
  task, variables = task_of(quantizer)
  batch = {"image": IMAGE, "weight": jnp.array([1.0, 1.0, 0.0, 0.0])}
  loss = loss_of(task, variables, batch, train=False).loss
  np.testing.assert_allclose(loss, expected_loss(quantizer, slice(2)), rtol=1e-5)
  # The padding may hold anything.
  other = batch | {
    "image": jnp.asarray(np.asarray(IMAGE) * (np.arange(4) < 2)[:, None, None, None])
  }
  np.testing.assert_allclose(loss_of(task, variables, other, train=False).loss, loss, rtol=1e-6)


@pytest.mark.parametrize(
  ("quantizer", "metric"),
  [("fsq", "mse"), ("fsq", "loss"), ("ema", "mse"), ("ema", "loss"), ("ema", "commitment")],
)
def test_metrics_of_batches_add_up_to_those_of_the_whole(quantizer, metric):
  task, variables = task_of(quantizer)
  # 3 images, then 1 with padding: a mean of the two means would be another number.
  parts = [
    loss_of(task, variables, {"image": IMAGE[rows], "weight": weight}, train=False).metrics
    for rows, weight in (
      (np.array([0, 1, 2, 2]), jnp.array([1.0, 1.0, 1.0, 0.0])),
      (np.array([3, 3, 3, 3]), jnp.array([1.0, 0.0, 0.0, 0.0])),
    )
  ]
  squared, _, commitment, _ = terms(quantizer)
  whole = {
    "mse": np.mean(squared),
    "commitment": np.mean(commitment),
    "loss": expected_loss(quantizer, slice(None)),
  }
  merged = metrics.compute(metrics.merge(*parts))
  np.testing.assert_allclose(merged[metric], whole[metric], rtol=1e-5)


def test_only_training_moves_the_codebook_and_as_the_quantizer_does():
  task, variables = task_of("ema")
  assert loss_of(task, variables, {"image": IMAGE}, train=False).updates == {}
  updates = loss_of(task, variables, {"image": IMAGE}, train=True).updates
  assert set(updates) == {"codebook"}
  before, after = (
    jax.tree.map(np.asarray, x["codebook"]["quantizer"]) for x in (variables, updates)
  )
  hits = np.bincount(terms("ema")[3].ravel(), minlength=12)
  np.testing.assert_allclose(after["count"], 0.9 * before["count"] + 0.1 * hits, rtol=1e-5)
  used = hits > 0
  assert 1 < used.sum() < 12
  moved = np.abs(after["codes"] - before["codes"]).max(axis=1)
  assert np.all(moved[used] > 1e-3)
  assert np.all(moved[~used] < 1e-6)


def test_fsq_has_no_updates():
  task, variables = task_of("fsq", 0.0)
  assert not loss_of(task, variables, {"image": IMAGE}, train=True).updates


def test_loss_and_updates_give_the_codebook_no_gradient():
  task, variables = task_of("ema")

  @jax.jit
  @jax.grad
  def gradient(variables):
    out = task.loss(variables, {"image": IMAGE}, KEY, train=True)
    return out.loss + sum(jnp.sum(leaf) for leaf in jax.tree.leaves(out.updates))

  gradients = jax.tree.map(np.asarray, gradient(variables))
  assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(gradients["codebook"]))
  for path, leaf in jax.tree_util.tree_leaves_with_path(gradients["params"]):
    assert np.abs(leaf).max() > 1e-9, jax.tree_util.keystr(path)


def test_commitment_reaches_the_encoder_scaled_by_its_weight_and_never_the_decoder():
  task, variables = task_of("ema", 0.0)

  @jax.jit
  def gradients(params):
    run = lambda params: task.loss(
      {**variables, "params": params}, {"image": IMAGE}, KEY, train=False
    )
    return [
      jax.grad(choose)(params)
      for choose in (
        lambda p: run(p).loss,
        lambda p: run(p).metrics["mse"].compute(),
        lambda p: run(p).metrics["commitment"].compute(),
      )
    ]

  of_loss, of_mse, of_commitment = jax.tree.map(np.asarray, gradients(variables["params"]))
  assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(of_commitment["decoder"]))
  for part in ("encoder", "to_code", "decoder"):
    leaves = zip(*(jax.tree.leaves(g[part]) for g in (of_loss, of_mse, of_commitment)), strict=True)
    for loss, mse, commitment in leaves:
      if part != "decoder":
        assert np.abs(commitment).max() > 1e-6
      np.testing.assert_allclose(loss, mse + BETA * commitment, atol=1e-5)


# --- perceptual loss ---


@functools.cache
def perceptual_case():
  """A task with a perceptual loss, its variables with the features, images that it can see."""
  task = TokenizerTask(model_of("ema"), 0.3, 0.25)
  image = integers(3, 0, 256, 2, 32, 32, 3).astype(jnp.uint8)
  params = random_params(task.model, to_float(image), train=False)
  count = jnp.ones(12)
  codebook = {"quantizer": {"codes": normal(1, 12, 3), "count": count, "total": normal(1, 12, 3)}}
  return task, {"params": params, "codebook": codebook, "features": features()}, image


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 3.0)])
def test_perceptual_distance_of_the_reconstruction_is_added_with_its_weight(weights):
  task, variables, image = perceptual_case()
  without = {name: value for name, value in variables.items() if name != "features"}
  batch = {"image": image, "weight": jnp.array(weights)}
  plain = loss_of(dataclasses.replace(task, perceptual_weight=0.0), without, batch)
  out = loss_of(task, variables, batch)
  made = task.model.apply(
    variables, to_float(image), train=True, rngs={"codebook": KEY}, mutable=["codebook"]
  )[0].image
  distances = jax.jit(perceptual_distance)(features(), made, to_float(image))
  expected = np.average(np.asarray(distances), weights=weights)
  assert expected > 0.1
  np.testing.assert_allclose(out.loss - plain.loss, 0.25 * expected, rtol=1e-3)
  np.testing.assert_allclose(metrics.compute(out.metrics)["perceptual"], expected, rtol=1e-4)
  assert "perceptual" not in plain.metrics
  assert set(out.updates) == {"codebook"}


@pytest.mark.parametrize("weight", [-0.5, float("nan")])
def test_a_perceptual_weight_without_meaning_is_refused(weight):
  with pytest.raises(UsageError, match=r"perceptual_weight is .*: must be 0 \(off\) or more"):
    TokenizerTask(model_of("fsq"), 0.1, weight)
