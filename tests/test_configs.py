"""Every config with every combination of its arguments: options, shapes, and two real steps."""

import itertools
import math
import re
from collections.abc import Sequence

import jax
import numpy as np
import pytest

import jaxt2i
from configs import common
from jaxt2i import config as config_lib
from jaxt2i import data, experiment, modules, optim
from jaxt2i.data.records import Record
from jaxt2i.errors import UsageError, UserError
from jaxt2i.metrics import Mean
from jaxt2i.models.vqvae import to_float
from jaxt2i.sharding import make_mesh
from jaxt2i.state import TrainState
from jaxt2i.step import make_train_step
from jaxt2i.train import LoopOptions
from tests.runs import config, config_of, metrics_of, train

SIZES = ("full", "tiny")
# Codes by quantizer. Networks and quantizers do not know of each other: not every pair is tried.
CODES = {
  **{"fsq": 1000, "ema": 512, "vq": 1024, "cosine": 1024, "gumbel": 1024},
  **{"lfq": 1024, "bsq": 1024, "residual": 256},
}
NETWORKS = ("conv", "vqgan", "vit")
TOKENIZERS = [
  f"vqvae:{','.join(words)}"
  for words in (
    *itertools.product(("fsq", "ema"), NETWORKS, SIZES),
    *itertools.product(list(CODES)[2:], ("conv",), SIZES),
  )
]
PRIORS = [
  f"prior:{','.join(words)}"
  for words in (
    *itertools.product(("openmoji", "shapes"), SIZES),
    *itertools.product(("masked",), ("shapes",), SIZES),
  )
]
DUAL_ENCODERS = [
  f"dual_encoder:shapes,{image},{size}" for image in ("conv", "efficientnet") for size in SIZES
]


class Noise(Sequence):
  """A source of six random pictures, whatever the config asks for."""

  fingerprint = "0" * 64
  attribution = "nobody"
  protocol, note = "image", ""

  def __init__(self, image_size: int):
    self._image_size = image_size

  def __len__(self) -> int:
    return 6

  def __getitem__(self, index: int) -> Record:
    shape = (self._image_size, self._image_size, 3)
    image = np.random.default_rng(index).integers(0, 256, shape).astype(np.uint8)
    return Record(str(index), image, (f"picture number {index}", "some noise"), {})


@pytest.fixture
def noise(monkeypatch, tokenizer_run):  # which must not be made of noise
  """Gives every data set for no work, after a check of its options."""

  def load(split: str, *, name: str, **options):
    assert split in ("train", "val")
    if name != data.PREPARED:  # whose path is the user's
      data.make(name, **options)
    return Noise(options["image_size"])

  monkeypatch.setattr(data, "load", load)


def resolved(name: str, tokenizer_run) -> dict:
  return config(name, tokenizer=str(tokenizer_run)) if name.startswith("prior") else config(name)


def shapes_of(tree):
  return jax.tree.map(lambda x: (x.shape, np.dtype(x.dtype).name), tree)


# --- shapes: every combination ---


