"""Splits on disk: what comes back, and what a damaged or a missing one says."""

import hashlib
import json

import numpy as np
import pytest

from jaxt2i.data import split_files
from jaxt2i.data.records import Record
from jaxt2i.errors import UserError

CAPTIONS = np.asarray([2, 3, 1, 4], np.int64)
RECORDS = [
  Record(f"{row}", np.zeros((2, 2, 3), np.uint8), tuple(f"{row}-{k}" for k in range(count)), {})
  for row, count in enumerate(CAPTIONS)
]


@pytest.fixture(autouse=True)
def manifest(tmp_path):
  """Of the images that are split; its content means nothing here."""
  path = tmp_path / "manifest.json"
  path.write_text("{}")
  return path


def rows(*values: int) -> np.ndarray:
  return np.asarray(values, np.int64)


def save(directory, protocol="image", *, train=(3, 0, 1), test=(2,), **options):
  splits = {"train": rows(*train), "test": rows(*test)}
  return split_files.save(directory, protocol, splits, captions=CAPTIONS, **options)


def chosen(selection) -> list[tuple[str, tuple[str, ...]]]:
  found = [selection.of(i, RECORDS) for i in range(len(selection))]
  return [(record.image_id, record.captions) for record in found]


def test_rows_come_back_with_all_their_captions(tmp_path):
  stored = save(tmp_path, left_out={"too dark": 7})
  assert stored == split_files.describe(tmp_path, "image")
  assert stored["left_out"] == {"too dark": 7}
  assert stored["protocol"] == "image"
  counts = {name: (s["images"], s["captions"]) for name, s in stored["splits"].items()}
  assert counts == {"train": (3, 9), "test": (1, 1)}
  train = split_files.load(tmp_path, "image", "train")
  assert train.rows.tolist() == [3, 0, 1]
  assert train.note == ""
  assert chosen(train) == [
    ("3", ("3-0", "3-1", "3-2", "3-3")),
    ("0", ("0-0", "0-1")),
    ("1", ("1-0", "1-1", "1-2")),
  ]


def test_pairs_come_back_with_some_captions(tmp_path):
  pairs = np.asarray([[0, 1], [1, 0], [1, 2], [3, 3]], np.int64)
  splits = {"train": pairs, "val": pairs[:0]}
  stored = split_files.save(tmp_path, "caption", splits, captions=CAPTIONS, note="shared")
  counts = {name: (s["images"], s["captions"]) for name, s in stored["splits"].items()}
  assert counts == {"train": (3, 4), "val": (0, 0)}
  train = split_files.load(tmp_path, "caption", "train")
  assert (len(train), train.note) == (3, "shared")
  assert chosen(train) == [("0", ("0-1",)), ("1", ("1-0", "1-2")), ("3", ("3-3",))]
  assert chosen(split_files.load(tmp_path, "caption", "val")) == []


def test_the_hash_is_that_of_the_file_and_so_is_the_fingerprint(tmp_path):
  stored = save(tmp_path)
  data = (tmp_path / "splits" / "image" / "train.npy").read_bytes()
  assert stored["splits"]["train"]["sha256"] == hashlib.sha256(data).hexdigest()
  train = split_files.load(tmp_path, "image", "train")
  fingerprints = {
    train.fingerprint(["a", "b"]),
    train.fingerprint(["a", "c"]),
    split_files.load(tmp_path, "image", "test").fingerprint(["a", "b"]),
  }
  assert len(fingerprints) == 3
  save(tmp_path, "kfold:0/5")
  same = split_files.load(tmp_path, "kfold:0/5", "train")
  assert same.fingerprint(["a", "b"]) == train.fingerprint(["a", "b"])


def test_a_second_split_by_a_protocol_replaces_the_first(tmp_path):
  save(tmp_path, train=[0])
  (tmp_path / "splits" / "image" / "val.npy").touch()
  save(tmp_path, train=[1, 2])
  assert split_files.load(tmp_path, "image", "train").rows.tolist() == [1, 2]
  found = sorted(path.name for path in (tmp_path / "splits").rglob("*"))
  assert found == ["image", "split.json", "test.npy", "train.npy"]


def test_protocols_are_listed_by_their_names(tmp_path):
  assert split_files.protocols(tmp_path) == []
  for name in ("image", "kfold:3/10", "caption", "compositional"):
    save(tmp_path, name)
    assert split_files.describe(tmp_path, name)["protocol"] == name
  assert sorted(split_files.protocols(tmp_path)) == [
    "caption",
    "compositional",
    "image",
    "kfold:3/10",
  ]


def test_killed_while_it_was_written(tmp_path):
  save(tmp_path)
  folder = tmp_path / "splits"
  (folder / "image").rename(folder / "image.partial")
  assert split_files.protocols(tmp_path) == []
  with pytest.raises(UserError, match="only by none"):
    split_files.describe(tmp_path, "image")
  save(tmp_path, train=[1])
  assert [path.name for path in folder.iterdir()] == ["image"]
  assert split_files.load(tmp_path, "image", "train").rows.tolist() == [1]


def test_splits_of_other_images_are_refused(tmp_path, manifest):
  save(tmp_path)
  assert split_files.is_current(tmp_path, "image")
  manifest.write_text('{"images": 1}')
  assert not split_files.is_current(tmp_path, "image")
  with pytest.raises(UserError, match=r"it is of other images\); delete its folder and split anew"):
    split_files.load(tmp_path, "image", "train")


def test_an_unknown_protocol_or_split_names_the_known_ones(tmp_path):
  save(tmp_path, "caption")
  save(tmp_path, "kfold:0/5")
  with pytest.raises(UserError, match=r"'image', only by caption, kfold:0/5; make them: .*image$"):
    split_files.load(tmp_path, "image", "train")
  with pytest.raises(UserError, match=r"'tran' does not exist; did you mean 'train'"):
    split_files.load(tmp_path, "caption", "tran")
  with pytest.raises(UserError, match=r"no splits by the protocol '\.\./\.\.'"):
    split_files.load(tmp_path, "../..", "train")


@pytest.mark.parametrize(
  ("name", "damage"),
  [
    ("train.npy", lambda data: data[:-1]),
    ("train.npy", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
    ("train.npy", lambda data: b""),
    ("train.npy", None),
    ("split.json", lambda data: data[:-5]),
    ("split.json", lambda data: b"\xff"),
  ],
)
def test_damage_is_named(tmp_path, name, damage):
  save(tmp_path)
  path = tmp_path / "splits" / "image" / name
  if damage is None:
    path.unlink()
  else:
    path.write_bytes(damage(path.read_bytes()))
  with pytest.raises(UserError, match=f"{name} is damaged .*split anew") as caught:
    split_files.load(tmp_path, "image", "train")
  assert "\n" not in str(caught.value)
  assert split_files.protocols(tmp_path) == ["image"]  # so a check comes across it


def test_a_split_with_objects_in_it_is_not_unpickled(tmp_path):
  save(tmp_path)
  folder = tmp_path / "splits" / "image"
  np.save(folder / "train.npy", np.asarray([{"a": 1}], object), allow_pickle=True)
  stored = json.loads((folder / "split.json").read_text())
  digest = hashlib.sha256((folder / "train.npy").read_bytes()).hexdigest()
  stored["splits"]["train"]["sha256"] = digest
  (folder / "split.json").write_text(json.dumps(stored))
  with pytest.raises(UserError, match=r"damaged .*allow_pickle"):
    split_files.load(tmp_path, "image", "train")
