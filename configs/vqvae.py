"""Image tokenizer: 64×64 images to 8×8 tokens and back.

    python -m jaxt2i.main --config=configs/vqvae.py:fsq --workdir=runs/vqvae

Arguments after the colon, in any order, separated by commas:
  quantizer  fsq (1,000 codes) | ema (512 codes) | vq | cosine | gumbel | lfq | bsq (1,024 codes
             each) | residual (two codes of 256 a position)
  network    conv | vit
  data       openmoji | shapes | prepared
  size       full | tiny (two steps, for tests)
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
  """The config for an argument such as "ema,shapes"."""
  chosen = common.parse(
    arg,
    quantizer=("fsq", "ema", "vq", "cosine", "gumbel", "lfq", "bsq", "residual"),
    network=("conv", "vit"),
    data=("openmoji", "shapes", "prepared"),
    size=("full", "tiny"),
  )
  config = common.common(chosen["size"])
  config.task = "tokenizer"
  config.data = common.data(chosen["data"], chosen["size"])
  config.loss = dict(l1_weight=0.1)
  config.model = dict(
    network=network(chosen["network"], chosen["size"]),
    quantizer=quantizer(chosen["quantizer"]),
  )
  return config


def network(name: str, size: str) -> ConfigDict:
  """Encoder and, mirrored, decoder."""
  tiny = size == "tiny"
  if name == "vit":
    width, layers = (32, 1) if tiny else (256, 4)
    return ConfigDict(dict(name=name, patch=8, width=width, layers=layers, heads=width // 32))
  channels, blocks = ((8, 16), 1) if tiny else ((64, 256), 1)
  return ConfigDict(dict(name=name, channels=channels, blocks=blocks, stem=4))


def quantizer(name: str) -> ConfigDict:
  """How latents become tokens."""
  if name == "fsq":
    return ConfigDict(dict(name=name, levels=(8, 5, 5, 5)))
  if name == "gumbel":
    return ConfigDict(
      dict(
        name=name,
        codebook_size=1024,
        code_dim=16,
        kl_weight=5e-4,
        temperature_start=1.0,
        temperature_end=0.1,
        anneal_steps=3000,
      )
    )
  if name in ("lfq", "bsq"):
    options = dict(name=name, codebook_size=1024, entropy_weight=0.02, entropy_temperature=1.0)
    return ConfigDict(options | (dict(commitment_weight=0.25) if name == "lfq" else {}))
  if name == "residual":
    return ConfigDict(dict(name=name, depth=2, inner=lookup("ema", codebook_size=256)))
  if name == "cosine":
    return lookup("vq", code_dim=8, cosine=True)
  return lookup(name)


def lookup(name: str, **options: Any) -> ConfigDict:
  """A codebook in which the nearest code is looked up."""
  section = ConfigDict(
    dict(
      name=name,
      codebook_size=512 if name == "ema" else 1024,
      code_dim=16,
      commitment_weight=0.25,
      codebook_decay=0.99,
      revival_threshold=0.1,
      cosine=False,
      rotate=False,
      kmeans_iterations=0,
      entropy_weight=0.0,
      entropy_temperature=1.0,
    )
  )
  section.update(options)
  return section
