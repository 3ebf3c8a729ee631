"""A config made concrete: the task, its data, its evaluators."""

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from jaxt2i import checkpoints, data, modules, pretrained
from jaxt2i import config as config_lib
from jaxt2i.data.augment import Augmentation
from jaxt2i.data.records import Record, Source
from jaxt2i.data.stream import eval_stream, train_stream
from jaxt2i.data.text import TextTokenizer
from jaxt2i.data.transforms import (
  AugmentedImage,
  FirstCaption,
  RandomCaption,
  image_row,
)
from jaxt2i.errors import UsageError, UserError
from jaxt2i.evaluators.likelihood import Likelihood
from jaxt2i.evaluators.reconstruction import Reconstruction
from jaxt2i.evaluators.samples import Samples
from jaxt2i.models.perceptual import LEAST_SIDE
from jaxt2i.pipeline import TEXT_TOKENIZER_FILE, Pipeline, tokenizer_variables
from jaxt2i.state import TrainState
from jaxt2i.tasks.base import Task
from jaxt2i.tasks.prior import PriorTask
from jaxt2i.tasks.tokenizer import TokenizerTask
from jaxt2i.tokenized import Tokenized
from jaxt2i.train import Evaluator
from jaxt2i.types import Batch, Variables

logger = logging.getLogger(__name__)

EVAL_BATCH = 32


@runtime_checkable
class Experiment(Protocol):
  """What `main` needs to know of an experiment."""

  config: Mapping[str, Any]  # resolved: with all that loading the run will need
  task: Task

  def example(self) -> Batch:
    """A batch of the right shapes; its values mean nothing."""
    ...

  def frozen(self) -> Variables:
    """Collections that come from elsewhere and never change."""
    ...

  def start(self, state: TrainState, workdir: Path) -> "Running":
    """Loads what training needs, for a fresh or a restored state."""
    ...


@dataclasses.dataclass(frozen=True)
class Running:
  """Data and evaluators of an experiment under way."""

  batches: Callable[[int], Iterator[Batch]]  # step → batches from that step on
  evaluators: Mapping[str, Evaluator]


def make(config: Mapping[str, Any]) -> Experiment:
  """The experiment of a config.

  Raises:
    UsageError: for a task that does not exist, or options that cannot work.
  """
  experiments: Mapping[str, Any] = {
    "tokenizer": TokenizerExperiment,
    "prior": PriorExperiment,
  }
  if config["task"] not in experiments:
    raise UsageError(f"config.task is {config['task']!r}: must be 'tokenizer' or 'prior'.")
  return experiments[config["task"]](config)


class TokenizerExperiment:
  """Learns to turn images into tokens and back."""

  def __init__(self, config: Mapping[str, Any]):
    self._train, self._val = _splits(config["data"])
    self.config = {**config, **_identity(self._train)}
    self._row = AugmentedImage(_augmentation(config))
    model = modules.tokenizer(config["model"], config["data"]["image_size"])
    self.task = config_lib.build(TokenizerTask, config["loss"], "config.loss", model=model)
    if self.task.perceptual_weight and config["data"]["image_size"] < LEAST_SIDE:
      raise UsageError(
        f"config.data.image_size is {config['data']['image_size']}: must be at least {LEAST_SIDE} "
        "for a perceptual loss, or set --config.loss.perceptual_weight=0."
      )

  def example(self) -> Batch:
    """One black image."""
    size = self.config["data"]["image_size"]
    return {"image": np.zeros((1, size, size, 3), np.uint8)}

  def frozen(self) -> Variables:
    """The network of the perceptual loss, where there is one."""
    if not self.task.perceptual_weight:
      return {}
    return {"features": jax.tree.map(jnp.asarray, pretrained.efficientnet_lite0())}

  def start(self, state: TrainState, workdir: Path) -> Running:
    """Opens the splits."""

    def batches(step: int) -> Iterator[Batch]:
      return train_stream(
        self._train,
        self._row,
        batch_size=self.config["batch_size"],
        seed=self.config["seed"],
        start_step=step,
        num_workers=self.config["num_workers"],
      )

    evaluate = Reconstruction(
      self.task.model, lambda: eval_stream(self._val, image_row, batch_size=EVAL_BATCH)
    )
    return Running(batches, {"val": lambda state: evaluate(state.ema_variables)})


