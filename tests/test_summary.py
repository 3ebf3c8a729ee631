"""What a start prints: parameters counted part by part, a step's cost against counts by hand."""

import dataclasses
import itertools
import logging
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxt2i import experiment, summary
from jaxt2i.checkpoints import Checkpoints
from jaxt2i.metrics import Mean
from jaxt2i.sharding import MeshOptions, make_mesh, replicated
from jaxt2i.state import TrainState
from jaxt2i.step import make_train_step
from jaxt2i.tasks.base import LossOutput
from jaxt2i.train import LoopOptions, Surroundings, train
from tests.runs import config

BATCH, WIDTH, FEATURES = 32, 1024, 512
DENSE_FLOPS = 2 * BATCH * WIDTH * FEATURES  # a multiplication and an addition each
MIB = 2**20


def lines_of(caplog, function, *arguments) -> list[str]:
  caplog.clear()
  with caplog.at_level(logging.INFO, logger="jaxt2i.summary"):
    function(*arguments)
  return [record.getMessage() for record in caplog.records]


# --- parameters ---


def test_every_parameter_of_the_tokenizer_belongs_to_a_part(caplog):
  what = experiment.make(config("vqvae:ema,shapes,tiny"))
  state = abstract_state(what)
  counts = summary.count_parameters(state.params)
  sizes = {name: numbers(tree) for name, tree in state.params.items()}
  assert counts == {
    "encoder": sizes["encoder"],
    "quantizer": 16 * 16 + 16,  # to_code, from 16 features to codes of 16
    "decoder": sizes["decoder"],
  }
  (line,) = lines_of(caplog, summary.log_parameters, state)
  assert line.startswith(f"{numbers(state.params):,} parameters: ")
  assert f"decoder {sizes['decoder']:,}" in line
  codebook = 512 * 16 + 512 + 512 * 16  # codes, count, total
  assert line.endswith(f"; without gradients: codebook {codebook:,}")


def test_every_parameter_of_the_prior_belongs_to_a_part(tokenizer_run, caplog):
  what = experiment.make(config("prior:shapes,tiny", tokenizer=str(tokenizer_run)))
  state = abstract_state(what)
  counts = summary.count_parameters(state.params)
  text = numbers(state.params["text_encoder"])
  assert counts == {"prior": numbers(state.params) - text, "text encoder": text}
  (line,) = lines_of(caplog, summary.log_parameters, state)
  assert line.endswith(f"; without gradients: frozen {numbers(state.collections['frozen']):,}")


def test_parts_that_nobody_has_heard_of_are_named_as_they_are():
  params = {"head": jnp.zeros((2, 3)), "tower": {"a": jnp.zeros(5), "b": jnp.zeros(())}}
  assert summary.count_parameters(params) == {"prior": 6, "tower": 6}


def abstract_state(what) -> TrainState:
  variables = lambda: what.init(jax.random.key(0))
  return jax.eval_shape(lambda: TrainState.create(variables(), optax.sgd(1.0)))


def numbers(tree) -> int:
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


# --- the cost of a step ---


def dense(weights, batch):
  return weights, batch["x"] @ weights


def dense_arguments(mesh):
  weights = jax.device_put(jnp.ones((WIDTH, FEATURES)), replicated(mesh))
  return weights, {"x": np.ones((BATCH, WIDTH), np.float32)}


def mesh_of(count: int):
  return make_mesh(count, MeshOptions(data=count))


