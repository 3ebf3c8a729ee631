"""Image tokenizer: 64×64 images to 8×8 tokens and back.

    python -m jaxt2i.main --config=configs/vqvae.py:fsq --workdir=runs/vqvae

Arguments after the colon, in any order, separated by commas:
  quantizer  fsq (1,000 codes) | ema (512 codes)
  network    conv | vit
  data       openmoji | shapes | prepared
  size       full | tiny (two steps, for tests)
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = "") -> ConfigDict:
  """The config for an argument such as "ema,shapes"."""
  chosen = common.parse(
    arg,
    quantizer=("fsq", "ema"),
    network=("conv", "vit"),
    data=("openmoji", "shapes", "prepared"),
    size=("full", "tiny"),
  )
  config = common.common(chosen["size"])
  config.task = "tokenizer"
  config.data = common.data(chosen["data"], chosen["size"])
  # A perceptual loss makes sharper pictures of lower PSNR; it needs `pip install -e ".[features]"`.
  config.loss = dict(l1_weight=0.1, perceptual_weight=0.0)
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
  if name == "ema":
    return ConfigDict(
      dict(
        name=name,
        codebook_size=512,
        code_dim=16,
        commitment_weight=0.25,
        codebook_decay=0.99,
        revival_threshold=0.1,
      )
    )
  return ConfigDict(dict(name=name, levels=(8, 5, 5, 5)))
