"""The report as a whole: a codebook that has collapsed, and halves of the training split."""

import json

import numpy as np
import pytest

from jaxt2i import data, pipeline
from jaxt2i.analysis import latent_drawing, latent_page, latent_report, page
from jaxt2i.analysis.latent_goals import LatentGoals
from tests.runs import config_of


@pytest.fixture(scope="module")
def sources(tokenizer_run):
  options = config_of(tokenizer_run)["data"]
  return data.load("train", **options), data.load("val", **options)


def test_a_collapsed_codebook_is_reported_rather_than_stumbled_over(
  tokenizer_pipeline, sources, monkeypatch
):
  grid = np.zeros((8, 8), np.int32)
  encode = lambda self, images: np.tile(grid, (len(images), 1, 1))
  monkeypatch.setattr(pipeline.Pipeline, "encode", encode)
  goals = LatentGoals(usage=0.9, smooth=0.3, organised=0.5)
  train, val = sources
  report = latent_report.make(tokenizer_pipeline, train, val, "val", goals, name="one")
  value = {m.name: m.value for section in report.sections for m in section.measures}
  assert value["usage"] == 1 / 512
  assert value["entropy"] == 0
  assert value["effective_dimension_codes"] == 0
  assert value["organised"] == 0
  assert report.section("smooth").answer.startswith(
    "Not measured: fewer than three codes occur (1)"
  )
  verdicts = {verdict.property: verdict.reached for verdict in report.verdicts}
  assert verdicts == {"usage": False, "smooth": None, "organised": False}
  figures, maps = latent_drawing.draw(report, tokenizer_pipeline)
  assert {"usage", "laws", "ways", "map_codes"} <= figures.keys()
  assert not {"swaps", "swap_edits", "pairs"} & figures.keys()
  text = json.dumps(latent_page._plain(report.json()), allow_nan=False)
  assert json.loads(text)["sparse"]["measures"]["usage"]["value"] == 1 / 512
  pictures = {name: page.encoded(figure, "png", 120) for name, figure in figures.items()}
  assert "Not measured: fewer than three codes occur (1)" in latent_page.render(
    report, pictures, maps
  )


def test_halves_of_the_training_split_share_no_image(sources):
  train, _ = sources
  halves = [latent_report._every_second(train, first) for first in (0, 1)]
  ids = [[half[i].image_id for i in range(len(half))] for half in halves]
  assert not set(ids[0]) & set(ids[1])
  assert sorted(ids[0] + ids[1]) == sorted(train[i].image_id for i in range(len(train)))
