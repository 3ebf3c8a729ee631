"""Drawing 64 tokens with a KV cache, from captions to tokens, at batch 1 and 16."""

from functools import partial

from benchmarks.prior_step import SIZES, captions, model_options, sized_config
from benchmarks.timing import Case, Prepared, num_cores

TEMPERATURE = 0.8


def cases() -> list[Case]:
  """Both sizes of the prior."""
  return [
    Case(f"sampling_{size}_b{b}", partial(_ours, size, b), partial(_peer, size, b), steps)
    for size in SIZES
    for b, steps in ((1, 15), (16, 6))
  ]


def _ours(size: str, batch: int) -> Prepared:
  import jax
  import jax.numpy as jnp

  from jaxt2i.models.autoregressive import AutoregressivePrior
  from jaxt2i.sampling import Conditions, SamplingOptions, image_key, sample

  config = sized_config(size)
  prior = AutoregressivePrior(**model_options(config))
  text = jnp.asarray(captions(config, batch))
  tokens = jnp.zeros((batch, prior.num_tokens), jnp.int32)
  variables = jax.jit(partial(prior.init, train=False))(jax.random.key(0), tokens, text)
  keys = jax.vmap(image_key, (None, 0))(jnp.uint32(0), jnp.arange(batch))
  options = SamplingOptions(temperature=TEMPERATURE)
  draw = partial(sample, prior, variables, Conditions.of(text), keys, options)
  nothing = jnp.full(tokens.shape, -1)
  return Prepared(
    lambda: jax.block_until_ready(draw(nothing)),
    sum(x.size for x in jax.tree.leaves(variables)),
  )


def _peer(size: str, batch: int) -> Prepared:
  import torch

  from benchmarks.torch_prior import Prior

  torch.set_num_threads(num_cores())
  config = sized_config(size)
  prior = Prior(**model_options(config), max_length=config.text.max_length).eval()
  text = torch.from_numpy(captions(config, batch)).long()
  return Prepared(
    lambda: prior.sample(text, TEMPERATURE), sum(p.numel() for p in prior.parameters())
  )
