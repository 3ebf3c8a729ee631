"""What may be evaluated together: data as in training, finite weights, judges of like splits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxt2i import config as config_lib
from jaxt2i import data, matcher
from jaxt2i.data.records import Source
from jaxt2i.errors import UserError
from jaxt2i.matcher import Matcher
from jaxt2i.pipeline import Pipeline


def training_data(workdir: Path, config: Mapping[str, Any]) -> Source:
  """What the run has learnt from; UserError if it is not the same any more."""
  train = data.load("train", **config["data"])
  if train.fingerprint != config["data_fingerprint"]:
    raise UserError(
      f"The data of {workdir} has changed since training (its fingerprint differs): restore it, "
      "or train again."
    )
  return train


def require_finite(road: Pipeline, workdir: Path) -> None:
  """UserError if any weight is NaN or infinite: all that it draws would be black or noise."""
  _require_finite((road.tokenizer_variables, road.prior_variables), workdir)


def _require_finite(variables: Any, workdir: Path) -> None:
  arrays = (np.asarray(x) for x in jax.tree.leaves(variables))
  if not all(np.isfinite(x).all() for x in arrays if x.dtype.kind == "f"):
    raise UserError(
      f"the weights of {workdir} are not finite (NaN or infinity): evaluate an earlier checkpoint, "
      "or train again with a lower config.optimizer.learning_rate."
    )


def dual_encoder(workdir: Path | None, config: Mapping[str, Any], role: str) -> Matcher | None:
  """The dual encoder of a workdir, if one is given.

  UserError if it has learnt from other data, or from other splits: it may know test images.
  """
  if workdir is None:
    return None
  theirs = config_lib.load(workdir)
  same = theirs["data_fingerprint"] == config["data_fingerprint"]
  if not same or theirs["data"].get("protocol") != config["data"].get("protocol"):
    raise UserError(
      f"the {role} {workdir} was trained on other data or other splits than this run: train one "
      "with the same config.data."
    )
  sizes = theirs["data"]["image_size"], config["data"]["image_size"]
  if sizes[0] != sizes[1]:
    raise UserError(
      f"the {role} {workdir} has learnt from images of {sizes[0]} pixels, this run of {sizes[1]}: "
      "train one with the same config.data.image_size."
    )
  found = matcher.load(workdir)
  _require_finite(found.variables, workdir)
  return found
