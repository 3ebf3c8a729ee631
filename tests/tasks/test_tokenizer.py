"""The tokenizer's loss by hand from the network's outputs; what it updates and what it does not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i import metrics
from jaxt2i.models.autoencoders import ViTDecoder, ViTEncoder
from jaxt2i.models.quantizers import FSQ, EMAQuantizer
from jaxt2i.models.vqvae import VQVAE, to_float
from jaxt2i.tasks.tokenizer import TokenizerTask
from tests.arrays import integers, normal, random_params

SIZE, BETA = 8, 0.7
QUANTIZERS = {"fsq": FSQ((5, 4, 3)), "ema": EMAQuantizer(12, 3, BETA, 0.9, 0.01)}
IMAGE = integers(0, 0, 256, 4, SIZE, SIZE, 3).astype(jnp.uint8)
KEY = jax.random.key(0)


def model_of(quantizer):
  network = dict(patch=4, width=16, layers=1, heads=2)
  return VQVAE(ViTEncoder(**network), QUANTIZERS[quantizer], ViTDecoder(**network))


@functools.cache
def task_of(quantizer, l1_weight=0.3):
  task = TokenizerTask(model_of(quantizer), l1_weight)
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


def numpy_loss(task, variables, image):
  """Each image's mse and mae, and ‖z − z_q‖² over all of them, from the parts of the network."""

  @jax.jit
  def parts(x):
    z = task.model.apply(variables, x, method=lambda m, x: m.to_code(m.encoder(x)))
    out = task.model.apply(variables, x, train=False)
    return z, out.image, out.quantized.tokens

  x = to_float(image)
  z, reconstruction, tokens = (np.asarray(a, np.float64) for a in parts(x))
  error = reconstruction - np.asarray(x, np.float64)
  squared = [np.mean(e**2) for e in error]
  absolute = [np.mean(np.abs(e)) for e in error]
  commitment = 0.0
  if "codebook" in variables:
    codes = np.asarray(variables["codebook"]["quantizer"]["codes"], np.float64)
    distances = np.sum((z[..., None, :] - codes) ** 2, axis=-1)
    commitment = np.mean((z - codes[np.argmin(distances, axis=-1)]) ** 2)
  return np.array(squared), np.array(absolute), commitment, tokens.astype(int)


def test_init_gives_the_codebook_where_there_is_one():
  for quantizer, expected in (("fsq", {"params"}), ("ema", {"params", "codebook"})):
    task = TokenizerTask(model_of(quantizer), 0.1)
    shapes = jax.eval_shape(lambda task=task: task.init(KEY, {"image": np.asarray(IMAGE)}))
    assert set(shapes) == expected
    assert set(shapes["params"]) == {"encoder", "decoder", "to_code"}


@pytest.mark.parametrize("l1_weight", [0.0, 0.3])
@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("train", [False, True])
def test_loss_is_reconstruction_plus_commitment(quantizer, l1_weight, train):
  task, variables = task_of(quantizer, l1_weight)
  out = loss_of(task, variables, {"image": IMAGE}, train=train)
  squared, absolute, commitment, tokens = numpy_loss(task, variables, IMAGE)
  beta = BETA if quantizer == "ema" else 0
  expected = np.mean(squared + l1_weight * absolute) + beta * commitment
  assert out.loss.shape == ()
  np.testing.assert_allclose(out.loss, expected, rtol=1e-5)
  means = metrics.compute(out.metrics)
  np.testing.assert_allclose(means["loss"], expected, rtol=1e-5)
  np.testing.assert_allclose(means["mse"], np.mean(squared), rtol=1e-5)
  codebook_size = QUANTIZERS[quantizer].codebook_size
  np.testing.assert_allclose(means["batch_usage"], len(np.unique(tokens)) / codebook_size)
  assert ("commitment" in means) == (quantizer == "ema")
  if quantizer == "ema":
    np.testing.assert_allclose(means["commitment"], commitment, rtol=1e-5)  # without β


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_rows_of_weight_0_do_not_count(quantizer):
  task, variables = task_of(quantizer)
  weight = jnp.array([1.0, 1.0, 0.0, 0.0])
  padded = loss_of(task, variables, {"image": IMAGE, "weight": weight}, train=False)
  alone = loss_of(task, variables, {"image": IMAGE[:2]}, train=False)
  np.testing.assert_allclose(padded.loss, alone.loss, rtol=1e-5)
  # The padding may hold anything, and gets no gradient to give.
  other = IMAGE.at[2:].set(0)
  changed = loss_of(task, variables, {"image": other, "weight": weight}, train=False)
  np.testing.assert_allclose(changed.loss, padded.loss, rtol=1e-6)