@pytest.mark.usefixtures("noise")
@pytest.mark.parametrize("name", TOKENIZERS + PRIORS + DUAL_ENCODERS)
def test_step_keeps_the_shapes_of_the_state(name, request):
  # Nothing is computed: shapes alone go through loss, gradient, optimiser and EMA.
  tokenizer_run = request.getfixturevalue("tokenizer_run") if name in PRIORS else None
  chosen = resolved(name, tokenizer_run)
  loop = config_lib.build(LoopOptions, chosen["loop"], "config.loop")
  optimizer = config_lib.build(optim.Optimizer, chosen["optimizer"], "config.optimizer").build(
    loop.num_steps
  )
  what = experiment.make(chosen)
  create = lambda: TrainState.create(what.init(jax.random.key(0)), optimizer)
  state = jax.eval_shape(create)
  size = chosen["batch_size"]
  batch = {
    key: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype) for key, x in what.example().items()
  } | {"weight": jax.ShapeDtypeStruct((size,), np.float32)}
  step = make_train_step(
    what.task, optimizer, ema_decay=chosen["ema_decay"], seed=chosen["seed"], mesh=make_mesh(size)
  )
  after, metrics = jax.eval_shape(step, state, batch)
  assert shapes_of(after) == shapes_of(state)
  means = [metric for metric in metrics.values() if isinstance(metric, Mean)]
  assert all(mean.total.shape == () and mean.weight.shape == () for mean in means)
  # Besides: the norms of the gradients' parts; of tokenizers also the counts of codes.
  assert len(means) == len(metrics) - 1 - (name in TOKENIZERS)
  assert {"loss", "gradient_norm"} <= metrics.keys()
  numbers = sum(math.prod(x.shape) for x in jax.tree.leaves(state.params))
  if "tiny" in name:
    assert numbers < 200_000
  else:
    assert 500_000 < numbers < 10_000_000
  if name in TOKENIZERS:
    grid = jax.eval_shape(
      lambda variables, image: what.task.model.apply(variables, image, method="encode"),
      state.ema_variables,
      batch["image"],
    )
    quantizer = what.task.model.quantizer
    # 64 positions for 64 × 64 pixels
    assert grid.shape == (size, 8, 8 * (2 if "residual" in name else 1))
    (codes,) = [codes for word, codes in CODES.items() if word in re.split("[:,]", name)]
    assert quantizer.codebook_size == codes


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("image_size", [64, 256])
@pytest.mark.parametrize("factor", [4, 8, 16])
@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_gives_every_grid(network, factor, image_size, size):
  chosen = config(f"vqvae:{network},f{factor},{size}")
  model = modules.tokenizer(chosen["model"], image_size)
  image = jax.ShapeDtypeStruct((2, image_size, image_size, 3), np.uint8)

  def there_and_back(image):
    variables = model.init(jax.random.key(0), to_float(image), train=False)
    tokens = model.apply(variables, image, method="encode")
    return variables["params"], tokens, model.apply(variables, tokens, method="decode")

  params, tokens, back = jax.eval_shape(there_and_back, image)
  side = image_size // factor
  assert modules.grid(model, image_size) == (side, side)
  assert (tokens.shape, tokens.dtype) == ((2, side, side), np.int32)
  assert (back.shape, back.dtype) == (image.shape, np.uint8)
  if image_size == 64:  # a ViT has positions besides, as many as there are tokens
    numbers = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    assert numbers < 200_000 if size == "tiny" else 500_000 < numbers < 10_000_000


@pytest.mark.usefixtures("noise")
@pytest.mark.parametrize("name", [*TOKENIZERS, "prior:tiny"])
def test_other_data_is_learnt_by_the_same_model(name, request):
  tokenizer_run = request.getfixturevalue("tokenizer_run") if name.startswith("prior") else None
  drawings, shapes, own = (
    experiment.make(resolved(f"{name},{data}", tokenizer_run))
    for data in ("openmoji", "shapes", "prepared")
  )
  assert drawings.task.model == shapes.task.model == own.task.model
  assert shapes_of(drawings.example()) == shapes_of(shapes.example()) == shapes_of(own.example())
  assert drawings.config["data"]["name"] == "openmoji"


@pytest.mark.parametrize("name", TOKENIZERS + PRIORS + DUAL_ENCODERS)
def test_config_is_data_and_survives_json(name, tmp_path):
  chosen = config(name)
  config_lib.save(tmp_path, chosen)
  config_lib.save(tmp_path, chosen)  # tuples have become lists: still the same config
  kind = name.partition(":")[0]
  assert config_of(tmp_path)["task"] == {"vqvae": "tokenizer"}.get(kind, kind)


@pytest.mark.parametrize(
  ("name", "words"),
  [
    ("vqvae", "fsq,conv,f8,openmoji,full"),
    ("prior", "autoregressive,transformer,openmoji,full"),
    ("dual_encoder", "conv,transformer,openmoji,full"),
  ],
)
def test_defaults_are_the_first_words(name, words):
  assert config(name) == config(f"{name}:{words}")
  assert config(name) == config(f"{name}:{','.join(reversed(words.split(',')))}")
  assert config(f"{name}:tiny") == config(f"{name}:tiny,openmoji")


