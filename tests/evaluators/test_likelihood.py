"""Likelihood over a split: equal to brute force, whatever the batches; conditions matter."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i.data.stream import eval_stream
from jaxt2i.evaluators.likelihood import Likelihood
from jaxt2i.models.masked import MaskedPrior
from jaxt2i.tasks.prior import AutoregressiveTask, MaskedTask
from tests.arrays import integers, random_params
from tests.priors import small
from tests.runs import config

CAPTIONS = ("large red star left of small blue heart", "green", "", "a small black cross")


def task_of(pipeline, **options) -> AutoregressiveTask:
  off = {**dict.fromkeys(config("prior:tiny")["loss"], 0.0), "random_order_steps": 0}
  return AutoregressiveTask(model=pipeline.prior, **off | options)


def row(pair, rng):
  return {"tokens": pair[0], "text": pair[1]}


@pytest.fixture(scope="module")
def pairs(prior_pipeline):
  tokens = np.random.default_rng(0).integers(0, 512, (18, 8, 8)).astype(np.int32)
  text = prior_pipeline.text_processor([CAPTIONS[i % 4] for i in range(18)])
  return [(tokens[i], text[i]) for i in range(18)]


@pytest.fixture(scope="module")
def evaluate(prior_pipeline, pairs):
  """The nll of a split in batches of a size; of other options of the task too."""

  def run(batch_size=32, rows=pairs, batches=None, **options):
    task = task_of(prior_pipeline, **options)
    batches = batches or (lambda: eval_stream(rows, row, batch_size=batch_size))
    results = Likelihood(task, batches)(prior_pipeline.prior_variables)
    assert results.keys() == {"nll"}
    return results["nll"]

  return run


def test_equals_brute_force_over_the_split(prior_pipeline, pairs, evaluate):
  tokens = np.stack([tokens.reshape(-1) for tokens, _ in pairs])
  text = np.stack([text for _, text in pairs])
  logits = prior_pipeline.prior.apply(
    prior_pipeline.prior_variables, jnp.asarray(tokens), jnp.asarray(text), train=False
  )
  logits = np.asarray(logits, np.float64)
  chosen = np.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
  nll = np.log(np.exp(logits).sum(-1)) - chosen
  assert evaluate() == pytest.approx(nll.mean(), rel=1e-5)
  task, rows = task_of(prior_pipeline), lambda: eval_stream(pairs, row, batch_size=7)
  of_images = Likelihood(task, rows).of_images(prior_pipeline.prior_variables)
  np.testing.assert_allclose(of_images, nll.mean(axis=1), rtol=1e-5)


def test_a_masked_prior_gives_each_image_what_its_batch_would():
  model = small(MaskedPrior, 13, (2, 4), 9)
  tokens, text = integers(0, 0, 13, 6, 2, 4), integers(1, 1, 9, 6, 3)
  task = MaskedTask(model, condition_dropout=0.0, label_smoothing=0.0)
  params = {"params": random_params(model, tokens.reshape(6, -1), text, train=False)}
  batch = {"tokens": tokens, "text": text, "weight": jnp.array([1.0, 1, 1, 1, 0, 0])}
  found = Likelihood(task, lambda: [batch]).of_images(params)
  expected = task.loss(params, batch, jax.random.key(0), train=False).metrics["nll"].compute()
  assert found.shape == (4,)
  assert found.mean() == pytest.approx(float(expected), rel=1e-5)
  # An image of the middle of a split has the blanks of that place.
  alone = {name: x[2:3] for name, x in batch.items()} | {"index": jnp.array([2], jnp.int32)}
  assert Likelihood(task, lambda: [alone]).of_images(params) == pytest.approx(found[2], rel=1e-5)


def test_does_not_depend_on_the_batch_size(evaluate):
  assert evaluate(7) == pytest.approx(evaluate(32), rel=1e-6)


def test_padding_does_not_count(pairs, evaluate):
  def batches(padding):
    tokens, text = zip(*pairs[:3], padding, padding, strict=True)
    weight = np.float32([1, 1, 1, 0, 0])
    return lambda: [{"tokens": np.stack(tokens), "text": np.stack(text), "weight": weight}]

  expected = evaluate(rows=pairs[:3])
  for padding in (pairs[3], pairs[4]):
    assert evaluate(batches=batches(padding)) == pytest.approx(expected, rel=1e-6)


def test_what_is_for_training_only_changes_nothing(evaluate):
  expected = evaluate()
  for option in ("condition_dropout", "label_smoothing", "token_dropout", "token_replacement"):
    assert evaluate(**{option: 0.9}) == expected, option


def test_the_caption_counts(pairs, evaluate):
  other = [(tokens, np.zeros_like(text)) for tokens, text in pairs]
  assert evaluate(rows=other) != evaluate()


def test_uniform_logits_cost_the_log_of_the_codebook(prior_pipeline, pairs):
  task = task_of(prior_pipeline)
  zeros = jax.tree.map(jnp.zeros_like, prior_pipeline.prior_variables)
  rows = lambda: eval_stream(pairs, row, batch_size=32)
  assert Likelihood(task, rows)(zeros)["nll"] == pytest.approx(math.log(512), rel=1e-6)


def test_other_collections_are_not_asked_for(prior_pipeline, pairs):
  task = task_of(prior_pipeline)
  rows = lambda: eval_stream(pairs[:2], row, batch_size=32)
  variables = {**prior_pipeline.prior_variables, "frozen": {"x": np.zeros(3)}}
  expected = Likelihood(task, rows)(prior_pipeline.prior_variables)
  assert Likelihood(task, rows)(variables) == expected
