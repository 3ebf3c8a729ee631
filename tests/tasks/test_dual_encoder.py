"""The contrastive loss by hand; captions that images share; what it learns."""

import jax
import jax.numpy as jnp
import numpy as np

from configs import dual_encoder
from jaxt2i import metrics, modules
from jaxt2i.tasks.dual_encoder import DualEncoderTask
from tests.arrays import integers, random_params

MODEL = modules.dual_encoder(dual_encoder.get_config("tiny").model.to_dict(), 64, 11)
TASK = DualEncoderTask(MODEL)
IMAGES = integers(0, 0, 256, 4, 64, 64, 3).astype(jnp.uint8)
TEXT = jnp.array([[3, 7, 2], [5, 0, 0], [4, 4, 0], [5, 0, 0]])  # the second is the fourth


def by_hand(points, text):
  """Mean over both ways of the cross-entropy against the even split over equal captions."""
  logits = float(points.scale) * np.float64(points.images) @ np.float64(points.texts).T
  losses = []
  for scores in (logits, logits.T):
    for i, row in enumerate(scores):
      log_p = row - np.log(np.sum(np.exp(row)))
      right = [j for j in range(len(text)) if np.array_equal(text[i], text[j])]
      losses.append(-np.mean(log_p[right]) - np.log(len(right)))
  return np.mean(losses)


def test_loss_equals_one_by_hand():
  variables = {"params": random_params(MODEL, IMAGES, TEXT)}
  batch = {"image": IMAGES, "text": TEXT}
  out = jax.jit(lambda: TASK.loss(variables, batch, jax.random.key(0), train=True))()
  points = jax.jit(lambda: MODEL.apply(variables, IMAGES, TEXT))()
  np.testing.assert_allclose(out.loss, by_hand(points, np.asarray(TEXT)), rtol=1e-4)
  assert out.updates == {}
  logits = np.asarray(points.images @ points.texts.T)
  right = [np.array_equal(TEXT[i], TEXT[j]) for i, j in enumerate(logits.argmax(axis=1))]
  assert metrics.compute(out.metrics)["accuracy"] == np.mean(right)


def test_it_learns_which_caption_belongs_to_which_image():
  batch = {"image": IMAGES, "text": TEXT}

  def step(params, _):
    loss = lambda p: TASK.loss({"params": p}, batch, jax.random.key(0), train=True).loss
    value, gradient = jax.value_and_grad(loss)(params)
    return jax.tree.map(lambda p, g: p - 0.03 * g, params, gradient), value

  @jax.jit
  def run():
    params = TASK.init(jax.random.key(0), batch)["params"]
    return jax.lax.scan(step, params, length=200)[1]

  losses = np.asarray(run())
  assert losses[-1] < 0.05 < 0.5 < losses[0]  # 0 is reached, though two captions are the same
