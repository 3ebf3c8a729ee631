"""A prior that computes its blocks again for the gradient: the same, in less memory."""

import jax
import jax.numpy as jnp
import numpy as np

from tests import kinds
from tests.arrays import integers

# As `jaxt2i.train` compiles a step.
OPTIONS = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}


def test_remat_gives_the_same_in_less_memory():
  changes = dict(positions="rotary", conditioning="prefix", dropout=0.2)
  task, batch = kinds.prior("masked", layers=8, **changes)
  batch = {
    "tokens": jnp.concatenate([batch["tokens"]] * 8),
    "text": integers(4, 1, kinds.VOCAB, 32, 5),
  }
  again = type(task)(**vars(task) | {"model": task.model.copy(remat=True)})
  variables = kinds.random_variables(task, batch)
  for mine, other in zip(*map(jax.tree.leaves, (variables, shapes(again, batch))), strict=True):
    assert (mine.shape, mine.dtype) == (other.shape, other.dtype)
  results, sizes = [], []
  for one in (task, again):

    def loss(params, rest, one=one):
      return one.loss({"params": params, **rest}, batch, jax.random.key(0), train=True).loss

    lowered = jax.jit(jax.value_and_grad(loss)).lower(*variables)
    program = lowered.compile(compiler_options=OPTIONS)
    results.append(program(*variables))
    sizes.append(program.memory_analysis().temp_size_in_bytes)
  (plain, gradients), (rematerialised, others) = results
  np.testing.assert_allclose(rematerialised, plain, rtol=1e-6)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * np.abs(b).max()),
    others,
    gradients,
  )
  assert sizes[1] < 0.5 * sizes[0]


def shapes(task, batch):
  variables = dict(jax.eval_shape(task.init, jax.random.key(0), batch))
  return variables.pop("params"), variables