@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("metric", ["mse", "loss", "commitment"])
def test_metrics_of_batches_add_up_to_those_of_the_whole(quantizer, metric):
  task, variables = task_of(quantizer)
  whole = loss_of(task, variables, {"image": IMAGE}, train=False).metrics
  if metric not in whole:
    return
  # 3 images and then 1 with padding: a mean of the two means would be another number.
  padding = jnp.concatenate([IMAGE[3:], jnp.zeros_like(IMAGE[:2])])
  parts = [
    loss_of(task, variables, {"image": image, "weight": weight}, train=False).metrics
    for image, weight in ((IMAGE[:3], jnp.ones(3)), (padding, jnp.array([1.0, 0.0, 0.0])))
  ]
  merged = metrics.compute(metrics.merge(*parts))
  np.testing.assert_allclose(merged[metric], metrics.compute(whole)[metric], rtol=1e-5)


def test_only_training_moves_the_codebook():
  task, variables = task_of("ema")
  assert loss_of(task, variables, {"image": IMAGE}, train=False).updates == {}
  updates = loss_of(task, variables, {"image": IMAGE}, train=True).updates
  assert set(updates) == {"codebook"}
  # As the quantizer moves it, given the same latents and key.
  model = task.model
  z = jax.jit(lambda x: model.apply(variables, x, method=lambda m, x: m.to_code(m.encoder(x))))(
    to_float(IMAGE)
  )
  before = variables["codebook"]["quantizer"]
  flat = np.asarray(z).reshape(-1, 3)
  codes = np.asarray(before["codes"])
  nearest = np.argmin(np.sum((flat[:, None] - codes) ** 2, axis=-1), axis=1)
  hits = np.bincount(nearest, minlength=12)
  after = updates["codebook"]["quantizer"]
  np.testing.assert_allclose(after["count"], 0.9 * before["count"] + 0.1 * hits, rtol=1e-5)
  total = 0.9 * np.asarray(before["total"]) + 0.1 * np.eye(12)[nearest].T @ flat
  np.testing.assert_allclose(after["total"], total, atol=1e-5)
  np.testing.assert_allclose(after["codes"], total / np.asarray(after["count"])[:, None], atol=1e-5)


def test_fsq_has_no_updates():
  task, variables = task_of("fsq")
  assert not loss_of(task, variables, {"image": IMAGE}, train=True).updates


def test_loss_and_updates_give_the_codebook_no_gradient():
  task, variables = task_of("ema")

  @jax.jit
  @jax.grad
  def gradient(variables):
    out = task.loss(variables, {"image": IMAGE}, KEY, train=True)
    return out.loss + sum(jnp.sum(leaf) for leaf in jax.tree.leaves(out.updates))

  gradients = gradient(variables)
  assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(gradients["codebook"]))
  for path, leaf in jax.tree_util.tree_leaves_with_path(gradients["params"]):
    assert float(jnp.abs(leaf).max()) > 1e-9, jax.tree_util.keystr(path)


def test_commitment_reaches_the_encoder_scaled_by_its_weight_and_never_the_decoder():
  results = []
  for weight in (0.0, 1.0, 3.0):
    _, variables = task_of("ema")
    model = model_of("ema").copy(quantizer=QUANTIZERS["ema"].copy(commitment_weight=weight))
    task = TokenizerTask(model, 0.3)
    loss = lambda params, task=task, rest=variables: (
      task.loss({**rest, "params": params}, {"image": IMAGE}, KEY, train=False).loss
    )
    results.append(jax.jit(jax.grad(loss))(variables["params"]))
  none, once, thrice = (jax.tree.map(np.asarray, g) for g in results)
  by_commitment = jax.tree.map(np.subtract, once, none)
  for part in ("encoder", "to_code"):
    leaves = zip(*(jax.tree.leaves(g[part]) for g in (by_commitment, thrice, none)), strict=True)
    for one, three, zero in leaves:
      assert np.abs(one).max() > 1e-7
      np.testing.assert_allclose(three - zero, 3 * one, atol=1e-4 * np.abs(one).max() + 1e-6)
  assert all(np.abs(x).max() < 1e-7 for x in jax.tree.leaves(by_commitment["decoder"]))
