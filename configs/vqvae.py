"""Image tokenizer: 64×64 images to 8×8 tokens and back, or other sizes.

    python -m jaxt2i.main --config=configs/vqvae.py:fsq --workdir=runs/vqvae

Arguments after the colon, in any order, separated by commas:
  quantizer  fsq (1,000 codes) | ema (512 codes) | vq | cosine | gumbel | lfq | bsq (1,024 codes
             each) | residual (two codes of 256 a position)
  network    conv | vqgan (several times as slow on a CPU) | vit
  downsample f8 | f4 | f16, pixels a side of a token; --config.data.image_size=256 for large images
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
    network=("conv", "vqgan", "vit"),
    downsample=("f8", "f4", "f16"),
    data=("openmoji", "shapes", "prepared"),
    size=("full", "tiny"),
  )
  config = common.common(chosen["size"])
  config.task = "tokenizer"
  config.data = common.data(chosen["data"], chosen["size"])
  # A perceptual loss makes sharper pictures of lower PSNR; it needs `pip install -e ".[features]"`.
  config.loss = dict(l1_weight=0.1, perceptual_weight=0.0)
  config.adversarial = adversarial(chosen["size"])
  # Half of AdamW's steps give the same reconstructions; on a CPU a step takes little longer.
  config.optimizer.kind = "muon"
  config.model = dict(
    network=network(chosen["network"], chosen["downsample"], chosen["size"]),
    quantizer=quantizer(chosen["quantizer"]),
  )
  # What `jaxt2i analyze latents` holds the result against, property by property: training knows
  # nothing of it. "" or 0: not wanted; see jaxt2i/analysis/latent_goals.py.
  config.latent_goals = dict(
    complete="under",  # fewer bits than the image without loss
    distribution="",  # uniform | geometric | zipf: the law that fits the codes best
    usage=0.9,  # at least: share of the codes that occur
    gini=0.6,  # at most: inequality of their use
    smooth=0.3,  # at least: rank correlation of code distance and change of the picture
    organised=0.5,  # at least: of what chance leaves, what linear probes get right
    sampleable=0.5,  # at least: from independent tokens (0) to the images' own (1)
  )
  return config


def adversarial(size: str) -> ConfigDict:
  """A discriminator beside the reconstruction loss: --config.adversarial.weight=0.5, say.

  It sharpens what a mean error leaves blurred, and costs PSNR. The tokenizer learns alone first;
  before `start_step` the discriminator learns alone for `discriminator_warmup` steps, for an
  untrained one only misleads.
  """
  tiny = size == "tiny"
  return ConfigDict(
    dict(
      weight=0.0,  # 0: there is no discriminator
      start_step=0 if tiny else 500,
      discriminator_warmup=0 if tiny else 100,
      max_adaptive_weight=1.0,
      lecam_weight=0.01,
      lecam_decay=0.99,
      # Patches of 34 pixels with 2 layers, of 16 with 1; no smaller images.
      discriminator=dict(width=8 if tiny else 32, layers=2),
      augment=dict(color=1.0, translation=0.125, cutout=0.5),
      optimizer=dict(
        kind="adamw",
        learning_rate=5e-4,
        warmup_steps=50,
        final_share=0.02,
        b1=0.5,
        b2=0.9,
        weight_decay=0.0,
        clip_norm=1.0,
      ),
    )
  )


# The hybrid begins at a quarter of the resolution, VQGAN at the full one.
CONVOLUTIONAL = {
  "conv": {
    "f4": dict(channels=(128,), blocks=2, stem=4),
    "f8": dict(channels=(32, 128), blocks=2, stem=4),
    "f16": dict(channels=(32, 128, 256), blocks=1, stem=4),
  },
  "vqgan": {
    "f4": dict(channels=(32, 64, 128), blocks=1),
    "f8": dict(channels=(32, 64, 128, 256), blocks=1),
    "f16": dict(channels=(32, 64, 128, 256, 256), blocks=1),
  },
}


def network(name: str, downsample: str, size: str) -> ConfigDict:
  """Encoder and, mirrored, decoder."""
  tiny = size == "tiny"
  if name == "vit":
    width, layers = (32, 1) if tiny else (256, 4)
    patch = int(downsample.removeprefix("f"))
    return ConfigDict(dict(name=name, patch=patch, width=width, layers=layers, heads=width // 32))
  config = ConfigDict(dict(name=name, **CONVOLUTIONAL[name][downsample]))
  if tiny:
    config.update(channels=(8, 16, 16, 16, 16)[: len(config.channels)], blocks=1)
  return config


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
    weight = 0.03 if name == "lfq" else 0.02  # with 0.02 LFQ leaves a seventh of its codes unused
    options = dict(name=name, codebook_size=1024, entropy_weight=weight, entropy_temperature=1.0)
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
      revival_threshold=0.5,
      cosine=False,
      rotate=False,
      kmeans_iterations=0,
      entropy_weight=0.0,
      entropy_temperature=1.0,
    )
  )
  section.update(options)
  return section
