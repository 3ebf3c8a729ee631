"""Evaluating a finished run: which evaluators fit what was trained."""

import dataclasses
import logging
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxt2i import (
  clip,
  data,
  inception,
  matcher,
  metrics,
  modules,
  pipeline,
  pretrained,
  trust,
  weights,
)
from jaxt2i import config as config_lib
from jaxt2i.data.transforms import FirstCaption, image_row
from jaxt2i.errors import UserError
from jaxt2i.evaluation_report import Report
from jaxt2i.evaluation_request import Request
from jaxt2i.evaluators import choices as choices_lib
from jaxt2i.evaluators import extractor, frechet, intervals, likelihood, recall, retrieval, scores
from jaxt2i.evaluators.captioned import Captioned
from jaxt2i.evaluators.drawn import Drawing, Reranking
from jaxt2i.evaluators.likelihood import Likelihood
from jaxt2i.evaluators.measured import Measured
from jaxt2i.evaluators.recall import MOST_RECALLED, Recall
from jaxt2i.evaluators.reconstruction import Reconstruction
from jaxt2i.evaluators.retrieval import Retrieval
from jaxt2i.evaluators.scores import Scores
from jaxt2i.experiment.parts import eval_batches, prior_task
from jaxt2i.models.masked import MaskedPrior
from jaxt2i.pipeline import Pipeline
from jaxt2i.state import FEATURES
from jaxt2i.text import of_known
from jaxt2i.tokenized import Tokenized
from jaxt2i.types import Variables

logger = logging.getLogger(__name__)

MEASURING = 3  # raised whenever the same runs get other numbers


def evaluate(workdir: Path, request: Request) -> Report:
  """What is asked for, or all that can be said, of a run on one split.

  Raises:
    UserError: no run, no whole checkpoint, no such split, or the data has changed since; what is
      asked for by name cannot be measured of this run.
  """
  return _Evaluation(workdir, request).report()


def choices(workdir: Path, request: Request) -> dict[str, tuple[str, ...]]:
  """Of the scores of drawings that `evaluate` would measure the numbers; errors as there."""
  return _Evaluation(workdir, request).choices()


