"""What each part of a tokenizer's loss buys: all at one budget.

    jaxt2i study configs/studies/losses.py --out=runs/losses

Wants `pip install -e ".[features]"`, for the perceptual loss and for what is measured.

Arguments after the colon, in any order, separated by commas:
  data   openmoji | shapes | prepared (--data=DIR: a folder made by `jaxt2i data prepare`)
  size   full | tiny (two steps, for tests)
"""

from ml_collections import ConfigDict

from configs import common, vqvae


def get_config(arg: str = "") -> ConfigDict:
  """The study for an argument such as "openmoji"."""
  chosen = common.parse(arg, data=("openmoji", "shapes", "prepared"), size=("full", "tiny"))
  tiny = chosen["size"] == "tiny"
  config = ConfigDict()
  config.seeds = (0,) if tiny else (0, 1, 2)
  config.minutes = 0.0
  config.tokenizer = vqvae.get_config(f"{chosen['data']},{chosen['size']}")
  config.prior = None
  if not tiny:
    config.tokenizer.loop.update(num_steps=1200, eval_every=600, checkpoint_every=600)
  config.variants = {
    "mse": _variant(config, l1=0.0),
    "mse-l1": _variant(config),
    "perceptual-weak": _variant(config, perceptual=0.01),
    "perceptual": _variant(config, perceptual=0.03),
    "perceptual-strong": _variant(config, perceptual=0.1),
    "adversarial": _variant(config, adversarial=0.5),
    "perceptual-adversarial": _variant(config, perceptual=0.03, adversarial=0.5),
  }
  return config


def _variant(
  config: ConfigDict, *, l1: float = 0.1, perceptual: float = 0.0, adversarial: float = 0.0
) -> ConfigDict:
  """Sections `loss` and `adversarial` of these weights."""
  section = ConfigDict(config.tokenizer.adversarial.to_dict() | dict(weight=adversarial))
  loss = dict(l1_weight=l1, perceptual_weight=perceptual)
  return ConfigDict(dict(loss=loss, adversarial=section))
