"""What the experiments share: the arguments after the colon, and the defaults of every run."""

from ml_collections import ConfigDict

from jaxt2i.errors import UsageError, suggest


def parse(arg: str, **choices: tuple[str, ...]) -> dict[str, str]:
  """Reads `fsq,shapes,tiny` as one word from each of the named choices; the first is the default.

  Raises:
    UsageError: for a word that no choice has, or two words from one.
  """
  chosen = {name: words[0] for name, words in choices.items()}
  given: dict[str, str] = {}
  for word in filter(None, arg.split(",")):
    name = next((name for name, words in choices.items() if word in words), None)
    if name is None:
      known = [w for words in choices.values() for w in words]
      raise UsageError(f"{word!r} is not an argument of this config; {suggest(word, known)}")
    if name in given:
      raise UsageError(f"{given[name]!r} and {word!r} are both given: choose one {name}.")
    chosen[name] = given[name] = word
  return chosen


def data(name: str, size: str) -> ConfigDict:
  """Options of a data set; `tiny` is enough for two steps."""
  tiny = size == "tiny"
  if name == "openmoji":
    return ConfigDict(
      dict(
        name=name,
        image_size=64,
        background="white",
        languages=("en", "es", "fr", "pt"),
        subset="all",
      )
    )
  if name == "shapes":
    num = (64, 16, 16) if tiny else (8000, 400, 400)
    # The quick start is tuned on this small world. The whole one is
    #   --config.data.objects="(1,2,3)"
    #   --config.data.backgrounds="('white','grey','pink','light blue')"
    # and a prior on it wants --config.text.max_length=24: its longest captions have 23 tokens.
    return ConfigDict(
      dict(
        name=name,
        image_size=64,
        num_train=num[0],
        num_val=num[1],
        num_test=num[2],
        seed=0,
        objects=(2,),
        backgrounds=("white",),
      )
    )
  # Data of your own, made by `jaxt2i data prepare --out=data/mine`: --config.data.path=data/mine
  return ConfigDict(dict(name=name, path="", image_size=64, protocol="image"))


def common(size: str) -> ConfigDict:
  """Seed, optimiser, and when the loop does what."""
  config = ConfigDict()
  config.seed = 0
  config.batch_size = 4 if size == "tiny" else 16
  # Processes that read and change images, beside the training: for large images with augmentation
  # on a fast accelerator that waits for them. On a CPU they only take its cores.
  config.num_workers = 0
  # Random changes of training images. A flip swaps left and right in English and Spanish captions,
  # and is not made where that is in doubt; crop is a shift by so many pixels at most.
  config.augment = dict(flip=False, crop=0, jitter=0.0)
  config.ema_decay = 0.999
  # A batch in so many parts, one after another, for want of memory; activations in float32 or
  # bfloat16 (for accelerators: a CPU is slower with it); and whether a step that comes to no number
  # is to "stop" the run or to be passed over ("skip").
  config.step = dict(accumulate=1, compute_dtype="float32", bad_gradient="stop")
  # Devices along each axis, see docs/scaling.md; data=-1: as many as there are.
  config.mesh = dict(data=-1, fsdp=1, tensor=1)
  config.optimizer = dict(
    kind="adamw",
    learning_rate=2e-3,
    warmup_steps=100,
    final_share=0.02,
    b1=0.9,
    b2=0.99,
    weight_decay=0.01,
    clip_norm=1.0,
  )
  config.loop = dict(num_steps=1000, log_every=20, eval_every=500, checkpoint_every=500)
  if size == "tiny":
    config.loop = dict(num_steps=2, log_every=1, eval_every=2, checkpoint_every=2)
  # Early stopping: --config.loop.watch=val/nll --config.loop.patience=3 ends a run after three
  # evaluations without a better one, and draws with the best state.
  config.loop.update(watch="", patience=0)
  return config
