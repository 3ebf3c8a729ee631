"""What the benchmarks compare is the same network: outputs, gradients and training agree."""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import prior as prior_config
from configs import vqvae as vqvae_config
from jaxt2i import config as config_lib
from jaxt2i import modules, optim
from jaxt2i.models.vqvae import to_float
from jaxt2i.sampling import SamplingOptions
from jaxt2i.sharding import make_mesh
from jaxt2i.state import TrainState
from jaxt2i.step import make_train_step
from jaxt2i.tasks.prior import AutoregressiveTask
from jaxt2i.tasks.tokenizer import TokenizerTask
from tests.drawing import sample_text

torch = pytest.importorskip("torch", reason="PyTorch is an extra of the benchmarks only")

from benchmarks import torch_models, torch_prior, torch_train, torch_weights  # noqa: E402
from benchmarks.prior_step import build_both  # noqa: E402

torch.set_num_threads(1)  # for networks this small threads only wait for each other

BATCH = 4
IMAGE_SIZE = 16
MAX_LENGTH = 6
STEPS = 8


@dataclasses.dataclass(frozen=True)
class Twins:
  """A network of ours and its peer, with the same weights."""

  task: Any
  params: Any
  batch: Mapping[str, np.ndarray]
  peer: Any
  config: Any

  def loss_and_gradients(self) -> tuple[float, dict[str, Any]]:
    """Ours; the gradients under the names of the peer."""
    loss = lambda p, batch: self.task.loss({"params": p}, batch, jax.random.key(0), train=True).loss
    value, gradients = jax.jit(jax.value_and_grad(loss))(self.params, self.batch)
    return float(value), torch_weights.state_dict(gradients)

  @property
  def tokens_and_text(self) -> tuple[Any, Any]:
    """What the peer's prior takes."""
    tokens = self.batch["tokens"].reshape(BATCH, -1)
    return torch.from_numpy(tokens).long(), torch.from_numpy(self.batch["text"]).long()


def _params(task: Any, batch: Mapping[str, np.ndarray]) -> Any:
  """None is at a special value, such as kernels that start at zero."""
  rng = np.random.default_rng(0)
  noisy = lambda x: x + 0.05 * rng.standard_normal(x.shape).astype(np.float32)
  return jax.tree.map(noisy, jax.jit(task.init)(jax.random.key(0), batch)["params"])


@pytest.fixture(scope="module", params=["conv", "vqgan", "vit"])
def tokenizers(request: pytest.FixtureRequest) -> Twins:
  config = vqvae_config.get_config(f"fsq,{request.param},tiny")
  more = {"layers": 2, "heads": 2} if request.param == "vit" else {"blocks": 2}
  config.model.network.update(more)
  shape = (BATCH, IMAGE_SIZE, IMAGE_SIZE, 3)
  batch = {"image": np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)}
  model = modules.tokenizer(config.model.to_dict(), IMAGE_SIZE)
  task = config_lib.build(TokenizerTask, config.loss.to_dict(), "config.loss", model=model)
  params = _params(task, batch)
  peer = torch_models.Tokenizer(config.model, IMAGE_SIZE)
  peer.load_state_dict(torch_weights.state_dict(params))
  return Twins(task, params, batch, peer, config)


@pytest.fixture(scope="module")
def priors() -> Twins:
  config = prior_config.get_config("tiny")
  config.model.text.layers = 2
  config.text.update(vocab_size=40, max_length=MAX_LENGTH)
  config.loss.condition_dropout = 0.0  # who is dropped is drawn differently
  config.loss.token_dropout = 0.0
  config.optimizer.kind = "adamw"  # what the peer has
  model, options = build_both(config, grid=(3, 4), codebook_size=50)
  rng = np.random.default_rng(0)
  tokens = rng.integers(0, 50, (BATCH, 3, 4))
  text = rng.integers(1, 40, (BATCH, MAX_LENGTH))
  text[1, 3:] = 0
  text[2] = 0  # without a caption
  batch = {"tokens": tokens.astype(np.int32), "text": text.astype(np.int32)}
  task = config_lib.build(AutoregressiveTask, config.loss.to_dict(), "config.loss", model=model)
  params = _params(task, batch)
  peer = torch_prior.Prior(**options)
  peer.load_state_dict(torch_weights.state_dict(params))
  return Twins(task, params, batch, peer, config)


def _assert_same_gradients(peer: Any, expected: Mapping[str, Any]) -> None:
  found = {name: parameter.grad for name, parameter in peer.named_parameters()}
  assert found.keys() == expected.keys()
  for name, gradient in expected.items():
    tolerance = 1e-4 * float(gradient.abs().max())
    np.testing.assert_allclose(found[name], gradient, rtol=1e-3, atol=tolerance, err_msg=name)


