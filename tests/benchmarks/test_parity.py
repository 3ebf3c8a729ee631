"""What the benchmarks compare is the same network: outputs, gradients and training agree."""

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
from jaxt2i.models.prior import Prior
from jaxt2i.models.vqvae import to_float
from jaxt2i.sampling import SamplingOptions, sample_tokens
from jaxt2i.sharding import make_mesh
from jaxt2i.state import TrainState
from jaxt2i.tasks.base import Task
from jaxt2i.tasks.prior import PriorTask
from jaxt2i.tasks.tokenizer import TokenizerTask
from jaxt2i.train import make_train_step

torch = pytest.importorskip("torch", reason="PyTorch is an extra of the benchmarks only")

from benchmarks import torch_models, torch_prior, torch_train, torch_weights  # noqa: E402

BATCH = 4
PRIOR_SIZES: dict[str, Any] = {"codebook_size": 50, "grid": (3, 4), "vocab_size": 40}
MAX_LENGTH = 6


def _randomised(variables: Any) -> Any:
  """Parameters none of which is at a special value, such as kernels that start at zero."""
  leaves, treedef = jax.tree.flatten(variables)
  keys = jax.random.split(jax.random.key(1), len(leaves))
  noise = [x + 0.05 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
  return jax.tree.unflatten(treedef, noise)


def _tokenizers(network: str) -> tuple[TokenizerTask, Any, dict[str, Any], Any, Any]:
  config = vqvae_config.get_config(f"fsq,{network},tiny")
  if network == "conv":
    config.model.network.blocks = 2
  else:
    config.model.network.update(layers=2, heads=2)
  size = 16
  rng = np.random.default_rng(0)
  batch = {"image": rng.integers(0, 256, (BATCH, size, size, 3)).astype(np.uint8)}
  model = modules.tokenizer(config.model.to_dict(), size)
  task = config_lib.build(TokenizerTask, config.loss.to_dict(), "config.loss", model=model)
  variables = _randomised(task.init(jax.random.key(0), batch))
  peer = torch_models.Tokenizer(config.model, size).to(memory_format=torch.channels_last)
  peer.load_state_dict(torch_weights.state_dict(variables["params"]))
  return task, variables, batch, peer, config


def _priors() -> tuple[PriorTask, Any, dict[str, Any], Any, Any]:
  config = prior_config.get_config("tiny")
  config.model.update(layers=3, text_layers=2)
  config.loss.condition_dropout = 0.0  # who is dropped is drawn differently
  rng = np.random.default_rng(0)
  batch = {
    "tokens": rng.integers(0, PRIOR_SIZES["codebook_size"], (BATCH, *PRIOR_SIZES["grid"])),
    "text": rng.integers(1, PRIOR_SIZES["vocab_size"], (BATCH, MAX_LENGTH)),
  }
  batch["text"][1, 3:] = 0
  batch["text"][2] = 0  # without a caption
  batch = {name: array.astype(np.int32) for name, array in batch.items()}
  model = Prior(**PRIOR_SIZES, **config.model)
  task = config_lib.build(PriorTask, config.loss.to_dict(), "config.loss", model=model)
  variables = _randomised(task.init(jax.random.key(0), batch))
  peer = torch_prior.Prior(**PRIOR_SIZES, **config.model, max_length=MAX_LENGTH)
  peer.load_state_dict(torch_weights.state_dict(variables["params"]))
  return task, variables, batch, peer, config


def _to_torch(array: np.ndarray) -> Any:
  tensor = torch.from_numpy(array)
  return tensor if array.dtype == np.uint8 else tensor.long()


def _assert_same_gradients(ours: Mapping[str, Any], peer: Any) -> None:
  expected = torch_weights.state_dict(ours)
  found = {name: parameter.grad for name, parameter in peer.named_parameters()}
  assert expected.keys() == found.keys()
  for name, gradient in expected.items():
    np.testing.assert_allclose(
      found[name], gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()), err_msg=name
    )


@pytest.mark.parametrize("network", ["conv", "vit"])
def test_the_tokenizers_reconstruct_the_same(network: str):
  task, variables, batch, peer, _ = _tokenizers(network)
  ours = task.model.apply(variables, to_float(jnp.asarray(batch["image"])), train=False)
  with torch.no_grad():
    image = torch.from_numpy(np.array(to_float(jnp.asarray(batch["image"]))))
    theirs = peer(image)
  assert np.std(ours.image) > 0.1
  np.testing.assert_allclose(theirs, ours.image, atol=1e-4)


@pytest.mark.parametrize("network", ["conv", "vit"])
def test_the_tokenizers_have_the_same_loss_and_gradients(network: str):
  task, variables, batch, peer, config = _tokenizers(network)
  key = jax.random.key(0)
  loss_fn = lambda v: task.loss(v, jax.tree.map(jnp.asarray, batch), key, train=True).loss
  ours, gradients = jax.value_and_grad(loss_fn)(variables)
  theirs = torch_models.tokenizer_loss(peer, _to_torch(batch["image"]), config.loss.l1_weight)
  theirs.backward()
  assert float(theirs.detach()) == pytest.approx(float(ours), rel=1e-5)
  _assert_same_gradients(gradients["params"], peer)


