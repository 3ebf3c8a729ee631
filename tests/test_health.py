"""The alarm of a collapsed codebook, and the warning before one learns images by heart."""

import logging
import math

import numpy as np
import pytest

from jaxt2i import data, health
from jaxt2i.health import CollapseAlarm, entropy_cliff, remedy
from jaxt2i.models.quantizers import ResidualQuantizer
from tests.models.quantizers.kinds import KINDS
from tests.runs import config, train


def counts(used, size=100, each=50):
  return np.where(np.arange(size) < used, each, 0)


def test_it_warns_of_two_low_evaluations_in_a_row_and_not_of_one(caplog):
  alarm = CollapseAlarm(KINDS["ema"])
  assert [alarm(counts(used)) for used in (100, 3, 50, 3, 3, 2, 60, 3)] == [
    *(False, False, False, False),
    *(True, True),
    *(False, False),
  ]
  assert "CODEBOOK COLLAPSE: 3 of 100 codes" in caplog.text
  assert "revival_threshold" in caplog.text


def test_a_split_too_small_for_all_codes_is_no_collapse():
  alarm = CollapseAlarm(KINDS["fsq"])
  few = counts(8, size=1000, each=1)  # eight tokens, all different
  assert not any(alarm(few) for _ in range(5))


@pytest.mark.parametrize("kind", KINDS)
def test_remedies_are_options_of_the_quantizer(kind):
  quantizer = KINDS[kind]
  text = remedy(quantizer)
  own = quantizer.inner if isinstance(quantizer, ResidualQuantizer) else quantizer
  options = [f.name for f in type(own).__dataclass_fields__.values()]
  named = [name for name in options if name in text and name != "name"]
  assert named, text
  for word in ("revival_threshold", "entropy_weight", "kl_weight", "levels", "cosine"):
    assert (word in text) <= (word in options)


def test_the_cliff_is_where_tokens_hold_far_more_than_names_the_images():
  assert entropy_cliff(64, 1000, 3786) is None  # the default on OpenMoji
  warning = entropy_cliff(256, 1024, 3786)
  assert warning is not None
  assert "2,560 bits an image" in warning
  assert "12 bits tell 3,786" in warning
  limit = health._BITS_A_BIT * math.log2(8000)
  for codes, warned in ((2 ** (limit / 64) * 0.99, False), (2 ** (limit / 64) * 1.01, True)):
    assert (entropy_cliff(64, round(codes), 8000) is not None) == warned


def test_a_start_warns_of_the_cliff_before_training(tmp_path, caplog):
  options = config("vqvae:fsq,shapes,tiny")["data"]
  assert len(data.load("train", **options)) == 64
  with caplog.at_level(logging.WARNING):
    train(tmp_path, "vqvae:fsq,shapes,tiny", **{"model.quantizer.levels": (8, 8, 8, 5, 5, 5)})
  assert "learn them by heart" in caplog.text
