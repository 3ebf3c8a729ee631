import concurrent.futures
import hashlib
import json
import os
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest
from array_record.python import array_record_module

from jaxt2i.data import prepared, split_files
from jaxt2i.data.records import Record
from jaxt2i.errors import UserError


def make_records(num, *, height=4, width=5, seed=0):
  rng = np.random.default_rng(seed)
  return [
    Record(
      f"{seed}-{i}.png",
      rng.integers(0, 256, (height, width, 3), np.uint8),
      (f"caption {i}", "corazón 心"),
      {"index": i, "nested": {"tone": "ä"}},
    )
    for i in range(num)
  ]


def write(directory, **splits):
  prepared.write(directory, splits, attribution="somebody", info={"name": "tiny"})


def open_split(directory, split, size=4):
  return prepared.PreparedSource(directory, split, image_size=size)


def assert_same(record, expected):
  assert record.image_id == expected.image_id
  assert record.captions == expected.captions
  assert record.attributes == expected.attributes
  assert record.image.dtype == np.uint8
  np.testing.assert_array_equal(record.image, expected.image)


def test_records_come_back_in_any_order(tmp_path):
  records = make_records(7)
  write(tmp_path / "data", train=records, val=[])
  source = open_split(tmp_path / "data", "train")
  assert len(source) == 7
  for index in (6, 0, 3, 3):
    assert_same(source[index], records[index])
  assert_same(source[np.int64(2)], records[2])
  assert source.attribution == "somebody"
  assert len(open_split(tmp_path / "data", "val")) == 0
  manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
  assert (manifest["images"], manifest["captions"], manifest["image_sizes"]) == (7, 14, [4])
  (shard,) = manifest["shards"]
  data = (tmp_path / "data" / "4" / "00000.array_record").read_bytes()
  described = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
  assert shard == {"images": 7, "files": {"4/00000.array_record": described}}
  stored = split_files.describe(tmp_path / "data", "compositional")
  assert stored["splits"]["train"]["captions"] == 14


@pytest.mark.parametrize("index", [-1, 7])
def test_index_out_of_range(tmp_path, index):
  write(tmp_path / "data", train=make_records(7))
  with pytest.raises(IndexError, match=str(index)):
    open_split(tmp_path / "data", "train")[index]


def test_source_travels_to_another_process_by_pickle(tmp_path):
  records = make_records(3)
  write(tmp_path / "data", train=records)
  source = open_split(tmp_path / "data", "train")
  assert_same(source[1], records[1])  # the reader is open now
  copy = pickle.loads(pickle.dumps(source))
  assert_same(copy[2], records[2])
  assert copy.fingerprint == source.fingerprint


def test_fingerprint_is_that_of_the_content(tmp_path):
  records = make_records(3)
  write(tmp_path / "a", train=records)
  write(tmp_path / "b", train=records)
  changed = make_records(3)
  changed[1].image[0, 0, 0] ^= 1
  write(tmp_path / "c", train=changed)
  a, b, c = (open_split(tmp_path / name, "train").fingerprint for name in "abc")
  assert a == b
  assert a != c


def test_unknown_split_names_the_legal_ones(tmp_path):
  write(tmp_path / "data", train=make_records(1), val=make_records(1))
  with pytest.raises(UserError, match=r"'test'.*train, val"):
    open_split(tmp_path / "data", "test")


def test_failure_halfway_leaves_nothing(tmp_path):
  def records():
    yield from make_records(3)
    raise UserError("the third photo is bad")

  with pytest.raises(UserError, match="third"):
    write(tmp_path / "data", train=records())
  assert list(tmp_path.iterdir()) == []


def test_killed_halfway_leaves_nothing_that_looks_complete(tmp_path):
  program = f"""
import os, pathlib, signal
import numpy as np
from jaxt2i.data import prepared
from jaxt2i.data.records import Record
def records():
  for i in range(50):
    yield Record(str(i), np.zeros((64, 64, 3), np.uint8), ("a",), {{}})
  os.kill(os.getpid(), signal.SIGKILL)
path = pathlib.Path({str(tmp_path / "data")!r})
prepared.write(path, {{"train": records()}}, attribution="", info={{}})
"""
  assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
  (leftover,) = tmp_path.iterdir()
  assert not (tmp_path / "data").exists()
  assert not prepared.is_complete(leftover)
  # The next one works, and removes the leftover once it is certainly dead.
  write(tmp_path / "data", train=make_records(2))
  assert leftover.exists()
  os.utime(leftover, (time.time() - 30 * 3600,) * 2)
  write(tmp_path / "data", train=make_records(2))
  assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.fixture