def test_the_priors_give_the_same_logits():
  task, variables, batch, peer, _ = _priors()
  tokens = batch["tokens"].reshape(BATCH, -1)
  ours = task.model.apply(variables, tokens, batch["text"], train=False)
  with torch.no_grad():
    theirs = peer(_to_torch(tokens), _to_torch(batch["text"]))
  assert np.std(ours) > 0.1
  np.testing.assert_allclose(theirs, ours, atol=1e-4)


def test_the_priors_have_the_same_loss_and_gradients():
  task, variables, batch, peer, _ = _priors()
  key = jax.random.key(0)
  loss_fn = lambda v: task.loss(v, jax.tree.map(jnp.asarray, batch), key, train=True).loss
  ours, gradients = jax.value_and_grad(loss_fn)(variables)
  tokens = _to_torch(batch["tokens"].reshape(BATCH, -1))
  theirs = torch_prior.prior_loss(peer, tokens, _to_torch(batch["text"]), condition_dropout=0.0)
  theirs.backward()
  assert float(theirs.detach()) == pytest.approx(float(ours), rel=1e-5)
  _assert_same_gradients(gradients["params"], peer)


def test_the_cached_step_of_the_peer_gives_its_own_logits():
  _, _, batch, peer, _ = _priors()
  tokens, text = _to_torch(batch["tokens"].reshape(BATCH, -1)), _to_torch(batch["text"])
  with torch.inference_mode():
    expected = peer(tokens, text)
    cache = peer.start(text)
    positions = (peer.rows + peer.columns).flatten(0, 1)
    for index in range(peer.num_tokens):
      before = tokens[:, index - 1] if index else torch.full((BATCH,), peer.bos)
      logits = peer.step(before, positions[index], index, cache)
      np.testing.assert_allclose(logits, expected[:, index], atol=1e-4)


def test_both_samplers_draw_the_likeliest_tokens_when_cold():
  """At a temperature near 0 nothing is left to chance, so both must draw the same."""
  task, variables, batch, peer, _ = _priors()
  keys = jax.random.split(jax.random.key(0), BATCH)
  options = SamplingOptions(temperature=0.0)
  ours = sample_tokens(task.model, variables, jnp.asarray(batch["text"]), keys, options)
  theirs = peer.sample(_to_torch(batch["text"]), 1e-4)
  np.testing.assert_array_equal(theirs, np.reshape(ours, (BATCH, -1)))


def _losses_of_ours(task: Task, variables: Any, batch: dict[str, Any], config: Any) -> Any:
  optimizer = config_lib.build(optim.Optimizer, config.optimizer.to_dict(), "").build(STEPS)
  state = TrainState.create(jax.tree.map(jnp.copy, variables), optimizer)
  mesh = make_mesh(BATCH)
  step_fn = make_train_step(task, optimizer, ema_decay=config.ema_decay, seed=0, mesh=mesh)
  losses = []
  for _ in range(STEPS):
    state, metrics = step_fn(state, batch)
    losses.append(float(metrics["loss"].compute()))
  return losses, state


STEPS = 8


def test_both_training_steps_learn_the_same():
  """Schedule, clipping, AdamW with its mask, and the EMA: weights agree after some steps."""
  task, variables, batch, peer, config = _priors()
  config.optimizer.update(weight_decay=0.5, warmup_steps=2)
  config.ema_decay = 0.3
  ours, state = _losses_of_ours(task, variables, batch, config)
  step = torch_train.TrainStep(
    peer,
    lambda tokens, text: torch_prior.prior_loss(peer, tokens, text, 0.0),
    optimizer=config.optimizer,
    num_steps=STEPS,
    ema_decay=config.ema_decay,
  )
  tokens = _to_torch(batch["tokens"].reshape(BATCH, -1))
  theirs = [float(step(tokens, _to_torch(batch["text"]))) for _ in range(STEPS)]
  assert ours[-1] < 0.98 * ours[0]
  np.testing.assert_allclose(theirs, ours, rtol=1e-4)
  for params, model in ((state.params, peer), (state.ema_params, step.ema_model)):
    found = model.state_dict()
    for name, expected in torch_weights.state_dict(params).items():
      # Adam divides gradients that are almost 0 by their size, so rounding shows: few may differ.
      close = torch.isclose(found[name], expected, rtol=1e-3, atol=1e-4).float().mean()
      assert close > 0.99, name


def test_only_matrices_decay():
  """Both sides name what decays in their own way."""
  _, variables, _, peer, config = _priors()
  step = torch_train.TrainStep.of(peer, lambda: None, config)
  decayed, kept = (group["params"] for group in step._adamw.param_groups)
  mask = optim._decayed(variables["params"])
  sizes = jax.tree.map(lambda m, p: p.size if m else 0, mask, variables["params"])
  assert sum(p.numel() for p in decayed) == sum(jax.tree.leaves(sizes))
  assert sum(p.numel() for p in [*decayed, *kept]) == sum(p.numel() for p in peer.parameters())
