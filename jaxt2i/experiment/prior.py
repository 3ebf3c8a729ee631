"""Learning which tokens belong to which words."""

import dataclasses
import itertools
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxt2i import config as config_lib
from jaxt2i import modules, text, weights
from jaxt2i.analysis import latent_goals
from jaxt2i.data.text import TextTokenizer
from jaxt2i.data.transforms import FirstCaption, RandomCaption
from jaxt2i.errors import UsageError
from jaxt2i.evaluators.likelihood import Likelihood
from jaxt2i.evaluators.samples import Samples
from jaxt2i.experiment.looks import Looks
from jaxt2i.experiment.parts import (
  Running,
  augmentation,
  captions,
  eval_batches,
  fresh,
  identity,
  learnt_captions,
  prior_task,
  refuse_leak,
  require_watchable,
  save_text,
  splits,
  trained_tokenizer,
  training_batches,
)
from jaxt2i.pipeline import Pipeline
from jaxt2i.sharding import whole
from jaxt2i.state import TrainState, of_model
from jaxt2i.tokenized import Tokenized, Views
from jaxt2i.train import Evaluator
from jaxt2i.types import FROZEN, Batch, Key, Variables
from jaxt2i.word_vectors import WordVectors, into_encoder

logger = logging.getLogger(__name__)


class PriorExperiment:
  """Learns p(tokens | caption) over the tokens of a trained tokenizer."""

  def __init__(self, config: Mapping[str, Any]):
    self._tokenizer_workdir = Path(config["tokenizer"])
    if config["captions"] < 0:
      raise UsageError(f"config.captions is {config['captions']}: must be 0 (all) or more.")
    self._views = Views(augmentation(config), config["views"], config["seed"])
    if not config["tokenizer"]:
      raise UsageError(
        "config.tokenizer is empty: must be the workdir of a trained tokenizer "
        "(--config.tokenizer=runs/vqvae)."
      )
    if not config["prompts"]:
      raise UsageError("config.prompts is empty: must be one prompt or more, to be drawn.")
    trained = trained_tokenizer(config)
    image_size = config["data"]["image_size"]
    with config_lib.whole(self._tokenizer_workdir):
      self.tokenizer = modules.tokenizer(trained["model"], image_size)
    self._looks = config_lib.build(Looks, config["evaluation"], "config.evaluation")
    require_watchable(config, ("val/nll", "train/nll", *(["drawn/"] * bool(self._looks.metrics))))

    def make_task(vocab_size: int | None) -> Any:
      prior = modules.prior(config["model"], self.tokenizer, image_size, vocab_size)
      return prior_task(config["loss"], prior)

    make_task(text.check(config["text"]))  # refuses what cannot work before any data is read
    self._word_vectors = config["word_vectors"] and WordVectors.load(Path(config["word_vectors"]))
    self._train, self._val = splits(config["data"])
    refuse_leak(trained, config, self._train)
    self._looks.require(config["data"], self._train, self._val)
    self._text = text.make(config["text"], captions(self._train))
    # The tokenizer's own sections go into this run's config: one workdir is enough to generate.
    of_data = identity(self._train, self._text)
    goals = {key: value for key, value in trained.items() if key == latent_goals.KEY}
    self.config = {**config, **of_data, **goals, "tokenizer_model": trained["model"]}
    self.task = make_task(self._text.vocab_size)

  def example(self) -> Batch:
    """One grid of tokens 0 with an empty caption."""
    tokens = np.zeros((1, *self.task.model.grid), np.int32)
    return {"tokens": tokens, "text": self._text([""])}

  def init(self, key: Key) -> Variables:
    """Fresh parameters, words at given vectors, and the tokenizer, which rides in checkpoints."""
    variables = fresh(self.task, key, self.example())
    if self._word_vectors:
      params = variables["params"]
      encoder = into_encoder(params["text_encoder"], self._word_vectors, self._text)
      variables = {**variables, "params": {**params, "text_encoder": encoder}}
    averages, collections = weights.read(self._tokenizer_workdir)
    tokenizer = {"params": averages, **of_model(collections)}
    return {**variables, FROZEN: jax.tree.map(jnp.asarray, tokenizer)}

  def pipeline(self, state: TrainState) -> Pipeline:
    """The road with the weights of a state."""
    return Pipeline(
      tokenizer=self.tokenizer,
      tokenizer_variables=state.collections[FROZEN],
      attribution=self._train.attribution,
      prior=self.task.model,
      prior_variables={"params": state.ema_params},
      text_processor=self._text,
    )

  def start(self, state: TrainState, workdir: Path) -> Running:
    """Turns all images into tokens once: the tokenizer is frozen."""
    keep = save_text(self._text, workdir)
    # Each process computes all tokens by itself.
    pipeline = Pipeline(self.tokenizer, whole(state.collections[FROZEN]), self._train.attribution)
    train = Tokenized.of(self._train, pipeline, views=self._views)
    if most := self.config["captions"]:
      few = tuple(captions[:most] for captions in train.captions)
      train = dataclasses.replace(train, captions=few)
    val = Tokenized.of(self._val, pipeline)
    if isinstance(self._text, TextTokenizer):
      log_unknown_words(self._text, val)
    evaluated = (c for captions in val.captions for c in captions[:1])
    learnt = learnt_captions(self._train, flip=self._views.augmentation.flip)
    arrays = text.of_known(self._text, itertools.chain(learnt, evaluated), keep)
    first_caption = FirstCaption(arrays)

    def likelihood(source: Tokenized) -> Evaluator:
      rows = lambda: eval_batches(source, first_caption)
      evaluate = Likelihood(self.task, rows)
      return lambda state: evaluate({"params": state.ema_params})

    samples = Samples(self.config["prompts"], workdir / "samples")
    evaluators = {
      "train": likelihood(train.first(len(val))),
      "val": likelihood(val),
      "samples": lambda state: samples(self.pipeline(state), int(state.step)),
    }
    if self._looks.metrics:
      evaluators["drawn"] = lambda state: self._looks(
        self.pipeline(state), self._train, self._val, self.config["data"]["image_size"]
      )
    return Running(
      training_batches(train, RandomCaption(arrays), self.config),
      evaluators,
      lambda i: self._train[i].image_id,
    )


def log_unknown_words(text_tokenizer: TextTokenizer, val: Tokenized) -> None:
  """One line on the words of validation captions that a prior cannot tell apart."""
  unknown, count = text_tokenizer.unknown_among(c for captions in val.captions for c in captions)
  if unknown:
    more = ", ..." if len(unknown) > 10 else ""
    names = f": {', '.join(unknown[:10])}{more}"
  else:
    names = ""
  logger.info(f"val captions: {len(unknown):,} of {count:,} distinct words are unknown{names}")
