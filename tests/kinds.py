"""A tiny task of every kind, with a batch: what has to hold for all models is tested on these."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp

from jaxt2i.models.autoencoders import (
  ConvDecoder,
  ConvEncoder,
  ViTDecoder,
  ViTEncoder,
  VQGANDecoder,
  VQGANEncoder,
)
from jaxt2i.models.autoregressive import AutoregressivePrior
from jaxt2i.models.dual_encoder import DualEncoder
from jaxt2i.models.masked import MaskedPrior
from jaxt2i.models.text import FeatureEncoder, RecurrentTextEncoder, TextEncoder
from jaxt2i.models.vqvae import VQVAE
from jaxt2i.tasks.dual_encoder import DualEncoderTask
from jaxt2i.tasks.prior import AutoregressiveTask, MaskedTask
from jaxt2i.tasks.tokenizer import TokenizerTask
from tests.arrays import integers, normal, random_params
from tests.models.quantizers.kinds import KINDS as QUANTIZERS
from tests.priors import small

BATCH, VOCAB, CODES = 4, 11, 24
NETWORKS = {
  "conv": (ConvEncoder, ConvDecoder, dict(channels=(8, 8), blocks=1, stem=2)),
  "vqgan": (VQGANEncoder, VQGANDecoder, dict(channels=(8, 8, 8), blocks=1)),
  "vit": (ViTEncoder, ViTDecoder, dict(patch=4, width=8, layers=1, heads=2)),
}
TEXT_ENCODERS = {
  "transformer": TextEncoder(VOCAB, 32, 1, 2),
  "gru": RecurrentTextEncoder(VOCAB, 32, 1, "gru", 8),
  "lstm": RecurrentTextEncoder(VOCAB, 32, 1, "lstm", 32),
  "features": FeatureEncoder(32, 1, 2),
}
IMAGES = integers(0, 0, 256, BATCH, 16, 16, 3).astype(jnp.uint8)
TOKENS = integers(1, 0, CODES, BATCH, 2, 4)
IDS = integers(2, 1, VOCAB, BATCH, 5).at[0, 3:].set(0)
FEATURES = normal(3, BATCH, 5, 7).at[0, 3:].set(0)


def tokenizer(network: str, quantizer: str) -> tuple[Any, Any]:
  """A tokenizer's task and batch."""
  encoder, decoder, sizes = NETWORKS[network]
  model = VQVAE(encoder(**sizes), QUANTIZERS[quantizer], decoder(**sizes))
  return TokenizerTask(model, 0.1, 0.0), {"image": IMAGES}


def prior(kind: str, text: str = "transformer", **changes: Any) -> tuple[Any, Any]:
  """A prior's task and batch; an autoregressive one has two tokens a position."""
  losses = dict(condition_dropout=0.1, label_smoothing=0.1)
  changes = dict(width=32, dropout=0.1) | changes
  batch = {"tokens": TOKENS, "text": FEATURES if text == "features" else IDS}
  if kind == "masked":
    model = small(MaskedPrior, CODES, (2, 4), VOCAB, **changes)
    return MaskedTask(model.copy(text_encoder=TEXT_ENCODERS[text]), **losses), batch
  model = small(AutoregressivePrior, CODES, (2, 4), VOCAB, depth=2, any_order=True, **changes)
  spoilt = dict(token_dropout=0.5, token_replacement=0.1, random_order_steps=10)
  return AutoregressiveTask(model.copy(text_encoder=TEXT_ENCODERS[text]), **spoilt, **losses), batch


def dual_encoder(text: str) -> tuple[Any, Any]:
  """A dual encoder's task and batch."""
  model = DualEncoder(NETWORKS["conv"][0](**NETWORKS["conv"][2]), TEXT_ENCODERS[text], 12)
  return DualEncoderTask(model), {"image": IMAGES, "text": FEATURES if text == "features" else IDS}


def _priors() -> dict[str, Any]:
  options = itertools.product(
    ("autoregressive", "masked"),
    ("learned", "rotary"),
    ("cross", "prefix"),
    (False, True),
    (False, True),
  )
  return {
    "-".join([kind, place, way, *["qk_norm"] * normed, *["gated_mlp"] * gated]): functools.partial(
      prior, kind, positions=place, conditioning=way, qk_norm=normed, gated_mlp=gated
    )
    for kind, place, way, normed, gated in options
  }


TOKENIZERS = {
  f"{network}-{quantizer}": functools.partial(tokenizer, network, quantizer)
  for network, quantizer in itertools.product(NETWORKS, QUANTIZERS)
}
PRIORS = _priors()
OTHERS = {
  f"{kind}-{text}": functools.partial(prior, kind, text)
  for kind, text in itertools.product(("autoregressive", "masked"), ("gru", "lstm", "features"))
} | {f"dual-{text}": functools.partial(dual_encoder, text) for text in TEXT_ENCODERS}
ALL = TOKENIZERS | PRIORS | OTHERS


def random_variables(task: Any, batch: Any) -> tuple[Any, Any]:
  """Random parameters, and the other collections as they are before the first step."""
  shapes = dict(jax.eval_shape(task.init, jax.random.key(0), batch))
  del shapes["params"]
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  return random_params(task, batch), zeros
