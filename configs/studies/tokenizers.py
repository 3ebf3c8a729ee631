"""Which quantizer, how many codes, how many tokens: all at one budget, several seeds.

    jaxt2i study configs/studies/tokenizers.py --out=runs/study

Each run trains a tokenizer, measures its reconstructions of the validation split, then trains a
small prior on its tokens: better reconstructions can be harder to model. Three seeds of all
variants are 30 runs, hours on a CPU; a study goes on where it was stopped.

Arguments after the colon, in any order, separated by commas:
  data   openmoji | shapes | prepared (--data=DIR: a folder made by `jaxt2i data prepare`)
  sweep  quantizers (about 1,000 codes, 64 tokens) | sizes (FSQ of 64 to 4,096 codes, 16 to 256
         tokens)
  size   full | tiny (two steps, for tests)
"""

from ml_collections import ConfigDict

from configs import common, prior, vqvae


def get_config(arg: str = "") -> ConfigDict:
  """The study for an argument such as "openmoji,sizes"."""
  chosen = common.parse(
    arg,
    data=("openmoji", "shapes", "prepared"),
    sweep=("quantizers", "sizes"),
    size=("full", "tiny"),
  )
  words, tiny = f"{chosen['data']},{chosen['size']}", chosen["size"] == "tiny"
  config = ConfigDict()
  config.seeds = (0,) if tiny else (0, 1, 2)
  config.minutes = 0.0  # of training the tokenizer; 0: as many steps as its config says
  config.tokenizer = vqvae.get_config(words)
  config.prior = prior.get_config(words)
  if not tiny:
    config.tokenizer.loop.update(num_steps=1200, eval_every=600, checkpoint_every=600)
    config.prior.loop.update(num_steps=600, eval_every=100, checkpoint_every=600)
    # Small and the same for all.
    config.prior.model.update(width=128, layers=4, heads=4)
    config.prior.model.text.layers = 1
  make = _sizes if chosen["sweep"] == "sizes" else _quantizers
  config.variants = make(chosen["size"])
  return config


def _quantizers(size: str) -> dict[str, ConfigDict]:
  """Every kind with about 1,000 codes and 64 tokens."""
  kinds = {
    "fsq": vqvae.quantizer("fsq"),
    "ema": vqvae.lookup("ema", codebook_size=1024),
    "ema-cosine": vqvae.lookup("ema", codebook_size=1024, code_dim=8, cosine=True),
    "vq": vqvae.lookup("vq"),
    "vq-rotate": vqvae.lookup("vq", rotate=True),
    "vq-cosine": vqvae.quantizer("cosine"),
    "gumbel": vqvae.quantizer("gumbel"),
    "lfq": vqvae.quantizer("lfq"),
    "bsq": vqvae.quantizer("bsq"),
    "residual": vqvae.quantizer("residual"),
  }
  return {name: _variant(section, 8, size) for name, section in kinds.items()}


def _sizes(size: str) -> dict[str, ConfigDict]:
  """FSQ: codebook size by tokens."""
  codebooks = {64: (8, 8), 256: (8, 6, 5), 1000: (8, 5, 5, 5), 4096: (7, 5, 5, 5, 5)}
  return {
    f"fsq-{codes}x{(64 // factor) ** 2}": _variant(
      ConfigDict(dict(name="fsq", levels=levels)), factor, size
    )
    for codes, levels in codebooks.items()
    for factor in (4, 8, 16)
  }


def _variant(quantizer: ConfigDict, factor: int, size: str) -> ConfigDict:
  network = vqvae.network("conv", f"f{factor}", size)
  return ConfigDict(dict(model=dict(network=network, quantizer=quantizer)))