# --- two real steps ---


def check_two_steps(workdir) -> None:
  lines = metrics_of(workdir)
  assert [line["step"] for line in lines if "loss" in line] == [1, 2]
  losses = [line["loss"] for line in lines if "loss" in line]
  assert all(math.isfinite(loss) for loss in losses)
  assert losses[0] != losses[1]
  assert (workdir / "checkpoints" / "2" / "manifest.sha256").exists()
  saved = config_of(workdir)
  assert len(saved["data_fingerprint"]) == 64


def test_two_steps_tokenizer_ema(tokenizer_run):
  check_two_steps(tokenizer_run)
  (line,) = [line for line in metrics_of(tokenizer_run) if "val/psnr" in line]
  assert line["step"] == 2
  assert 0 < line["val/psnr"] < 30
  assert -1 <= line["val/ssim"] <= 1
  assert 1 / 512 <= line["val/codebook_usage"] <= 1
  assert 1 <= line["val/perplexity"] <= 512 * line["val/codebook_usage"] + 1e-6


@pytest.mark.parametrize("quantizer", ["cosine", "gumbel", "residual"])
def test_two_steps_of_what_moves_a_codebook_or_has_many_tokens(quantizer, tmp_path):
  workdir = train(tmp_path / "tokenizer", f"vqvae:{quantizer},shapes,tiny")
  check_two_steps(workdir)
  if quantizer == "residual":
    prior = train(tmp_path / "prior", "prior:shapes,tiny", tokenizer=str(workdir))
    check_two_steps(prior)
    images = jaxt2i.load(prior)(("large red star",), n=2, seed=0).images
    assert images.shape == (1, 2, 64, 64, 3)


def test_two_steps_prior(prior_run):
  check_two_steps(prior_run)
  (line,) = [line for line in metrics_of(prior_run) if "val/nll" in line]
  # It has hardly learnt: about as good as any code for any token.
  assert abs(line["val/nll"] - math.log(512)) < 2
  assert abs(line["train/nll"] - math.log(512)) < 2
  assert [path.name for path in (prior_run / "samples").iterdir()] == ["0000002.png"]
  saved = config_of(prior_run)
  assert saved["tokenizer_model"]["quantizer"]["name"] == "ema"


@pytest.mark.parametrize("network", NETWORKS)
def test_two_steps_tokenizer_fsq(network, tmp_path):
  check_two_steps(train(tmp_path, f"vqvae:fsq,{network},shapes,tiny"))


def test_two_steps_openmoji(tmp_path):
  # The drawings are rendered here, so few languages and the small subset.
  changes = {"data.languages": ("en",), "data.subset": "concepts", "data.image_size": 32}
  check_two_steps(train(tmp_path, "vqvae:ema,vit,openmoji,tiny", **changes))
  assert "OpenMoji" in config_of(tmp_path)["attribution"]


# --- mistakes ---


@pytest.mark.parametrize(
  ("arg", "message"),
  [
    ("fsqq", "'fsqq' is not an argument of this config; did you mean 'fsq'?"),
    ("shape", "'shape' is not an argument of this config; did you mean 'shapes'?"),
    ("fsq,ema", "'fsq' and 'ema' are both given: choose one quantizer."),
    ("tiny,tiny", "'tiny' and 'tiny' are both given: choose one size."),
    ("zzz", "'zzz' is not an argument of this config; choose one of bsq, conv, cosine,"),
  ],
)
def test_unknown_arguments_are_named(arg, message):
  with pytest.raises(UsageError) as error:
    config(f"vqvae:{arg}")
  assert message in str(error.value)


def test_empty_words_are_no_words():
  assert common.parse("", size=("full", "tiny")) == {"size": "full"}
  assert common.parse(",tiny,", size=("full", "tiny")) == {"size": "tiny"}


