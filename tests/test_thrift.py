"""bfloat16, a batch in parts and blocks computed twice, all at once: a run as any other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i import experiment, main
from jaxt2i.checkpoints import read_arrays
from jaxt2i.stopping import Stop, StoppedError
from jaxt2i.training import Training
from tests.faults import KEYS, assert_same_run
from tests.models.test_precision import PRODUCT
from tests.runs import config, metrics_of, train

NAME = "prior:shapes,tiny"
THRIFT = {
  "step.compute_dtype": "bfloat16",
  "step.accumulate": 2,
  "model.remat": True,
  "model.dropout": 0.1,
}
LOOP = {
  "loop.num_steps": 12,
  "loop.log_every": 1,
  "loop.eval_every": 6,
  "loop.checkpoint_every": 5,
}


def test_a_thrifty_prior_learns_and_resumes_to_the_same_bits(tmp_path, tokenizer_run):
  changes = {"tokenizer": str(tokenizer_run), **THRIFT, **LOOP}
  reference = train(tmp_path / "whole", NAME, **changes)
  losses = [line["loss"] for line in metrics_of(reference)]
  assert np.mean(losses[-3:]) < 0.9 * losses[0]
  workdir, stop = tmp_path / "stopped", Stop()
  stop.agreement = lambda step: step == 8
  with pytest.raises(StoppedError):
    main.run(config(NAME, **changes), workdir, stop=stop)
  assert read_arrays(workdir, ("step",))[0] == 8
  train(workdir, NAME, **changes)
  assert_same_run(workdir, reference)
  _, arrays = read_arrays(workdir, KEYS)
  for part in ("params", "ema_params", "opt_state"):
    numbers = [x for x in jax.tree.leaves(arrays[part]) if x.dtype != np.int32]
    assert len(numbers) > 10
    assert {x.dtype for x in numbers} == {np.dtype(np.float32)}


def step_of(tokenizer, **changes):
  """The step of a config, lowered, and the state's shapes. Muon would have products of its own."""
  chosen = config(NAME, tokenizer=str(tokenizer), **{"optimizer.kind": "adamw"}, **changes)
  what, training = experiment.make(chosen), Training.of(chosen)
  mesh = training.make_mesh()
  batch = jax.tree.map(lambda x: np.repeat(x, 4, axis=0), what.example())
  state = training.shapes(what, mesh)
  return training.make_step(what, mesh).lower(state, batch), state


def test_a_step_multiplies_in_bfloat16_and_adds_up_in_float32(tokenizer_run):
  thrifty, state = step_of(tokenizer_run, **THRIFT)
  text = thrifty.as_text()
  products = PRODUCT.findall(text)
  assert len(products) > 20
  assert all("xbf16" in operand for pair in products for operand in pair)
  after, metrics = thrifty.out_info
  dtypes = lambda tree: jax.tree.map(lambda x: x.dtype, tree)
  assert dtypes(after) == dtypes(state)
  assert metrics["loss"].total.dtype == jnp.float32
  # Sums of gradients go round the loop over parts, beside the parameters that they are of.
  kernel = "x".join(map(str, state.params["blocks"]["qkv"]["kernel"].shape))
  loops = [line for line in text.splitlines() if "stablehlo.while" in line]
  carried = [
    [line.count(f"tensor<{kernel}x{dtype}>") for dtype in ("f32", "bf16")] for line in loops
  ]
  assert [2, 0] in carried
  plain, _ = step_of(tokenizer_run)
  assert not any("bf16" in a + b for a, b in PRODUCT.findall(plain.as_text()))
