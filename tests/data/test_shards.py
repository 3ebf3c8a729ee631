"""Shards on disk: what comes back, and when a shard counts as finished."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
from array_record.python import array_record_module

from jaxt2i.data import shards
from jaxt2i.data.duplicates import perceptual_hash
from jaxt2i.data.records import Record
from jaxt2i.data.shards import Bad, Facts
from tests.photos import digests

BAD = Bad("spoilt.jpg", "empty file")


def record(number: int, size: int = 4) -> Record:
  image = np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8)
  return Record(f"{number}é.png", image, (f"caption {number}", "心"), {"n": number, "ä": [1, None]})


def facts(number: int) -> Facts:
  return Facts(f"{number}é.png", 640, 480, 2, "val", f"{number:064x}", 2**64 - 1 - number)


def items(numbers=range(5)):
  yield BAD
  for number in numbers:
    yield {size: record(number, size) for size in (8, 4)}, facts(number)


def write(directory, given=None, number=3):
  return shards.write_shard(directory, number, [8, 4], items() if given is None else given)


def stored(path) -> list[Record]:
  reader = array_record_module.ArrayRecordReader(str(path))
  return [shards.decode_record(reader.read([i])[0]) for i in range(reader.num_records())]


def test_what_was_written_comes_back(tmp_path):
  shard = write(tmp_path)
  assert shards.read_shard(tmp_path, 3) == shard
  assert shard.bad == (BAD,)
  assert shard.images == tuple(map(facts, range(5)))
  for size in (8, 4):
    name = shards.record_file(size, 3)
    data = (tmp_path / name).read_bytes()
    assert shard.files[name] == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    for number, found in enumerate(stored(tmp_path / name)):
      expected = record(number, size)
      np.testing.assert_array_equal(found.image, expected.image)
      assert found.image.dtype == np.uint8
      assert (found.image_id, found.captions) == (expected.image_id, expected.captions)
      assert found.attributes == expected.attributes
    assert number == 4
  assert sorted(digests(tmp_path)) == [
    "4/00003.array_record",
    "8/00003.array_record",
    "facts/00003.json",
  ]


def test_a_shard_of_bad_images_alone(tmp_path):
  shard = write(tmp_path, [BAD])
  assert shards.read_shard(tmp_path, 3) == shard
  assert (shard.images, shard.bad) == ((), (BAD,))
  assert stored(tmp_path / shards.record_file(4, 3)) == []


def finished(folder) -> dict[str, str]:
  return {name: sha for name, sha in digests(folder).items() if not name.endswith(shards.PARTIAL)}


def test_an_attempt_that_failed_does_not_disturb_the_next(tmp_path):
  def failing():
    yield from items([7, 8])
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    write(tmp_path / "a", failing())
  assert shards.read_shard(tmp_path / "a", 3) is None
  assert not list((tmp_path / "a").glob("*/*.array_record"))
  write(tmp_path / "a")
  write(tmp_path / "b")
  assert finished(tmp_path / "a") == digests(tmp_path / "b")


def test_two_attempts_at_once_are_each_whole(tmp_path):
  def interleaved():
    for i, item in enumerate(items()):
      if i == 1:
        write(tmp_path / "a")  # another worker is faster
      yield item

  assert write(tmp_path / "a", interleaved()) == write(tmp_path / "b")
  assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_killed_before_the_facts_were_written(tmp_path):
  write(tmp_path / "a", items([7, 8]))
  (tmp_path / "a" / "facts" / "00003.json").unlink()
  assert shards.read_shard(tmp_path / "a", 3) is None
  write(tmp_path / "a")
  write(tmp_path / "b")
  assert digests(tmp_path / "a") == digests(tmp_path / "b")


@pytest.mark.parametrize(
  "damage",
  [
    lambda folder: (folder / "facts" / "00003.json").write_text("{"),
    lambda folder: (folder / "facts" / "00003.json").write_text("[1]"),
    lambda folder: (folder / "facts" / "00003.json").write_bytes(b"\xff"),
    lambda folder: (folder / "4" / "00003.array_record").unlink(),
    lambda folder: (folder / "8" / "00003.array_record").write_bytes(b"short"),
  ],
)
def test_a_damaged_shard_is_not_finished(tmp_path, damage):
  write(tmp_path)
  damage(tmp_path)
  assert shards.read_shard(tmp_path, 3) is None
  assert shards.read_shard(tmp_path, 4) is None  # was never there


@pytest.mark.parametrize(
  "drop", [("images", "phash"), ("images", "width"), ("bad", "why"), ("files",), ("images",)]
)
def test_facts_of_another_version_are_not_read(tmp_path, drop):
  write(tmp_path)
  path = tmp_path / "facts" / "00003.json"
  stored = json.loads(path.read_text())
  del (stored if len(drop) == 1 else stored[drop[0]][0])[drop[-1]]
  path.write_text(json.dumps(stored))
  assert shards.read_shard(tmp_path, 3) is None


@pytest.mark.parametrize(
  ("image", "captions"),
  [
    (np.zeros((4, 4, 3), np.float32), ("a",)),
    (np.zeros((4, 4), np.uint8), ("a",)),
    (np.zeros((4, 4, 4), np.uint8), ("a",)),
    (np.zeros((4, 4, 3), np.uint8), ()),
  ],
)
def test_malformed_records_are_refused(image, captions):
  with pytest.raises(ValueError, match="spoilt"):
    shards.encode_record(Record("spoilt", image, captions, {}))


def test_facts_of_a_generated_image():
  made = record(1, 6)
  wide = dataclasses.replace(made, image=np.repeat(made.image, 2, axis=1))
  assert shards.facts_of_generated(wide, "train") == Facts(
    image_id="1é.png",
    width=12,
    height=6,
    num_captions=2,
    split="train",
    sha256=hashlib.sha256(wide.image.tobytes()).hexdigest(),
    phash=perceptual_hash(wide.image),
  )


def test_a_folder_in_the_way_is_an_error_of_the_disk(tmp_path):
  (tmp_path / "8" / "00003.array_record").mkdir(parents=True)
  with pytest.raises(OSError, match="directory"):
    write(tmp_path)


@pytest.mark.parametrize("method", ["write", "close"])
def test_the_writers_errors_are_those_of_the_disk(tmp_path, monkeypatch, method):
  class Full:
    def __init__(self, *args):
      del args

    def write(self, data):
      del data

    def close(self):
      pass

  def full(self, *args):
    raise RuntimeError("write() failed:\nNo space left on device")

  monkeypatch.setattr(Full, method, full)
  monkeypatch.setattr(array_record_module, "ArrayRecordWriter", Full)
  with pytest.raises(OSError, match="failed: No space left"):
    write(tmp_path)
  monkeypatch.undo()
  write(tmp_path)
  assert shards.read_shard(tmp_path, 3) is not None