@pytest.mark.usefixtures("noise")
@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"task": "tokeniser"}, "config.task is 'tokeniser': must be one of 'tokenizer', 'prior',"),
    ({"data.image_size": 60}, "config.data.image_size is 60: must be a multiple of 8"),
    ({"model.network.name": "unet"}, "config.model.network.name is 'unet': must be one of 'conv'"),
    ({"model.network.channels": ()}, "config.model.network.channels is (): must not be empty."),
    ({"model.network.channels": (8, 0)}, "network.channels is (8, 0): must be 1 or more."),
    ({"model.network.blocks": 0}, "config.model.network.blocks is 0: must be 1 or more."),
    ({"model.network.stem": 0}, "config.model.network.stem is 0: must be 1 or more."),
    ({"model.network.channels": (8,) * 4, "data.image_size": 48}, "48: must be a multiple of 32"),
    ({"model.quantizer.levels": (1, 5)}, "config.model.quantizer.levels is (1, 5): must be one"),
    (
      {"model.quantizer": {"name": "residual", "depth": 2}},
      "config.model.quantizer lacks inner.",
    ),
    (
      {
        "model.quantizer": {
          "name": "residual",
          "depth": 2,
          "inner": {"name": "fsq", "levels": (5,)},
        }
      },
      "config.model.quantizer.inner of a residual quantizer must be 'vq' or 'ema'",
    ),
    (
      {"model.quantizer": {"name": "bsq", "codebook_size": 1000}},
      "config.model.quantizer lacks entropy_weight, entropy_temperature.",
    ),
    ({"model.quantizer.name": "vqs"}, "config.model.quantizer.name is 'vqs': must be one of 'fsq'"),
    ({"model.network.name": "vit"}, "config.model.network.blocks is not an option"),
    ({"model.network.blocks": 1.5}, "config.model.network.blocks is 1.5: must be int"),
    ({"model.network.channels": ("a",)}, "config.model.network.channels[0] is 'a': must be int"),
    ({"loss.l1_weight": "much"}, "config.loss.l1_weight is 'much': must be float"),
    ({"loss.perceptual_weight": -0.1}, "config.loss.perceptual_weight is -0.1: must be 0 (off) or"),
    (
      {"loss.perceptual_weight": 0.1, "data.image_size": 24},
      "config.data.image_size is 24: must be at least 32 for a perceptual loss",
    ),
  ],
)
def test_options_that_cannot_work_are_named(changes, message):
  chosen = config("vqvae:tiny")
  for path, value in changes.items():
    section = chosen
    *parents, last = path.split(".")
    for parent in parents:
      section = section[parent]
    section[last] = value
  with pytest.raises(UserError) as error:
    experiment.make(chosen)
  assert message in str(error.value)
  assert "\n" not in str(error.value)


@pytest.mark.usefixtures("noise")
def test_options_of_a_prior_that_cannot_work_are_named(tokenizer_run, prior_run):
  def complaint(**changes) -> str:
    with pytest.raises(UserError) as error:
      experiment.make(config("prior:shapes,tiny", **{"tokenizer": str(tokenizer_run)} | changes))
    return str(error.value)

  assert "config.tokenizer is empty: must be the workdir of" in complaint(tokenizer="")
  assert "holds no run" in complaint(tokenizer=str(tokenizer_run / "nowhere"))
  assert "is a prior of 64-pixel images" in complaint(tokenizer=str(prior_run))
  assert "tokenizer of 32-pixel images" in complaint(**{"data.image_size": 32})
  assert "config.model.heads is 3: must divide" in complaint(**{"model.heads": 3})
  assert "vocab_size 2" in complaint(**{"text.vocab_size": 2})
  masked = {"model.name": "masked"}
  assert "config.model.any_order is not an option" in complaint(**masked)
  assert "config.model.name is 'mask': must be one of" in complaint(**{"model.name": "mask"})
  assert "config.model.positions is 'x': must be" in complaint(**{"model.positions": "x"})
  assert "config.model.conditioning is 'x': must" in complaint(**{"model.conditioning": "x"})
  odd = {"model.positions": "rotary", "model.width": 12}
  assert "must be a multiple of 4 with rotary" in complaint(**odd)
