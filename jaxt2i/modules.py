"""Config sections to modules. Sections hold data only, so a run's config can be read back."""

import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from jaxt2i import config as config_lib
from jaxt2i.errors import UsageError, suggest
from jaxt2i.models.autoencoders import (
  ConvDecoder,
  ConvEncoder,
  ViTDecoder,
  ViTEncoder,
  VQGANDecoder,
  VQGANEncoder,
)
from jaxt2i.models.autoregressive import AutoregressivePrior
from jaxt2i.models.discriminator import Discriminator
from jaxt2i.models.dual_encoder import DualEncoder, PretrainedImageEncoder
from jaxt2i.models.masked import MaskedPrior
from jaxt2i.models.perceptual import LEAST_SIDE
from jaxt2i.models.prior import CONDITIONINGS, POSITIONS, Prior
from jaxt2i.models.quantizers import (
  BSQ,
  FSQ,
  LFQ,
  EMAQuantizer,
  GumbelQuantizer,
  Quantizer,
  ResidualQuantizer,
  VectorQuantizer,
)
from jaxt2i.models.text import FeatureEncoder, RecurrentTextEncoder, TextEncoder
from jaxt2i.models.vqvae import VQVAE

NETWORKS = {
  "conv": (ConvEncoder, ConvDecoder),
  "vqgan": (VQGANEncoder, VQGANDecoder),
  "vit": (ViTEncoder, ViTDecoder),
}
TEXT_ENCODERS = {
  "transformer": TextEncoder,
  "gru": RecurrentTextEncoder,
  "lstm": RecurrentTextEncoder,
  "features": FeatureEncoder,
}
PRIORS = {"autoregressive": AutoregressivePrior, "masked": MaskedPrior}
QUANTIZERS = {
  "fsq": FSQ,
  "ema": EMAQuantizer,
  "vq": VectorQuantizer,
  "gumbel": GumbelQuantizer,
  "lfq": LFQ,
  "bsq": BSQ,
  "residual": ResidualQuantizer,
}


def tokenizer(section: Mapping[str, Any], image_size: int) -> VQVAE:
  """The image tokenizer of `config.model`.

  Raises:
    UsageError: for options that cannot work, images that don't divide into a grid among them.
  """
  encoder, decoder = networks(_part(section, "network", "config.model"), image_size)
  return VQVAE(
    encoder=encoder,
    quantizer=quantizer(_part(section, "quantizer", "config.model"), "config.model.quantizer"),
    decoder=decoder,
  )


def networks(section: Mapping[str, Any], image_size: int) -> tuple[Any, Any]:
  """The encoder of `config.model.network`, and the decoder that mirrors it.

  Raises:
    UsageError: for options that cannot work, images that don't divide into a grid among them.
  """
  encoder_class, decoder_class = _named(NETWORKS, section, "config.model.network")
  options = _without_name(section)
  encoder = config_lib.build(encoder_class, options, "config.model.network")
  for key in options:
    _require_positive(getattr(encoder, key), f"config.model.network.{key}")
  if isinstance(encoder, ViTEncoder) and encoder.width % encoder.heads:
    raise UsageError(
      f"config.model.network.heads is {encoder.heads}: must divide its width ({encoder.width})."
    )
  if image_size % encoder.downsample:
    raise UsageError(
      f"config.data.image_size is {image_size}: must be a multiple of {encoder.downsample}, "
      "the pixels a side of a token."
    )
  return encoder, config_lib.build(decoder_class, options, "config.model.network")


def quantizer(section: Mapping[str, Any], where: str) -> Quantizer:
  """The quantizer of a section; that of each level of a residual one is its section `inner`.

  Raises:
    UsageError: for options that cannot work.
  """
  options, extra = _without_name(section), {}
  if "inner" in options:
    extra["inner"] = quantizer(_part(options, "inner", where), f"{where}.inner")
    del options["inner"]
  try:
    return config_lib.build(_named(QUANTIZERS, section, where), options, where, **extra)
  except UsageError as error:
    # Networks know what their options may be, not where a config has them.
    raise UsageError(re.sub(r"^quantizer\b", where, str(error))) from error


def grid(model: VQVAE, image_size: int) -> tuple[int, int]:
  """(h, w) of the tokens of a square image; several tokens a position lie beside each other."""
  side = image_size // model.encoder.downsample
  return side, side * model.quantizer.tokens_per_position


def discriminator(section: Mapping[str, Any], image_size: int) -> Discriminator:
  """The discriminator of `config.adversarial.discriminator`.

  Raises:
    UsageError: for options that cannot work, images smaller than one patch among them.
  """
  where = "config.adversarial.discriminator"
  built = config_lib.build(Discriminator, section, where)
  for name in ("width", "layers"):
    if getattr(built, name) < 1:
      raise UsageError(f"{where}.{name} is {getattr(built, name)}: must be at least 1.")
  if built.receptive_field > image_size:
    raise UsageError(
      f"{where}.layers is {built.layers}, which judges patches of {built.receptive_field} pixels "
      f"a side: must be fewer for images of {image_size} (1 layer needs 16, 2 need 34, 3 need 70)."
    )
  return built


