"""Kept features: the same as computed ones, and never those of something else or damaged ones."""

import logging

import numpy as np
import pytest

from jaxt2i.caption_features import of_known
from jaxt2i.sentence import SentenceEncoder
from tests.sentences import random_encoder

CAPTIONS = ["a red cat", "", "dogs and cats on grass", "a red cat", "grass \udcff"]


@pytest.fixture
def encoder(monkeypatch):
  return random_encoder(monkeypatch, 12)


@pytest.fixture
def computed(monkeypatch):
  """The captions that were computed, in order."""
  captions = []
  compute = SentenceEncoder.__call__

  def counted(self, some):
    captions.extend(some)
    return compute(self, some)

  monkeypatch.setattr(SentenceEncoder, "__call__", counted)
  return captions


def test_they_are_what_the_encoder_gives_and_computed_once(encoder, computed, tmp_path):
  expected = encoder(CAPTIONS)
  computed.clear()
  path = tmp_path / "new" / "features.npz"
  first = of_known(CAPTIONS, encoder, path)
  assert sorted(computed) == sorted(set(CAPTIONS))
  again = of_known(iter(CAPTIONS[::-1]), encoder, path)  # in another order
  assert len(computed) == len(set(CAPTIONS))
  for features in (first, again):
    assert features.max_length == 12
    np.testing.assert_array_equal(features(CAPTIONS), expected)
  assert [p.name for p in path.parent.iterdir()] == ["features.npz"]


def test_many_are_computed_a_part_at_a_time(encoder, tmp_path, monkeypatch):
  monkeypatch.setattr("jaxt2i.caption_features._AT_ONCE", 3)
  features = of_known(CAPTIONS, encoder, tmp_path / "f.npz")
  np.testing.assert_array_equal(features(CAPTIONS), encoder(CAPTIONS))


@pytest.mark.parametrize("captions", [[], [""]])
def test_of_nothing_there_is_nothing(encoder, tmp_path, captions):
  for _ in range(2):
    features = of_known(captions, encoder, tmp_path / "f.npz")
    assert features(captions).shape == (len(captions), 12, 384)
    assert not features(captions).any()


def test_a_caption_that_is_not_there_is_named(encoder, tmp_path):
  features = of_known(CAPTIONS, encoder, tmp_path / "f.npz")
  with pytest.raises(KeyError, match="a blue cat"):
    features(["a red cat", "a blue cat"])


def test_other_captions_or_another_encoder_are_computed(encoder, computed, tmp_path, monkeypatch):
  path = tmp_path / "f.npz"
  of_known(CAPTIONS, encoder, path)
  computed.clear()
  more = of_known([*CAPTIONS, "dog"], encoder, path)
  assert sorted(computed) == sorted({*CAPTIONS, "dog"})
  np.testing.assert_array_equal(more(["dog"]), encoder(["dog"]))
  computed.clear()
  shorter = random_encoder(monkeypatch, 4)
  features = of_known([*CAPTIONS, "dog"], shorter, path)
  assert len(computed) == len({*CAPTIONS, "dog"})
  np.testing.assert_array_equal(features(CAPTIONS), shorter(CAPTIONS))


def _flip(data, at):
  changed = bytearray(data)
  changed[at] ^= 1
  return bytes(changed)


def _saved_anew(path, **changes):
  with np.load(path) as file:
    content = dict(file)
  np.savez(path, **(content | {k: change(content[k]) for k, change in changes.items()}))


@pytest.mark.parametrize(
  "damage",
  [
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(b"PK\3\4 no archive"),
    lambda path: path.write_bytes(path.read_bytes()[:-100]),
    lambda path: path.write_bytes(path.read_bytes()[:5000]),
    lambda path: path.write_bytes(_flip(path.read_bytes(), path.stat().st_size // 2)),
    lambda path: np.savez(path, something=np.zeros(3)),
    # Whole archives, whose checksums fit:
    lambda path: _saved_anew(path, rows=lambda x: x + 1),
    lambda path: _saved_anew(path, rows=lambda x: x.reshape(-1, 192)),
    lambda path: _saved_anew(path, lengths=lambda x: x[::-1]),
    lambda path: _saved_anew(path, seal=lambda x: np.array(["a"], object)),
  ],
  ids=["empty", "torn", "end", "half", "bit", "other", "rows", "shape", "lengths", "pickle"],
)
def test_a_damaged_file_is_computed_again(encoder, computed, tmp_path, damage):
  path = tmp_path / "f.npz"
  expected = of_known(CAPTIONS, encoder, path)(CAPTIONS)
  whole = path.read_bytes()
  damage(path)
  assert path.read_bytes() != whole
  computed.clear()
  np.testing.assert_array_equal(of_known(CAPTIONS, encoder, path)(CAPTIONS), expected)
  assert len(computed) == len(set(CAPTIONS))
  assert path.read_bytes() == whole  # mended


def test_where_nothing_can_be_kept_features_are_there_and_a_warning(encoder, tmp_path, caplog):
  folder = tmp_path / "file"
  folder.write_text("not a folder")
  with caplog.at_level(logging.WARNING, "jaxt2i"):
    features = of_known(CAPTIONS, encoder, folder / "f.npz")
  assert features(["a red cat"]).any()
  assert "cannot keep features of captions" in caplog.text