def many_shards(monkeypatch, tmp_path):
  """Splits of five, none, four and one, in shards of three."""
  monkeypatch.setattr(prepared, "_SHARD_RECORDS", 3)
  splits = {"train": make_records(5), "none": [], "val": make_records(4, seed=1)}
  write(tmp_path / "data", **splits, test=iter(make_records(1, seed=2)))
  return [*splits["train"], *splits["val"], *make_records(1, seed=2)]


def test_splits_lie_in_many_shards(many_shards, tmp_path):
  rows = prepared.Rows(tmp_path / "data", 4)
  assert [shard["images"] for shard in rows.manifest["shards"]] == [3, 2, 3, 1, 1]
  assert len(rows) == 10
  for found, expected in zip(rows, many_shards, strict=True):
    assert_same(found, expected)
  starts = {"train": range(5), "none": range(0), "val": range(5, 9), "test": range(9, 10)}
  for name, members in starts.items():
    source = open_split(tmp_path / "data", name)
    assert len(source) == len(members)
    for index, row in enumerate(members):
      assert_same(source[index], many_shards[row])
  facts = prepared.read_facts(tmp_path / "data")
  assert [f.image_id for f in facts] == [record.image_id for record in many_shards]
  assert [f.split for f in facts] == ["train"] * 5 + ["val"] * 4 + ["test"]


def test_threads_may_share_the_data(many_shards, tmp_path):
  rows = prepared.Rows(tmp_path / "data", 4)
  order = np.random.default_rng(0).integers(0, 10, 400).tolist()
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    for index, record in zip(order, pool.map(rows.__getitem__, order), strict=True):
      assert_same(record, many_shards[index])


def test_a_size_that_is_not_there(tmp_path):
  write(tmp_path / "data", train=make_records(1))
  with pytest.raises(UserError, match="not prepared at image_size 64; it has 4"):
    open_split(tmp_path / "data", "train", 64)


def test_whoever_finishes_first_wins(tmp_path):
  write(tmp_path / "data", train=make_records(2, seed=1))
  before = open_split(tmp_path / "data", "train").fingerprint
  write(tmp_path / "data", train=make_records(2, seed=2))
  assert open_split(tmp_path / "data", "train").fingerprint == before
  assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_folder_that_cannot_be_made(tmp_path):
  (tmp_path / "file").write_text("in the way")
  with pytest.raises(UserError, match="JAXT2I_CACHE"):
    write(tmp_path / "file" / "data", train=make_records(1))


def test_full_disk_is_the_users_to_mend(tmp_path, monkeypatch):
  class Full:
    def __init__(self, *args):
      del args

    def write(self, data):
      del data

    def close(self):
      raise RuntimeError("write() failed:\nNo space left on device")

  monkeypatch.setattr(array_record_module, "ArrayRecordWriter", Full)
  with pytest.raises(UserError, match="No space left") as caught:
    write(tmp_path / "data", train=make_records(1))
  assert "\n" not in str(caught.value)
  assert list(tmp_path.iterdir()) == []


def test_damage_is_noticed(tmp_path):
  write(tmp_path / "data", train=make_records(40, height=32, width=32))
  assert prepared.is_complete(tmp_path / "data")
  path = tmp_path / "data" / "32" / "00000.array_record"
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 0xFF
  path.write_bytes(data)
  source = open_split(tmp_path / "data", "train", 32)
  with pytest.raises(UserError, match="damaged"):
    [source[i] for i in range(40)]
  path.write_bytes(data[:-1])
  assert not prepared.is_complete(tmp_path / "data")


def test_facts_that_lack_an_image_are_noticed(tmp_path):
  write(tmp_path / "data", train=make_records(3))
  assert len(prepared.read_facts(tmp_path / "data")) == 3
  path = tmp_path / "data" / "facts" / "00000.json"
  stored = json.loads(path.read_text())
  stored["images"].pop()
  path.write_text(json.dumps(stored))
  with pytest.raises(UserError, match=r"shard 0 of .* is damaged"):
    prepared.read_facts(tmp_path / "data")


def test_a_missing_file_is_noticed(tmp_path):
  write(tmp_path / "data", train=make_records(3))
  (tmp_path / "data" / "4" / "00000.array_record").unlink()
  assert not prepared.is_complete(tmp_path / "data")
  with pytest.raises(UserError, match="damaged"):
    open_split(tmp_path / "data", "train")[0]
  with pytest.raises(UserError, match=r"shard 0 of .* is damaged"):
    prepared.read_facts(tmp_path / "data")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 0}', '{"format": 1', "\xff"])
def test_damaged_manifest(tmp_path, text):
  write(tmp_path / "data", train=make_records(1))
  (tmp_path / "data" / "manifest.json").write_text(text, encoding="latin-1")
  assert not prepared.is_complete(tmp_path / "data")
  with pytest.raises(UserError, match=r"no usable prepared data in .*prepare it"):
    open_split(tmp_path / "data", "train")