def test_tokenizers_reconstruct_the_same(tokenizers: Twins):
  x = np.asarray(to_float(jnp.asarray(tokenizers.batch["image"])))
  apply = lambda p, x: tokenizers.task.model.apply({"params": p}, x, train=False).image
  ours = jax.jit(apply)(tokenizers.params, x)
  with torch.no_grad():
    theirs = tokenizers.peer(torch.from_numpy(x.copy()))
  assert np.std(ours) > 0.1
  np.testing.assert_allclose(theirs, ours, atol=1e-4)


def test_tokenizers_have_the_same_loss_and_gradients(tokenizers: Twins):
  ours, gradients = tokenizers.loss_and_gradients()
  peer = copy.deepcopy(tokenizers.peer)
  image = torch.from_numpy(tokenizers.batch["image"])
  loss = torch_models.tokenizer_loss(peer, image, tokenizers.config.loss.l1_weight)
  loss.backward()
  assert loss.item() == pytest.approx(ours, rel=1e-5)
  _assert_same_gradients(peer, gradients)


def test_priors_give_the_same_logits(priors: Twins):
  tokens, text = priors.tokens_and_text
  apply = lambda p, tokens, text: priors.task.model.apply({"params": p}, tokens, text, train=False)
  ours = jax.jit(apply)(priors.params, tokens.numpy().astype(np.int32), priors.batch["text"])
  with torch.no_grad():
    theirs = priors.peer(tokens, text)
  assert np.std(ours) > 0.1
  np.testing.assert_allclose(theirs, ours, atol=1e-4)


def test_priors_have_the_same_loss_and_gradients(priors: Twins):
  ours, gradients = priors.loss_and_gradients()
  peer = copy.deepcopy(priors.peer)
  loss = torch_prior.prior_loss(peer, *priors.tokens_and_text, condition_dropout=0.0)
  loss.backward()
  assert loss.item() == pytest.approx(ours, rel=1e-5)
  _assert_same_gradients(peer, gradients)


def test_the_peers_cache_changes_nothing(priors: Twins):
  tokens, text = priors.tokens_and_text
  peer = priors.peer
  with torch.inference_mode():
    expected = peer(tokens, text)
    cache = peer.start(text)
    for index in range(peer.num_tokens):
      before = tokens[:, index - 1] if index else torch.full((BATCH,), peer.bos)
      logits = peer.step(before, index, cache)
      np.testing.assert_allclose(logits, expected[:, index], atol=1e-4)


def test_both_samplers_draw_the_same_where_nothing_is_left_to_chance(priors: Twins):
  keys = jax.random.split(jax.random.key(0), BATCH)
  text = jnp.asarray(priors.batch["text"])
  coldest = SamplingOptions(temperature=0.0)
  ours = sample_text(priors.task.model, {"params": priors.params}, text, keys, coldest)
  theirs = priors.peer.sample(priors.tokens_and_text[1], temperature=1e-4)
  np.testing.assert_array_equal(theirs, np.reshape(ours, (BATCH, -1)))


def test_both_training_steps_learn_the_same(priors: Twins):
  """Schedule, clipping, AdamW and what decays, EMA: losses and weights agree along the way."""
  config = copy.deepcopy(priors.config)
  config.optimizer.update(weight_decay=0.5, warmup_steps=2)
  config.loop.num_steps = STEPS
  config.ema_decay = 0.3
  losses, state = _train_ours(priors, config)
  peer = copy.deepcopy(priors.peer)
  loss = lambda tokens, text: torch_prior.prior_loss(peer, tokens, text, condition_dropout=0.0)
  step = torch_train.TrainStep(peer, loss, config)
  theirs = [step(*priors.tokens_and_text).item() for _ in range(STEPS)]
  assert losses[-1] < 0.98 * losses[0]
  np.testing.assert_allclose(theirs, losses, rtol=1e-4)
  for params, model in ((state.params, peer), (state.ema_params, step.ema_model)):
    found = model.state_dict()
    for name, expected in torch_weights.state_dict(params).items():
      # Adam divides a gradient by its own size, so rounding shows where it is almost 0.
      agree = torch.isclose(found[name], expected, rtol=1e-3, atol=1e-4)
      assert agree.float().mean() > 0.99, name


def _train_ours(twins: Twins, config: Any) -> tuple[list[float], TrainState]:
  optimizer = config_lib.build(
    optim.Optimizer, config.optimizer.to_dict(), "config.optimizer"
  ).build(STEPS)
  params = jax.tree.map(jnp.array, twins.params)  # copies, since the step reuses its state
  state = TrainState.create({"params": params}, optimizer)
  step_fn = make_train_step(
    twins.task, optimizer, ema_decay=config.ema_decay, seed=0, mesh=make_mesh(1)
  )
  losses = []
  with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer power
    for _ in range(STEPS):
      state, metrics = step_fn(state, twins.batch)
      losses.append(float(metrics["loss"].compute()))
  return losses, state
