"""Text-conditioned prior over the tokens of a trained tokenizer.

    python -m jaxt2i.main --config=configs/prior.py --config.tokenizer=runs/vqvae \
        --workdir=runs/prior

Arguments after the colon, in any order, separated by commas:
  kind  autoregressive (a token after the other) | masked (many tokens at once, in any order)
  text  transformer | gru | lstm (all learnt from scratch) | minilm (features of a frozen network,
        which a package brings: jaxt2i/pretrained_text.py) | file (features of your own)
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
    text=("transformer", "gru", "lstm", "minilm", "file"),
    data=("openmoji", "shapes", "prepared"),
    size=("full", "tiny"),
  )
  tiny = chosen["size"] == "tiny"
  config = common.common(chosen["size"])
  config.task = "prior"
  config.tokenizer = ""  # workdir of a trained tokenizer
  config.data = common.data(chosen["data"], chosen["size"])
  config.text = text(chosen["text"], chosen["size"])
  # Images are turned into tokens once: as they are and, with augment.crop or augment.jitter above
  # 0, in so many views altogether, such as 10.
  config.views = 1
  config.captions = 0  # of an image, the first ones, that are learnt from; 0: all
  # A file that `jaxt2i words train` or GloVe made, from which the embeddings of a text of kind
  # "word" start; a GRU or LSTM can have embeddings of its size: --config.model.text.embed_dim=100
  config.word_vectors = ""
  config.prompts = PROMPTS[chosen["data"]]
  # At each evaluation n pictures may be drawn for validation captions and looked at: by attributes
  # (of shapes), copies, generation. `jaxt2i evaluate` measures the same of a finished run.
  config.evaluation = dict(metrics=(), n=4 if tiny else 64, temperature=0.8)
  config.loss = dict(condition_dropout=0.1, label_smoothing=0.0)
  if chosen["kind"] == "autoregressive":
    config.loss.update(token_dropout=1.0, token_replacement=0.0, random_order_steps=0)
  # With Muon half of AdamW's steps are enough.
  config.optimizer.kind = "muon"
  config.model = dict(
    name=chosen["kind"],
    width=192,
    layers=6,
    heads=6,
    text=text_encoder(chosen["text"], chosen["size"]),
    dropout=0.0,
    positions="learned",  # or rotary
    conditioning="cross",  # or prefix
    qk_norm=False,
    gated_mlp=False,
    remat=False,  # True: a training step needs less memory, and takes longer
  )
  if chosen["kind"] == "autoregressive":
    # Random orders first, raster order in the end: with --config.loss.random_order_steps=1000.
    config.model.any_order = False
  if chosen["data"] == "shapes":  # a small world: a small prior sees twice as many scenes
    config.model.update(width=128, layers=4, heads=4)
    config.optimizer.learning_rate = 3e-3
  if tiny:
    config.batch_size = 4
    config.model.update(width=32, layers=2, heads=2)
  return config


def text(name: str, size: str) -> ConfigDict:
  """What captions become before a text encoder reads them."""
  if name == "minilm":
    return ConfigDict(dict(kind="minilm", max_length=24))
  if name == "file":  # see jaxt2i/feature_file.py: --config.text.path=features.npz
    return ConfigDict(dict(kind="file", path=""))
  # kind: bpe (pieces of words), word, label (the whole caption: a class), or byte, of which a
  # caption has about five times as many:
  # --config.text.kind=byte --config.text.vocab_size=258 --config.text.max_length=96
  kind = "bpe" if name == "transformer" else "word"
  return ConfigDict(dict(kind=kind, vocab_size=256 if size == "tiny" else 4096, max_length=16))


def text_encoder(name: str, size: str) -> ConfigDict:
  """What reads captions; of the prior's width and, where it has any, heads."""
  if name == "transformer":
    return ConfigDict(dict(name=name, layers=1 if size == "tiny" else 2))
  if name in ("gru", "lstm"):
    return ConfigDict(dict(name=name, layers=1, embed_dim=64))
  return ConfigDict(dict(name="features", layers=0))