def prior(
  section: Mapping[str, Any], model: VQVAE, image_size: int, vocab_size: int | None
) -> Prior:
  """The prior of `config.model` over the tokens of a tokenizer.

  Args:
    section: its options; `text` are those of its text encoder.
    model: the tokenizer.
    image_size: pixels a side.
    vocab_size: of a text tokenizer; None where captions come as features.

  Raises:
    UsageError: for options that cannot work.
  """
  kind = _named(PRIORS, section, "config.model")
  options = _without_name(section)
  shared = _width_and_heads(section)
  text = text_encoder(_part(section, "text", "config.model"), vocab_size, **shared)
  del options["text"]
  extra: dict[str, Any] = {
    "codebook_size": model.quantizer.codebook_size,
    "grid": grid(model, image_size),
    "text_encoder": text,
  }
  if kind is AutoregressivePrior:
    extra["depth"] = model.quantizer.tokens_per_position
  built: Prior = config_lib.build(kind, options, "config.model", **extra)
  for name, known in (("positions", POSITIONS), ("conditioning", CONDITIONINGS)):
    if getattr(built, name) not in known:
      raise UsageError(
        f"config.model.{name} is {getattr(built, name)!r}: must be {' or '.join(map(repr, known))}."
      )
  if built.positions == "rotary" and built.width // built.heads % 4:
    raise UsageError(
      f"config.model.heads is {built.heads}: width / heads ({built.width // built.heads}) must be "
      "a multiple of 4 with rotary positions."
    )
  return built


def text_encoder(
  section: Mapping[str, Any], vocab_size: int | None, *, width: int, heads: int
) -> nn.Module:
  """The text encoder of `config.model.text`.

  Args:
    section: its options.
    vocab_size: of a text tokenizer; None where captions come as features.
    width, heads: of what reads it; an encoder that has heads has as many.

  Raises:
    UsageError: for options that cannot work.
  """
  where = "config.model.text"
  kind = _named(TEXT_ENCODERS, section, where)
  if (kind is FeatureEncoder) != (vocab_size is None):
    known = [name for name, other in TEXT_ENCODERS.items() if other is not FeatureEncoder]
    fitting = ", ".join(map(repr, ["features"] if vocab_size is None else known))
    raise UsageError(
      f"{where}.name is {section['name']!r}: must be {fitting} for this config.text.kind."
    )
  extra: dict[str, Any] = {"width": width}
  extra |= {"cell": section["name"]} if kind is RecurrentTextEncoder else {"heads": heads}
  extra |= {} if vocab_size is None else {"vocab_size": vocab_size}
  built: Any = config_lib.build(kind, _without_name(section), where, **extra)
  least = 0 if kind is FeatureEncoder else 1
  if built.layers < least:
    raise UsageError(f"{where}.layers is {built.layers}: must be {least} or more.")
  if kind is RecurrentTextEncoder:
    _require_positive(built.embed_dim, f"{where}.embed_dim")
  return built


def dual_encoder(
  section: Mapping[str, Any], image_size: int, vocab_size: int | None
) -> DualEncoder:
  """The dual encoder of `config.model`.

  Raises:
    UsageError: for options that cannot work.
  """
  _require_known(section, ("network", "text", "width", "heads", "dim"), "config.model")
  dim = _part(section, "dim", "config.model", int)
  _require_positive(dim, "config.model.dim")
  options = _part(section, "text", "config.model")
  text = text_encoder(options, vocab_size, **_width_and_heads(section))
  if options["layers"] < 1:
    # Slot 0, which stands for the caption, reads it in the layers.
    raise UsageError("config.model.text.layers is 0: must be 1 or more for a dual encoder.")
  image_encoder = _image_encoder(_part(section, "network", "config.model"), image_size)
  return DualEncoder(image_encoder=image_encoder, text_encoder=text, dim=dim)


def _image_encoder(section: Mapping[str, Any], image_size: int) -> nn.Module:
  where = "config.model.network"
  if _named({**NETWORKS, "efficientnet": None}, section, where) is not None:
    return networks(section, image_size)[0]
  if image_size < LEAST_SIDE:
    raise UsageError(
      f"config.data.image_size is {image_size}: must be at least {LEAST_SIDE} for {where}.name "
      "'efficientnet'."
    )
  return config_lib.build(PretrainedImageEncoder, _without_name(section), where)


def _width_and_heads(section: Mapping[str, Any]) -> dict[str, int]:
  """Of `config.model`; UsageError unless they are positive and the one divides the other."""
  width, heads = (_part(section, name, "config.model", int) for name in ("width", "heads"))
  for name in ("width", "heads"):
    _require_positive(section[name], f"config.model.{name}")
  if width % heads:
    raise UsageError(f"config.model.heads is {heads}: must divide config.model.width ({width}).")
  return {"width": width, "heads": heads}


def _require_known(section: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
  for key in section:
    if key not in known:
      raise UsageError(f"{where}.{key} is not an option; {suggest(key, known)}")


def _part(section: Mapping[str, Any], key: str, where: str, kind: type = Mapping) -> Any:
  """An option that must be there, a section unless said otherwise; UsageError if it is not."""
  if key not in section:
    raise UsageError(f"{where} lacks {key}.")
  value = section[key]
  if not isinstance(value, kind) or isinstance(value, bool):
    expected = "a section with options of its own" if kind is Mapping else kind.__name__
    raise UsageError(f"{where}.{key} is {value!r}: must be {expected}.")
  return value


def _named(table: Mapping[str, Any], section: Mapping[str, Any], where: str) -> Any:
  name = section.get("name", "")
  if not isinstance(name, str) or name not in table:
    raise UsageError(f"{where}.name is {name!r}: must be one of {', '.join(map(repr, table))}.")
  return table[name]


def _require_positive(value: int | tuple[int, ...], where: str) -> None:
  numbers = (value,) if isinstance(value, int) else value
  if not numbers or min(numbers) < 1:
    raise UsageError(
      f"{where} is {value!r}: {'must be 1 or more' if numbers else 'must not be empty'}."
    )


def _without_name(section: Mapping[str, Any]) -> dict[str, Any]:
  return {key: value for key, value in section.items() if key != "name"}