@pytest.mark.parametrize("devices", [1, 2])
def test_cost_of_a_dense_layer_is_that_counted_by_hand(devices, caplog):
  mesh = mesh_of(devices)
  rows = NamedSharding(mesh, PartitionSpec("data"))
  step = jax.jit(
    dense,
    in_shardings=(replicated(mesh), rows),
    out_shardings=(replicated(mesh), rows),
    donate_argnums=0,
  )
  weights, batch = dense_arguments(mesh)
  compiled = summary.compile_step(step, weights, batch)
  (line,) = lines_of(caplog, summary.log_cost, compiled, batch)
  flops = re.match(r"a step: ([\d.]+) MFLOP, ([\d.]+) MFLOP an example; ", line)
  assert float(flops[1]) == pytest.approx(DENSE_FLOPS / 1e6, rel=5e-3)
  assert float(flops[2]) == pytest.approx(DENSE_FLOPS / BATCH / 1e6, rel=5e-3)
  # The weights once, as their place is reused, and the few kilobytes of rows that round away.
  held = round(4 * (WIDTH * FEATURES + BATCH * (WIDTH + FEATURES) / devices) / MIB)
  assert line.endswith(f"; {held} MiB" + (" on each of 2 devices" if devices == 2 else ""))


def test_results_that_take_no_arguments_place_are_counted(caplog):
  compiled = summary.compile_step(
    jax.jit(lambda weights, batch: weights + jnp.sum(batch["x"])), *dense_arguments(mesh_of(1))
  )
  (line,) = lines_of(caplog, summary.log_cost, compiled, {"x": np.ones((BATCH, WIDTH))})
  assert line.endswith("; 4 MiB")  # 2 MiB of weights in, 2 out


def test_what_the_backend_does_not_tell_is_not_said(caplog, monkeypatch):
  weights, batch = dense_arguments(mesh_of(1))
  compiled = summary.compile_step(jax.jit(dense), weights, batch)
  monkeypatch.setattr(jax.stages.Compiled, "memory_analysis", lambda self: None)
  (line,) = lines_of(caplog, summary.log_cost, compiled, batch)
  assert "FLOP" in line
  assert "MiB" not in line
  monkeypatch.setattr(jax.stages.Compiled, "cost_analysis", lambda self: None)
  assert lines_of(caplog, summary.log_cost, compiled, batch) == []
  monkeypatch.setattr(jax.stages.Compiled, "cost_analysis", lambda self: {"flops": -1.0})
  assert lines_of(caplog, summary.log_cost, compiled, batch) == []


def test_a_step_that_is_not_jitted_is_left_alone(caplog):
  weights, batch = dense_arguments(mesh_of(1))
  assert summary.compile_step(dense, weights, batch) is dense
  assert lines_of(caplog, summary.log_cost, dense, batch) == []


# --- within a training ---


@dataclasses.dataclass(frozen=True)
class Line:
  """Loss mean (w·x)²."""

  def init(self, key, batch):
    return {"params": {"w": jnp.full((4,), 2.0)}}

  def loss(self, variables, batch, key, *, train):
    loss = Mean.of(jnp.square(batch["x"] @ variables["params"]["w"]))
    return LossOutput(loss=loss.compute(), metrics={"loss": loss}, updates={})


class Nowhere(Checkpoints):
  """A writer and a saver that do neither."""

  def __init__(self): ...

  def write_scalars(self, step, scalars): ...

  def write_images(self, step, images): ...

  def write_histograms(self, step, arrays): ...

  def flush(self): ...

  def save(self, step, state, under_way=None): ...


def test_training_compiles_its_step_once_and_says_what_it_costs(caplog):
  mesh, optimizer = make_mesh(4), optax.sgd(0.01)
  variables = Line().init(jax.random.key(0), {})
  state = jax.device_put(TrainState.create(variables, optimizer), replicated(mesh))
  step_fn = make_train_step(Line(), optimizer, ema_decay=0.9, seed=0, mesh=mesh)
  with caplog.at_level(logging.INFO), jax.log_compiles():
    state = train(
      step_fn,
      state,
      itertools.repeat({"x": np.ones((4, 4), np.float32)}),
      options=LoopOptions(3, 1, 3, 3, watch="", patience=0),
      around=Surroundings(evaluators={}, writer=Nowhere(), checkpoints=Nowhere()),
    )
  assert int(state.step) == 3
  assert len(re.findall(r"Finished XLA compilation of jit\(step\)", caplog.text)) == 1
  said = ["4 parameters: w 4", "compiling the training step", "compiled in", "a step: ", "step 3/3"]
  found = [caplog.text.index(words) for words in said]
  assert found == sorted(found)