class _Evaluation:
  """One run, one request. What takes time is loaded when a metric wants it."""

  def __init__(self, workdir: Path, request: Request):
    self._workdir, self._request = workdir, request
    self._config = config = config_lib.load(workdir)
    with config_lib.whole(workdir):
      self.chosen = request.names(config["task"], workdir)
    request.refuse_judges(config["task"], workdir)
    # Whatever may be refused comes before anything is drawn.
    self._judge = trust.dual_encoder(request.judge, config, "judge")
    self._reranking = self._reranker()
    self._inception = request.inception and inception.inception(*request.inception)
    self._clip = request.clip and clip.clip(*request.clip)
    with config_lib.whole(workdir):
      self._train = trust.training_data(workdir, config)
      self._source = data.load(request.split, **config["data"])
    self.chosen = self._possible()

  def report(self) -> Report:
    """Measures."""
    source, request = self._source, self._request
    base = {
      "split": request.split,
      "protocol": source.protocol,
      "images": len(source),
      "data": source.fingerprint[:12],
      "measuring": MEASURING,
    }
    if source.note:
      base["note"] = source.note
    settings: dict[str, Any] = {"task": self._config["task"], "step": weights.step(self._workdir)}
    if self._config["task"] == "dual_encoder":
      values = Retrieval(source)(matcher.load(self._workdir))
      found = {"retrieval": Measured({"retrieval": retrieval.PROTOCOL}, values)}
      return Report(base, settings, found, {}, source.attribution)
    trust.require_finite(self._road, self._workdir)
    of_split = {
      "reconstruction": self._reconstruction,
      "likelihood": self._likelihood,
      "recall": self._recall,
    }
    parts = {name: of_split[name]() for name in self.chosen if name in of_split}
    drawn_metrics = [name for name in self.chosen if name in scores.NAMES]
    sheets = {}
    if drawn_metrics:
      chosen = self._scores(drawn_metrics)
      drawing = Drawing(source, request.n, request.options, request.seed, self._reranking)
      parts |= chosen.measure(drawing, self._road)
      sheets = chosen.sheets()
    return Report(base, settings, parts, sheets, source.attribution)

  def choices(self) -> dict[str, tuple[str, ...]]:
    """Nothing is measured."""
    objects = tuple(self._config["data"].get("objects", ()))
    seen = not self._unseen
    of = partial(choices_lib.numbers, drawn=self._drawn, seen=seen, objects=objects)
    return {name: of(name) for name in self.chosen if name in scores.NAMES}

  def _reranker(self) -> Reranking | None:
    """What chooses among candidates, if anything; UserError if the judge does."""
    request = self._request
    chooser = trust.dual_encoder(request.rerank, self._config, "reranker")
    if chooser is None:
      return None
    if self._judge is not None and self._judge.name == chooser.name:
      raise UserError(
        f"--rerank and --judge are the same dual encoder ({request.rerank}): what chooses pictures "
        "cannot judge them as well; train another one, with another config.seed."
      )
    return Reranking(chooser, request.candidates)

  @cached_property
  def _road(self) -> Pipeline:
    return pipeline.load(self._workdir)

  @cached_property
  def _features(self) -> Variables:
    return jax.device_put(pretrained.efficientnet_lite0())

  @cached_property
  def _unseen(self) -> str:
    return extractor.lacks(self._config["data"]["image_size"])

  @property
  def _drawn(self) -> int:
    return min(self._request.n, len(self._source))

  def _possible(self) -> tuple[str, ...]:
    """Those of the chosen that can be measured; UserError for others that were asked for."""
    kept = []
    for name in self.chosen:
      lacks = self._lacks(name) if self._config["task"] == "prior" else ""
      if lacks and name in self._request.metrics:
        raise UserError(f"--metrics has {name!r}: {lacks}.")
      if lacks and (name == "generation" or getattr(self._request, name, None) is not None):
        logger.info("%s is left out: %s", name, lacks)
      if not lacks:
        kept.append(name)
    return tuple(kept)

  def _lacks(self, name: str) -> str:
    """What a metric wants that is not there; "" if it can be measured."""
    shapes = self._config["data"]["name"] == "shapes"
    if name == "recall" and shapes:
      return "scenes of shapes are many and alike; attributes say more of them"
    if name == "attributes" and not shapes:
      return "attributes are known of the data 'shapes' alone"
    if name == "retrieval" and self._judge is None:
      return "it wants --judge, the workdir of a trained dual encoder"
    if name in ("inception", "clip") and getattr(self._request, name) is None:
      return f"it wants --{name}, weights that you supply"
    if name in ("generation", "inception", "clip"):
      few = scores.too_few(self._drawn, self._train)
      return few or (self._unseen if name == "generation" else "")
    return ""

  def _reconstruction(self) -> Measured:
    tokenizer, variables = self._road.tokenizer, self._road.tokenizer_variables
    protocol = {
      "images": "8 bit, as they are stored",
      "ssim": metrics.SSIM,
      "intervals": "±1.96 standard errors over images",
    }
    lacks = self._unseen
    if lacks:
      logger.info("perceptual and rfd are left out: %s", lacks)
    else:
      variables = {**variables, FEATURES: self._features}
    found: dict[str, Any] = {
      **Reconstruction(tokenizer, lambda: eval_batches(self._source, image_row))(variables)
    }
    if "rfd" in found:
      protocol["rfd"] = frechet.protocol(len(self._source))
    h, w = modules.grid(tokenizer, self._config["data"]["image_size"])
    found["bits"] = h * w * float(np.log2(tokenizer.quantizer.codebook_size))
    return Measured(protocol, found)

  def _likelihood(self) -> Measured:
    road, split, images = self._road, self._request.split, len(self._source)
    assert road.prior is not None
    assert road.prior_variables is not None
    assert road.text_processor is not None
    task = prior_task(self._config["loss"], road.prior)
    nll: dict[str, np.ndarray] = {}
    found: dict[str, Any] = {}
    for name, part in {"train": self._train, split: self._source}.items():
      tokenized = Tokenized.of(Captioned(part), road, at_most=images)
      first_captions = (c for captions in tokenized.captions for c in captions[:1])
      row = FirstCaption(of_known(road.text_processor, first_captions))
      batches = partial(eval_batches, tokenized, row)
      nll[name] = Likelihood(task, batches).of_images(road.prior_variables).astype(np.float64)
      found |= intervals.mean(f"{name}_nll", nll[name])
    if split != "train":
      found |= intervals.difference("nll_gap", nll[split], nll["train"])
    bound = isinstance(road.prior, MaskedPrior)
    return Measured({"nll": likelihood.protocol(images, bound=bound)}, found)

  def _scores(self, names: Sequence[str]) -> Scores:
    return Scores(
      names,
      train=self._train,
      val=data.load("val", **self._config["data"]),
      split=self._request.split,
      drawn=self._drawn,
      features=None if self._unseen else self._features,
      judge=self._judge,
      inception=self._inception,
      clip=self._clip,
    )

  def _recall(self) -> Measured:
    n = min(self._request.n, MOST_RECALLED, len(self._train))
    found = Recall(self._train, n, self._request.options, self._request.seed)(self._road)
    said = {"recall": recall.protocol(n), "seed": self._request.seed}
    return Measured(said, found, dataclasses.asdict(self._request.options))
