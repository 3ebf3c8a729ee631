"""One small quantizer of each kind; as a program, compares one device with eight."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxt2i.models.quantizers import (
  BSQ,
  FSQ,
  LFQ,
  EMAQuantizer,
  GumbelQuantizer,
  ResidualQuantizer,
  VectorQuantizer,
)
from tests.arrays import normal

_LOOKUP = dict(
  codebook_size=16, code_dim=4, commitment_weight=0.25, codebook_decay=0.7, revival_threshold=0.05
)
KINDS = {
  "vq": VectorQuantizer(**_LOOKUP),
  "vq_cosine_rotate": VectorQuantizer(**_LOOKUP, cosine=True, rotate=True),
  "ema": EMAQuantizer(**_LOOKUP),
  "ema_cosine_kmeans_entropy": EMAQuantizer(
    **_LOOKUP, cosine=True, kmeans_iterations=3, entropy_weight=0.1
  ),
  "gumbel": GumbelQuantizer(16, 4, 5e-4, 1.0, 0.1, 100),
  "fsq": FSQ((4, 3, 3)),
  "lfq": LFQ(16, 0.1, 1.0, 0.25),
  "bsq": BSQ(16, 0.1, 1.0),
  "residual": ResidualQuantizer(2, EMAQuantizer(**_LOOKUP)),
}


def latents(quantizer, seed=0):
  """What an encoder might give: [4, 4, 8, D]."""
  return normal(100 + seed, 4, 4, 8, quantizer.latent_dim)


@functools.partial(jax.jit, static_argnums=0)
def train_step(quantizer, variables, z, key=0):
  """Output and variables after one step."""
  out, updates = quantizer.apply(
    variables, z, train=True, rngs={"codebook": jax.random.key(key)}, mutable=["codebook"]
  )
  return out, {**variables, **updates}


@functools.cache
def settled(kind):
  """The quantizer and variables after some steps: every code is alive."""
  quantizer = KINDS[kind]
  variables = quantizer.init(jax.random.key(0), latents(quantizer), train=False)
  for step in range(5):
    _, variables = train_step(quantizer, variables, latents(quantizer, step), step)
  return quantizer, variables


def compare(kind):
  """Three steps and their gradients on one device and on all of them."""
  from jaxt2i.sharding import make_mesh, replicated, shard_batch

  quantizer = KINDS[kind]
  results = []
  for mesh in (make_mesh(1), make_mesh(8)):

    def step(variables, z, key):
      def loss(z, params):
        out, moved = train_step(quantizer, {**variables, **params}, z, key)
        return out.loss.mean() + jnp.sum(jnp.sin(out.z_q)), (out, moved)

      params = {name: value for name, value in variables.items() if name == "params"}
      gradients, (out, moved) = jax.grad(loss, (0, 1), has_aux=True)(z, params)
      return out, moved, gradients

    run = jax.jit(step, out_shardings=replicated(mesh))
    variables = quantizer.init(jax.random.key(0), latents(quantizer), train=False)
    variables = jax.device_put(variables, replicated(mesh))
    seen = []
    for i in range(3):
      z = np.concatenate([latents(quantizer, 2 * i), latents(quantizer, 2 * i + 1)])
      out, variables, gradients = run(variables, shard_batch(z, mesh), i)
      seen.append(jax.device_get((out, gradients)))
    results.append((mesh.size, seen, jax.device_get(variables)))
  (one, seen1, variables1), (eight, seen8, variables8) = results
  assert (one, eight) == (1, 8)
  for (out1, gradients1), (out8, gradients8) in zip(seen1, seen8, strict=True):
    np.testing.assert_array_equal(out1.tokens, out8.tokens)
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)
    jax.tree.map(close, (out1, gradients1), (out8, gradients8))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), variables1, variables8)


if __name__ == "__main__":
  for name in KINDS:
    compare(name)
    print(name, flush=True)