class PriorExperiment:
  """Learns p(tokens | caption) over the tokens of a trained tokenizer."""

  def __init__(self, config: Mapping[str, Any]):
    self._tokenizer_workdir = Path(config["tokenizer"])
    augmentation = _augmentation(config)
    if augmentation.crop or augmentation.jitter:
      raise UsageError(
        f"config.augment has crop {augmentation.crop} and jitter {augmentation.jitter}: must be 0 "
        "for a prior, whose images are turned into tokens once; flip is possible."
      )
    self._flip = augmentation.flip
    if not config["tokenizer"]:
      raise UsageError(
        "config.tokenizer is empty: must be the workdir of a trained tokenizer "
        "(--config.tokenizer=runs/vqvae)."
      )
    trained = config_lib.load(self._tokenizer_workdir)
    image_size = config["data"]["image_size"]
    if trained["task"] != "tokenizer" or trained["data"]["image_size"] != image_size:
      raise UserError(
        f"{config['tokenizer']} is a {trained['task']} of {trained['data']['image_size']}-pixel "
        f"images: config.tokenizer must be a tokenizer of {image_size}-pixel images."
      )
    self._train, self._val = _splits(config["data"])
    _refuse_leak(trained, config, self._train)
    # The tokenizer's own section goes into this run's config: one workdir is enough to generate.
    self.config = {**config, **_identity(self._train), "tokenizer_model": trained["model"]}
    self.tokenizer = modules.tokenizer(trained["model"], image_size)
    self.text_tokenizer = TextTokenizer.train(
      (caption for record in _records(self._train) for caption in record.captions),
      **config["text"],
    )
    prior = modules.prior(
      config["model"], self.tokenizer, image_size, self.text_tokenizer.vocab_size
    )
    self.task = config_lib.build(PriorTask, config["loss"], "config.loss", model=prior)

  def example(self) -> Batch:
    """One grid of tokens 0 with an empty caption."""
    tokens = np.zeros((1, *self.task.model.grid), np.int32)
    return {"tokens": tokens, "text": self.text_tokenizer([""])}

  def frozen(self) -> Variables:
    """The tokenizer: it rides in the prior's checkpoint."""
    _, arrays = checkpoints.read_arrays(self._tokenizer_workdir, ("ema_params", "collections"))
    return {"frozen": jax.tree.map(jnp.asarray, tokenizer_variables(arrays))}

  def pipeline(self, state: TrainState) -> Pipeline:
    """The road with the weights of a state."""
    return Pipeline(
      tokenizer=self.tokenizer,
      tokenizer_variables=state.collections["frozen"],
      attribution=self._train.attribution,
      prior=self.task.model,
      prior_variables={"params": state.ema_params},
      text_tokenizer=self.text_tokenizer,
    )

  def start(self, state: TrainState, workdir: Path) -> Running:
    """Turns all images into tokens once: the tokenizer is frozen."""
    self.text_tokenizer.save(workdir / TEXT_TOKENIZER_FILE)
    pipeline = self.pipeline(state)
    train = Tokenized.of(self._train, pipeline, flip=self._flip)
    val = Tokenized.of(self._val, pipeline)
    _log_unknown_words(self.text_tokenizer, val)
    first_caption = FirstCaption(self.text_tokenizer)

    def batches(step: int) -> Iterator[Batch]:
      return train_stream(
        train,
        RandomCaption(self.text_tokenizer),
        batch_size=self.config["batch_size"],
        seed=self.config["seed"],
        start_step=step,
        num_workers=self.config["num_workers"],
      )

    def likelihood(source: Tokenized) -> Evaluator:
      rows = lambda: eval_stream(source, first_caption, batch_size=EVAL_BATCH)
      evaluate = Likelihood(self.task, rows)
      return lambda state: evaluate({"params": state.ema_params})

    samples = Samples(self.config["prompts"], workdir / "samples")
    evaluators = {
      "train": likelihood(train.first(len(val))),
      "val": likelihood(val),
      "samples": lambda state: samples(self.pipeline(state), int(state.step)),
    }
    return Running(batches, evaluators)


def _augmentation(config: Mapping[str, Any]) -> Augmentation:
  augmentation = config_lib.build(Augmentation, config["augment"], "config.augment")
  size = config["data"]["image_size"]
  if augmentation.crop >= size:
    raise UsageError(
      f"config.augment.crop is {augmentation.crop}: must be less than the image's {size} pixels."
    )
  return augmentation


def _log_unknown_words(text_tokenizer: TextTokenizer, val: Tokenized) -> None:
  unknown, count = text_tokenizer.unknown_among(c for captions in val.captions for c in captions)
  if unknown:
    more = ", ..." if len(unknown) > 10 else ""
    names = f": {', '.join(unknown[:10])}{more}"
  else:
    names = ""
  logger.info(f"val captions: {len(unknown):,} of {count:,} distinct words are unknown{names}")


def _records(source: Source) -> Iterator[Record]:
  return (source[i] for i in range(len(source)))


def _refuse_leak(tokenizers: Mapping[str, Any], config: Mapping[str, Any], train: Source) -> None:
  """UserError if the tokenizer may know images that this prior is to be tested on."""
  theirs, ours = tokenizers["data"], config["data"]
  if theirs["name"] != data.PREPARED or ours["name"] != data.PREPARED:
    return
  if Path(theirs["path"]).resolve() != Path(ours["path"]).resolve():
    return
  if theirs["protocol"] != ours["protocol"]:
    raise UserError(
      f"the tokenizer was trained on the splits of {theirs['protocol']!r}, this prior is to be on "
      f"those of {ours['protocol']!r}: its test images would be known to the tokenizer; train one "
      "of them on the other's config.data.protocol."
    )
  if tokenizers["data_fingerprint"] != train.fingerprint:
    raise UserError(
      f"{ours['path']} has changed since the tokenizer was trained on it: its test images may be "
      "known to the tokenizer; train that again."
    )


def _splits(options: Mapping[str, Any]) -> tuple[Source, Source]:
  """Training and validation. UserError if either has no images: late is too late to say so."""
  train, val = data.load("train", **options), data.load("val", **options)
  for name, source in (("train", train), ("val", val)):
    if not len(source):
      raise UserError(
        f"the split {name!r} of the data {options['name']!r} has no images: take more data, or "
        "another config.data.protocol."
      )
  return train, val


def _identity(source: Source) -> dict[str, str]:
  return {"attribution": source.attribution, "data_fingerprint": source.fingerprint}
