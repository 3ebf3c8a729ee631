"""Drawing tokens, from captions on: with a KV cache and without, autoregressive and masked."""

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.prior_step import GRID, LARGE_GRID, build_both, captions, sized_config
from benchmarks.timing import Case, Prepared, num_cores

TEMPERATURE = 0.8


def cases() -> list[Case]:
  """Against PyTorch, two sizes of the prior; against ourselves, other ways of drawing."""
  against_torch = [
    Case(f"sampling_{size}_b{b}", partial(_ours, size, b), partial(_peer, size, b), steps)
    for size in ("default", "large")
    for b, steps in ((1, 15), (16, 6))
  ]
  cache = [
    Case(f"sampling_cache_b{b}", partial(_ours, "default", b), partial(_uncached, b), steps)
    for b, steps in ((1, 5), (16, 2))
  ]
  masked = [
    Case(
      f"sampling_masked_{grid[0] * grid[1]}_b{b}",
      partial(_masked, b, grid),
      partial(_ours, "default", b, grid),
      steps=4,
    )
    for grid in (GRID, LARGE_GRID)
    for b in (1, 16)
  ]
  return [*against_torch, *cache, *masked]


def _ours(size: str, batch: int, grid: tuple[int, int] = GRID) -> Prepared:
  config = sized_config(size)
  prior, _ = build_both(config, grid=grid)
  return _prepared(prior, config, batch, _sampler)


def _masked(batch: int, grid: tuple[int, int]) -> Prepared:
  """A masked prior of the same sizes, in the default number of steps."""
  from jaxt2i.models.masked import MaskedPrior
  from jaxt2i.models.prior import Prior

  config = sized_config("default")
  prior, _ = build_both(config, grid=grid)
  shared = {name: getattr(prior, name) for name in Prior.__dataclass_fields__}
  ours_alone = ("parent", "name")
  masked = MaskedPrior(**{name: x for name, x in shared.items() if name not in ours_alone})
  return _prepared(masked, config, batch, _sampler)


def _uncached(batch: int) -> Prepared:
  """The autoregressive prior without its cache: every token is a pass over all of them."""
  config = sized_config("default")
  prior, _ = build_both(config)
  return _prepared(prior, config, batch, _sampler_without_cache)


def _prepared(
  prior: Any, config: Any, batch: int, sampler: Callable[..., Callable[[], Any]]
) -> Prepared:
  import jax
  import jax.numpy as jnp

  text = jnp.asarray(captions(config, batch))
  tokens = jnp.zeros((batch, prior.num_tokens), jnp.int32)
  variables = jax.jit(partial(prior.init, train=False))(jax.random.key(0), tokens, text)
  draw = sampler(prior, variables, text)
  return Prepared(
    lambda: jax.block_until_ready(draw()), sum(x.size for x in jax.tree.leaves(variables))
  )


def _sampler(prior: Any, variables: Any, text: Any) -> Callable[[], Any]:
  """What `jaxt2i generate` runs."""
  import jax
  import jax.numpy as jnp

  from jaxt2i.sampling import Conditions, SamplingOptions, image_key, sample

  keys = jax.vmap(image_key, (None, 0))(jnp.uint32(0), jnp.arange(len(text)))
  options = SamplingOptions(temperature=TEMPERATURE)
  nothing = jnp.full((len(text), prior.num_tokens), -1)
  return partial(sample, prior, variables, Conditions.of(text), keys, options, nothing)


def _sampler_without_cache(prior: Any, variables: Any, text: Any) -> Callable[[], Any]:
  import jax
  import jax.numpy as jnp

  @jax.jit
  def draw(variables: Any, text: Any, key: Any) -> Any:
    def body(tokens: Any, index: Any) -> Any:
      logits = prior.apply(variables, tokens, text, train=False)[:, index]
      drawn = jax.random.categorical(jax.random.fold_in(key, index), logits / TEMPERATURE)
      return tokens.at[:, index].set(drawn.astype(tokens.dtype)), None

    blank = jnp.full((len(text), prior.num_tokens), prior.blank, jnp.int32)
    return jax.lax.scan(body, blank, jnp.arange(prior.num_tokens))[0]

  return partial(draw, variables, text, jax.random.key(0))


def _peer(size: str, batch: int) -> Prepared:
  import torch

  from benchmarks.torch_prior import Prior

  torch.set_num_threads(num_cores())
  config = sized_config(size)
  prior = Prior(**build_both(config)[1]).eval()
  text = torch.from_numpy(captions(config, batch)).long()
  return Prepared(
    lambda: prior.sample(text, TEMPERATURE), sum(p.numel() for p in prior.parameters())
  )
