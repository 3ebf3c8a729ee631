"""Drawing for a split: which pictures, in which pieces, and only those that are looked at."""

import dataclasses

import numpy as np
import pytest

from jaxt2i.evaluators import drawn
from jaxt2i.evaluators.drawn import Drawing, spread
from tests.planted import OPTIONS, Planted, values_of
from tests.sources import Pictures, pictures

SOURCE = Pictures(pictures(23))


def painted(prompt, index):
  return np.full((8, 8, 3), index + (100 if prompt == "" else 0), np.uint8)


@dataclasses.dataclass
class Seen:
  """Keeps one sort of what it is shown."""

  name: str
  pieces: list = dataclasses.field(default_factory=list)

  def add(self, piece):
    self.pieces.append(getattr(piece, self.name))

  def values(self):
    return {self.name: len(self.pieces)}


def test_every_score_sees_every_piece_and_pictures_are_drawn_once(monkeypatch):
  monkeypatch.setattr(drawn, "PIECE", 4)
  pipeline = Planted(painted, rebuild=lambda images: 255 - images)
  scores = [Seen("drawn"), Seen("drawn"), Seen("real"), Seen("reconstructed"), Seen("captions")]
  assert values_of(Drawing(SOURCE, 10, OPTIONS), pipeline, *scores)["drawn"] == 3
  chosen = [int(i) for i in np.linspace(0, 22, 10)]
  assert pipeline.prompts == [f"picture {i}" for i in chosen]  # once, and none without a caption
  images, again, real, reconstructed, captions = (np.concatenate(s.pieces) for s in scores)
  np.testing.assert_array_equal(images[:, 0, 0, 0], np.arange(10))
  np.testing.assert_array_equal(images, again)
  np.testing.assert_array_equal(real, SOURCE.images[chosen])
  np.testing.assert_array_equal(reconstructed, 255 - real)
  assert list(captions) == pipeline.prompts


def test_pictures_without_captions_have_the_same_indices(monkeypatch):
  monkeypatch.setattr(drawn, "PIECE", 4)
  seen = Seen("random")
  Drawing(SOURCE, 6, OPTIONS)(Planted(painted), [seen])
  np.testing.assert_array_equal(np.concatenate(seen.pieces)[:, 0, 0, 0], 100 + np.arange(6))


def test_pieces_do_not_matter_to_a_trained_prior(prior_pipeline, monkeypatch):
  source = Pictures(pictures(6, side=64))
  options = dataclasses.replace(OPTIONS, temperature=1.0)

  def draw(size):
    monkeypatch.setattr(drawn, "PIECE", size)
    seen = Seen("drawn")
    Drawing(source, 6, options)(prior_pipeline, [seen])
    return np.concatenate(seen.pieces)

  np.testing.assert_array_equal(draw(2), draw(6))


@pytest.mark.parametrize(("count", "n", "expected"), [(3, 9, [0, 1, 2]), (9, 3, [0, 4, 8])])
def test_spread(count, n, expected):
  assert spread(count, n) == expected
