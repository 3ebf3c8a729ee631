"""What holds for every quantizer: tokens and codes agree, bfloat16, eight devices, collapse."""

import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i import metrics
from jaxt2i.models.quantizers import ResidualQuantizer
from jaxt2i.models.quantizers.codebooks import nearest
from tests.models.quantizers.kinds import KINDS, latents, settled, train_step

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_to_codes_to_tokens_is_the_identity(kind):
  quantizer, variables = settled(kind)
  if isinstance(quantizer, ResidualQuantizer):
    pytest.skip("a sum of codes may have a nearer first code: see test_residual.py")
  tokens = jnp.arange(quantizer.codebook_size, dtype=jnp.int32).reshape(1, 1, -1)
  codes = quantizer.apply(variables, tokens, method="lookup")
  assert codes.shape == (1, 1, quantizer.codebook_size, quantizer.code_dim)
  flat = codes.reshape(-1, quantizer.code_dim)
  if quantizer.latent_dim == quantizer.code_dim and not kind.startswith("fsq"):
    again = quantizer.apply(variables, codes, train=False)
    np.testing.assert_array_equal(again.tokens, tokens)
  else:  # latents are logits, or are squashed on the way: codes are no latents
    np.testing.assert_array_equal(nearest(flat, flat), tokens.ravel())


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_decoder_sees_in_training_is_the_code_of_the_token(kind):
  quantizer, variables = settled(kind)
  out, _ = train_step(quantizer, variables, latents(quantizer))
  assert out.tokens.shape == (4, 4, 8 * quantizer.tokens_per_position)
  # The codes as they were before the step: it moves them after the lookup, and none was dead.
  codes = quantizer.apply(variables, out.tokens, method="lookup")
  np.testing.assert_allclose(out.z_q, codes, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_usage_and_perplexity_of_tokens_equal_a_count(kind):
  quantizer, variables = settled(kind)
  tokens = [
    np.asarray(quantizer.apply(variables, latents(quantizer, seed), train=False).tokens)
    for seed in range(3)
  ]
  counts = np.bincount(np.concatenate(tokens, axis=None), minlength=quantizer.codebook_size)
  assert len(counts) == quantizer.codebook_size
  shares = [count / counts.sum() for count in counts if count]
  assert metrics.usage(counts) == len(shares) / quantizer.codebook_size
  expected = np.prod([share**-share for share in shares])
  np.testing.assert_allclose(metrics.perplexity(counts), expected, rtol=1e-9)


# Rounding latents to bfloat16 moves those near a border to the other side; the borders themselves
# are computed in float32, whatever the latents' dtype.
MOST_CHANGED = 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_latents_keep_their_tokens(kind):
  quantizer, variables = settled(kind)
  changed = total = 0
  for seed in range(6):
    z = latents(quantizer, seed)
    exact = quantizer.apply(variables, z, train=False)
    rough = quantizer.apply(variables, z.astype(jnp.bfloat16), train=False)
    assert rough.z_q.dtype == jnp.bfloat16
    assert rough.loss.dtype == jnp.float32
    changed += int(jnp.sum(exact.tokens != rough.tokens))
    total += exact.tokens.size
  # Each further level of a residual quantizer has what the rounding left over: smaller latents.
  levels = quantizer.tokens_per_position
  assert changed <= MOST_CHANGED * levels * total


@pytest.mark.parametrize("kind", KINDS)
def test_a_collapse_shows_and_ends(kind):
  """All latents alike: one code. Then they spread, and so must the codes."""
  quantizer, variables = settled(kind)
  alike = jnp.broadcast_to(latents(quantizer)[:1, :1, :1], latents(quantizer).shape)
  for step in range(30):
    _, variables = train_step(quantizer, variables, alike, step)
  collapsed = quantizer.apply(variables, alike, train=False).tokens
  assert len(np.unique(collapsed)) <= quantizer.tokens_per_position
  spread = []
  for step in range(30):
    z = latents(quantizer, step)
    _, variables = train_step(quantizer, variables, z, step)
    spread.append(np.asarray(quantizer.apply(variables, z, train=False).tokens))
  counts = np.bincount(np.concatenate(spread[-8:], axis=None), minlength=quantizer.codebook_size)
  assert metrics.usage(counts) > 0.7


def test_eight_devices_agree_with_one():
  flags = "--xla_force_host_platform_device_count=8"
  environment = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)}
  command = [sys.executable, "-m", "tests.models.quantizers.kinds"]
  result = subprocess.run(
    command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
  )
  assert result.returncode == 0, result.stderr[-3000:]
  assert result.stdout.split() == list(KINDS)
