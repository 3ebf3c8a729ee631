"""What all experiments are made of."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxt2i import config as config_lib
from jaxt2i import data, multiprocess, text
from jaxt2i.data.augment import Augmentation
from jaxt2i.data.mirror import mirrored
from jaxt2i.data.records import Source
from jaxt2i.data.stream import Transform, eval_stream, train_stream
from jaxt2i.errors import UsageError, UserError
from jaxt2i.models.masked import MaskedPrior
from jaxt2i.models.prior import Prior
from jaxt2i.sharding import make_mesh, shard_batch
from jaxt2i.tasks.base import Task
from jaxt2i.tasks.prior import AutoregressiveTask, MaskedTask
from jaxt2i.text import TextProcessor
from jaxt2i.train import Evaluator
from jaxt2i.types import Batch, Key, Variables

EVAL_BATCH = 32
FEATURES_FILE = "caption_features.npz"  # of a run


@dataclasses.dataclass(frozen=True)
class Running:
  """Data and evaluators of an experiment under way."""

  batches: Callable[[int], Iterator[Batch]]  # step → batches from that step on, of this process
  evaluators: Mapping[str, Evaluator]
  image_id: Callable[[int], str]  # of the training example at a place


def training_batches(
  source: Any, transform: Transform, config: Mapping[str, Any]
) -> Callable[[int], Iterator[Batch]]:
  """Step → `train_stream` of a config from that step on: this process's rows of every batch."""

  def batches(step: int) -> Iterator[Batch]:
    return train_stream(
      source,
      transform,
      batch_size=config["batch_size"],
      seed=config["seed"],
      start_step=step,
      process_index=jax.process_index(),
      process_count=jax.process_count(),
      num_workers=config["num_workers"],
    )

  return batches


def eval_batches(source: Any, transform: Transform) -> Iterator[Batch]:
  """All of a split once, see `eval_stream`; each batch is cut over the devices."""
  mesh = make_mesh(EVAL_BATCH, local=True)
  stream = eval_stream(source, transform, batch_size=EVAL_BATCH)
  return (shard_batch(batch, mesh) for batch in stream)


def augmentation(config: Mapping[str, Any]) -> Augmentation:
  """Random changes of training images. UsageError if they leave nothing of an image."""
  built = config_lib.build(Augmentation, config["augment"], "config.augment")
  size = config["data"]["image_size"]
  if built.crop >= size:
    raise UsageError(
      f"config.augment.crop is {built.crop}: must be less than the image's {size} pixels."
    )
  return built


def splits(options: Mapping[str, Any]) -> tuple[Source, Source]:
  """Training and validation. UserError if either has no images: late is too late to say so."""
  train, val = data.load("train", **options), data.load("val", **options)
  for name, source in (("train", train), ("val", val)):
    if not len(source):
      raise UserError(
        f"the split {name!r} of the data {options['name']!r} has no images: take more data, or "
        "another config.data.protocol."
      )
  return train, val


def fresh(task: Task, key: Key, example: Batch) -> Variables:
  """What `task.init` gives, compiled as a whole: one by one its operations take twice as long."""
  return jax.jit(lambda key: task.init(key, example))(key)


def prior_task(section: Mapping[str, Any], model: Prior) -> AutoregressiveTask | MaskedTask:
  """How a prior is learnt, given `config.loss`. UsageError for an option that it doesn't have."""
  kind: Any = MaskedTask if isinstance(model, MaskedPrior) else AutoregressiveTask
  return config_lib.build(kind, section, "config.loss", model=model)


def save_text(processor: TextProcessor, workdir: Path) -> Path | None:
  """Writes how a run reads captions; returns where features of them may be kept.

  Process 0 alone writes; None in the others.
  """
  if not multiprocess.is_first():
    return None
  processor.save(workdir / text.TEXT_FILE)
  return workdir / FEATURES_FILE


def captions(source: Source) -> Iterator[str]:
  """All captions of a split."""
  return (caption for i in range(len(source)) for caption in source[i].captions)


def learnt_captions(source: Source, *, flip: bool) -> Iterator[str]:
  """All captions that a run on a split learns from: those of flipped images too."""
  for caption in captions(source):
    yield caption
    mirror = mirrored(caption) if flip else None
    if mirror is not None:
      yield mirror


def identity(source: Source, text: TextProcessor | None = None) -> dict[str, str]:
  """What a run's config keeps of its data: whose it is, and that it and its text are these."""
  kept = {"attribution": source.attribution, "data_fingerprint": source.fingerprint}
  return kept if text is None else {**kept, "text_fingerprint": text.fingerprint}


def require_watchable(config: Mapping[str, Any], known: Sequence[str]) -> None:
  """UsageError if `config.loop.watch` is not one of the numbers `known`.

  These are numbers of the evaluation of which less is better; one that ends in "/" stands for all
  that begin so.
  """
  watch, patience = config["loop"]["watch"], config["loop"]["patience"]
  if not patience:
    if watch:
      raise UsageError(
        f"config.loop.watch is {watch!r} and config.loop.patience is 0: must be above 0 to stop "
        "early, or config.loop.watch empty."
      )
    return
  if not known:
    raise UsageError(
      f"config.loop.watch is {watch!r}, but the evaluation of this run gives no number of which "
      "less is better: must be empty, with config.loop.patience=0."
    )
  if watch not in known and not watch.startswith(tuple(x for x in known if x.endswith("/"))):
    raise UsageError(
      f"config.loop.watch is {watch!r}: must be a number of the evaluation of which less is better "
      f"({', '.join(f'{name}...' if name.endswith('/') else name for name in known)})."
    )


def trained_tokenizer(config: Mapping[str, Any]) -> dict[str, Any]:
  """The config of the run `config.tokenizer`; UserError if it is no tokenizer of such images."""
  workdir = Path(config["tokenizer"])
  trained = config_lib.load(workdir)
  with config_lib.whole(workdir):
    _require_tokenizer(trained, config)
  return trained


def _require_tokenizer(trained: Mapping[str, Any], config: Mapping[str, Any]) -> None:
  image_size = config["data"]["image_size"]
  if trained["task"] != "tokenizer" or trained["data"]["image_size"] != image_size:
    raise UserError(
      f"{config['tokenizer']} is a {trained['task']} of {trained['data']['image_size']}-pixel "
      f"images: config.tokenizer must be a tokenizer of {image_size}-pixel images."
    )


def refuse_leak(tokenizers: Mapping[str, Any], config: Mapping[str, Any], train: Source) -> None:
  """UserError if the tokenizer of that config may know images that this run is to be tested on."""
  theirs, ours = tokenizers["data"], config["data"]
  if theirs["name"] != data.PREPARED or ours["name"] != data.PREPARED:
    return
  if Path(theirs["path"]).resolve() != Path(ours["path"]).resolve():
    return
  if theirs["protocol"] != ours["protocol"]:
    raise UserError(
      f"the tokenizer was trained on the splits of {theirs['protocol']!r}, this run is to be on "
      f"those of {ours['protocol']!r}: its test images would be known to the tokenizer; train one "
      "of them on the other's config.data.protocol."
    )
  if tokenizers["data_fingerprint"] != train.fingerprint:
    raise UserError(
      f"{ours['path']} has changed since the tokenizer was trained on it: its test images may be "
      "known to the tokenizer; train that again."
    )
