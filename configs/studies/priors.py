"""What helps a prior on few images: one tokenizer, one judge, one thing changed at a time.

    jaxt2i study configs/studies/priors.py:openmoji --out=runs/priors

Arguments after the colon, in any order, separated by commas:
  data   openmoji | shapes | prepared (--data=DIR: a folder made by `jaxt2i data prepare`)
  size   full | tiny (two steps, for tests)
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common, dual_encoder, prior, vqvae


def get_config(arg: str = "") -> ConfigDict:
  """The study for an argument such as "openmoji"."""
  chosen = common.parse(arg, data=("openmoji", "shapes", "prepared"), size=("full", "tiny"))
  words, tiny = f"{chosen['data']},{chosen['size']}", chosen["size"] == "tiny"
  config = ConfigDict()
  config.of = "prior"
  config.seeds = (0,) if tiny else (0, 1, 2)
  config.minutes = 0.0
  config.tokenizer = vqvae.get_config(words)
  config.prior = prior.get_config(words)
  config.judge = dual_encoder.get_config(words)
  if not tiny:
    config.tokenizer.loop.update(num_steps=1200, eval_every=600, checkpoint_every=600)
    config.judge.loop.update(num_steps=600, eval_every=100, checkpoint_every=100)
    config.prior.loop.update(num_steps=800, eval_every=100, checkpoint_every=100)
    config.prior.loop.update(watch="val/nll", patience=2)
  config.variants = _variants(words, config.prior)
  return config


def _variants(words: str, base: ConfigDict) -> dict[str, ConfigDict]:
  """Sections that replace those of the prior, by name."""

  def changed(**sections: dict[str, Any]) -> ConfigDict:
    return ConfigDict(
      {name: {**base[name].to_dict(), **changes} for name, changes in sections.items()}
    )

  def read(text: str) -> ConfigDict:
    other = prior.get_config(f"{text},{words}")
    return ConfigDict(dict(text=other.text, model=other.model))

  rate = base.optimizer.learning_rate
  masked = prior.get_config(f"masked,{words}")
  return {
    "base": ConfigDict(),
    "train-on": changed(loop=dict(watch="", patience=0)),
    "one-caption": ConfigDict(dict(captions=1)),
    "no-condition-dropout": changed(loss=dict(condition_dropout=0.0)),
    "no-token-dropout": changed(loss=dict(token_dropout=0.0)),
    "half-token-dropout": changed(loss=dict(token_dropout=0.5)),
    "token-replacement": changed(loss=dict(token_replacement=0.1)),
    "label-smoothing": changed(loss=dict(label_smoothing=0.1)),
    "dropout": changed(model=dict(dropout=0.1)),
    "no-ema": ConfigDict(dict(ema_decay=0.0)),
    "flips": changed(augment=dict(flip=True)),
    "crops": ConfigDict({**changed(augment=dict(crop=4)), "views": 10}),
    "rotary": changed(model=dict(positions="rotary")),
    "prefix": changed(model=dict(conditioning="prefix")),
    "qk-norm": changed(model=dict(qk_norm=True)),
    "swiglu": changed(model=dict(gated_mlp=True)),
    "adamw": changed(optimizer=dict(kind="adamw", learning_rate=rate / 2)),
    "half-learning-rate": changed(optimizer=dict(learning_rate=rate / 2)),
    "any-order": changed(model=dict(any_order=True), loss=dict(random_order_steps=300)),
    "masked": ConfigDict(dict(model=masked.model, loss=masked.loss)),
    "gru": read("gru"),
    "minilm": read("minilm"),
  }
