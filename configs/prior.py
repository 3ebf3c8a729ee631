"""Text-conditioned prior over the tokens of a trained tokenizer.

    python -m jaxt2i.main --config=configs/prior.py --config.tokenizer=runs/vqvae \
        --workdir=runs/prior

Arguments after the colon, in any order, separated by commas:
  kind  autoregressive (a token after the other) | masked (many tokens at once, in any order)
  data  openmoji | shapes | prepared
  size  full | tiny (two steps, for tests)
"""

from ml_collections import ConfigDict

from configs import common

PROMPTS = {
  "openmoji": ("red heart", "rocket", "penguin", "red apple", "cactus", "guitar", "fish", "house"),
  "shapes": (
    "large red star left of small blue heart",
    "small yellow circle above large green square",
    "large red heart left of small blue star",  # these pairs never occur in training
    "small green circle above large purple triangle",
  ),
  "prepared": ("",),
}


def get_config(arg: str = "") -> ConfigDict:
  """The config for an argument such as "shapes"."""
  chosen = common.parse(
    arg,
    kind=("autoregressive", "masked"),
    data=("openmoji", "shapes", "prepared"),
    size=("full", "tiny"),
  )
  tiny = chosen["size"] == "tiny"
  config = common.common(chosen["size"])
  config.task = "prior"
  config.tokenizer = ""  # workdir of a trained tokenizer
  config.data = common.data(chosen["data"], chosen["size"])
  # kind: bpe (pieces of words), word, or byte, of which a caption has about five times as many:
  # --config.text.kind=byte --config.text.vocab_size=258 --config.text.max_length=96
  config.text = dict(kind="bpe", vocab_size=256 if tiny else 4096, max_length=16)
  config.prompts = PROMPTS[chosen["data"]]
  config.loss = dict(condition_dropout=0.1, label_smoothing=0.0)
  if chosen["kind"] == "autoregressive":
    config.loss.update(token_dropout=0.5, random_order_steps=0)
  config.optimizer.learning_rate = 1e-3
  config.model = dict(
    name=chosen["kind"],
    width=192,
    layers=6,
    heads=6,
    text_layers=2,
    dropout=0.0,
    positions="learned",  # or rotary
    conditioning="cross",  # or prefix
  )
  if chosen["kind"] == "autoregressive":
    # Random orders first, raster order in the end: with --config.loss.random_order_steps=1000.
    config.model.any_order = False
  if chosen["data"] == "shapes":  # a small world: a small prior sees twice as many scenes
    config.model.update(width=128, layers=4, heads=4)
    config.optimizer.learning_rate = 3e-3
  if tiny:
    config.batch_size = 4
    config.model.update(width=32, layers=2, heads=2, text_layers=1)
  return config
