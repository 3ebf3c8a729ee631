import dataclasses
import json
import logging
from typing import ClassVar

import numpy as np
import pytest

from jaxt2i import data
from jaxt2i.data.records import Record, options_fingerprint, share_of_hash
from jaxt2i.errors import UserError


@dataclasses.dataclass(frozen=True)
class Tiny:
  image_size: int
  words: tuple[str, ...]

  version: ClassVar[int] = 1
  attribution: ClassVar[str] = "nobody"
  licence: ClassVar[str] = ""
  generated: ClassVar[list[str]] = []

  def fingerprint(self):
    return options_fingerprint(self)

  def splits(self):
    self.generated.append("once")
    image = np.full((self.image_size, self.image_size, 3), 7, np.uint8)
    return {"train": [Record(word, image, (word,), {}) for word in self.words], "val": []}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv("JAXT2I_CACHE", str(tmp_path / "cache"))
  monkeypatch.setitem(data.DATASETS, "tiny", Tiny)
  Tiny.generated.clear()
  return tmp_path / "cache"


def test_prepared_once_and_again_when_an_option_changes(cache):
  for _ in range(2):
    source = data.load("train", name="tiny", image_size=2, words=("a", "b"))
    assert [source[i].captions for i in range(len(source))] == [("a",), ("b",)]
  assert len(Tiny.generated) == 1
  assert source.attribution == "nobody"
  assert len(data.load("train", name="tiny", image_size=3, words=("a",))) == 1
  assert len(Tiny.generated) == 2
  assert len(list((cache / "tiny").iterdir())) == 2


def test_lists_from_json_are_the_same_options():
  data.load("train", name="tiny", image_size=2, words=("a", "b"))
  data.load("train", name="tiny", image_size=2, words=["a", "b"])
  assert len(Tiny.generated) == 1


def cut(path):
  path.write_bytes(path.read_bytes()[:100])


def without_content(path):
  """As an older version of this code wrote it."""
  stored = json.loads(path.read_text())
  del stored["content"]
  path.write_text(json.dumps(stored))


@pytest.mark.parametrize(
  ("file", "damage"),
  [
    ("2/00000.array_record", cut),
    ("splits/compositional/split.json", cut),
    ("splits/compositional/split.json", without_content),
  ],
)
def test_damaged_cache_is_made_anew(cache, caplog, file, damage):
  data.load("train", name="tiny", image_size=2, words=("a",))
  (path,) = cache.glob(f"tiny/*/{file}")
  damage(path)
  with caplog.at_level(logging.WARNING):
    assert data.load("train", name="tiny", image_size=2, words=("a",))[0].captions == ("a",)
  assert "damaged" in caplog.text


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"name": "tinny"}, "'tinny'.*did you mean 'tiny'"),
    ({"name": "xyz"}, "'xyz'.*openmoji"),
    ({"name": "tiny", "image_sise": 2, "words": ()}, "'image_sise'.*did you mean 'image_size'"),
    ({"name": "tiny", "image_size": 2}, "needs words"),
  ],
)
def test_mistakes_are_named(options, message):
  with pytest.raises(UserError, match=message):
    data.load("train", **options)


def test_share_of_hash_is_even_and_fixed():
  assert share_of_hash("a") == pytest.approx(0.792, abs=1e-3)  # sha256("a") starts ca97
  shares = [share_of_hash(str(i)) for i in range(2000)]
  histogram, _ = np.histogram(shares, bins=10, range=(0, 1))
  assert histogram.min() > 150
