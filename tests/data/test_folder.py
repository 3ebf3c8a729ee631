import dataclasses
import logging
import os
import tarfile

import numpy as np
import pytest
from PIL import Image

from jaxt2i import data
from jaxt2i.data.folder import Folder
from jaxt2i.errors import UserError


def make_folder(root, num, *, captions_each=2):
  """A folder of `num` photos and its caption file."""
  (root / "photos").mkdir(parents=True)
  rng = np.random.default_rng(0)
  lines = []
  for i in range(num):
    pixels = rng.integers(0, 256, (12, 20, 3), np.uint8)
    Image.fromarray(pixels).save(root / "photos" / f"{i:03}.jpg")
    lines += [f"{i:03}.jpg#{k}\tphoto {i} caption {k}" for k in range(captions_each)]
  (root / "captions.txt").write_text("\n".join(lines) + "\n")
  return Folder(16, str(root / "photos"), str(root / "captions.txt"))


def generate(folder):
  return {name: list(records) for name, records in folder.splits().items()}


def truncate(path):
  path.write_bytes(path.read_bytes()[:400])


def test_records(tmp_path):
  splits = generate(make_folder(tmp_path, 60))
  assert len(splits["train"]) + len(splits["val"]) == 60
  assert 1 <= len(splits["val"]) <= 14
  records = {record.image_id: record for rows in splits.values() for record in rows}
  assert len(records) == 60
  assert records["007.jpg"].captions == ("photo 7 caption 0", "photo 7 caption 1")
  image = records["007.jpg"].image
  assert image.shape == (16, 16, 3)
  assert (image[:3] == 0).all()
  assert image[3:13].std() > 10
  for rows in splits.values():
    assert [r.image_id for r in rows] == sorted(r.image_id for r in rows)


def test_a_photo_stays_in_its_split_when_others_come(tmp_path):
  few = {r.image_id for r in generate(make_folder(tmp_path / "a", 40))["val"]}
  many = {r.image_id for r in generate(make_folder(tmp_path / "b", 80))["val"]}
  assert few == {name for name in many if name < "040.jpg"}


@pytest.mark.parametrize(("num", "sizes"), [(1, (1, 0)), (2, (1, 1)), (3, (2, 1))])
def test_few_photos(tmp_path, num, sizes):
  splits = generate(make_folder(tmp_path, num))
  assert (len(splits["train"]), len(splits["val"])) == sizes


def test_missing_photos_are_named_and_left_out(tmp_path, caplog):
  folder = make_folder(tmp_path, 10)
  for i in (2, 5):
    (tmp_path / "photos" / f"00{i}.jpg").unlink()
  with (tmp_path / "captions.txt").open("a") as file:
    file.write(f"{'x' * 300}.jpg#0\ta name too long for the system\n")
  with caplog.at_level(logging.WARNING):
    splits = generate(folder)
  assert sum(map(len, splits.values())) == 8
  assert "5 captions of 3 photos" in caplog.text
  assert "002.jpg, 005.jpg" in caplog.text


def test_nothing_left(tmp_path):
  folder = make_folder(tmp_path, 2)
  for i in range(2):
    (tmp_path / "photos" / f"00{i}.jpg").unlink()
  with pytest.raises(UserError, match=r"none of the 2 photos.*000\.jpg"):
    folder.splits()


def test_one_bad_photo_in_a_hundred_is_left_out(tmp_path, caplog):
  folder = make_folder(tmp_path, 100)
  truncate(tmp_path / "photos" / "042.jpg")
  with caplog.at_level(logging.WARNING):
    splits = generate(folder)
  assert sum(map(len, splits.values())) == 99
  assert "042.jpg left out" in caplog.text


def test_more_bad_photos_stop_it_and_are_all_named(tmp_path):
  folder = make_folder(tmp_path, 100)
  for i in (3, 42, 99):
    truncate(tmp_path / "photos" / f"{i:03}.jpg")
  with pytest.raises(UserError, match=r"3 of 100.*003\.jpg, 042\.jpg, 099\.jpg") as caught:
    generate(folder)
  assert "\n" not in str(caught.value)


def test_missing_photos_do_not_count_as_bad(tmp_path):
  folder = make_folder(tmp_path, 120)
  for i in range(20):
    (tmp_path / "photos" / f"{i:03}.jpg").unlink()
  truncate(tmp_path / "photos" / "042.jpg")
  assert sum(map(len, generate(folder).values())) == 99


def test_photos_without_captions_are_not_used(tmp_path):
  folder = make_folder(tmp_path, 3)
  Image.new("RGB", (4, 4)).save(tmp_path / "photos" / "extra.jpg")
  assert sum(map(len, generate(folder).values())) == 3


def test_fingerprint_follows_the_content(tmp_path):
  folder = make_folder(tmp_path, 3)
  photo = tmp_path / "photos" / "001.jpg"
  fingerprints = [folder.fingerprint()]
  assert folder.fingerprint() == fingerprints[0]

  os.utime(photo, ns=(0, photo.stat().st_mtime_ns + 1_000_000))
  fingerprints.append(folder.fingerprint())
  with photo.open("ab") as file:
    file.write(b"x")
  fingerprints.append(folder.fingerprint())
  photo.unlink()
  fingerprints.append(folder.fingerprint())
  with (tmp_path / "captions.txt").open("a") as file:
    file.write("002.jpg#9\tone more\n")
  fingerprints.append(folder.fingerprint())
  fingerprints.append(dataclasses.replace(folder, image_size=32).fingerprint())
  assert len(set(fingerprints)) == 6


def test_changed_folder_is_prepared_anew(tmp_path, monkeypatch):
  monkeypatch.setenv("JAXT2I_CACHE", str(tmp_path / "cache"))
  options = dataclasses.asdict(make_folder(tmp_path, 20))
  before = data.load("train", name="folder", **options)
  with (tmp_path / "captions.txt").open("a") as file:
    file.write(f"{before[0].image_id}#9\tone more\n")
  after = data.load("train", name="folder", **options)
  assert "one more" not in before[0].captions
  assert after[0].captions == (*before[0].captions, "one more")


@pytest.mark.parametrize(
  ("option", "value", "message"),
  [
    ("image_size", 4, "image_size 4"),
    ("path", "nowhere", "'nowhere'"),
    ("path", "", "expected the name"),
    ("captions", "nowhere.txt", "'nowhere.txt'"),
  ],
)
def test_useless_options_are_refused(tmp_path, option, value, message):
  options = dataclasses.asdict(make_folder(tmp_path, 1))
  with pytest.raises(UserError, match=message):
    Folder(**{**options, option: value})


def extract(archive, directory, limit=None):
  """Copies the files of an archive, without its folders, into a directory."""
  directory.mkdir()
  with tarfile.open(archive) as tar:
    members = [member for member in tar if member.isfile()][:limit]
    for member in members:
      (directory / os.path.basename(member.name)).write_bytes(tar.extractfile(member).read())


def test_flickr8k(tmp_path, shared_data):
  if not (shared_data / "flickr8k").is_dir():
    pytest.skip("no Flickr8k beside this checkout")
  extract(shared_data / "flickr8k" / "flickr8k-dev.tar", tmp_path / "photos")
  captions = shared_data / "flickr8k" / "Flickr8k.token.txt"
  splits = generate(Folder(32, str(tmp_path / "photos"), str(captions)))
  records = [record for rows in splits.values() for record in rows]
  assert len(records) == 212
  assert sum(len(record.captions) for record in records) == 1060
  assert 10 <= len(splits["val"]) <= 35
  assert all(record.image.std() > 5 for record in records)


def test_ucm_captions_with_most_photos_missing(tmp_path, shared_data, caplog):
  if not (shared_data / "ucm-captions").is_dir():
    pytest.skip("no UCM-Captions beside this checkout")
  extract(shared_data / "ucm-captions" / "ucm-captions-train.tar", tmp_path / "photos", limit=200)
  captions = shared_data / "ucm-captions" / "ucm.token.train.txt"
  with caplog.at_level(logging.WARNING):
    splits = generate(Folder(32, str(tmp_path / "photos"), str(captions)))
  records = [record for rows in splits.values() for record in rows]
  assert len(records) == 200
  assert "1480 photos" in caplog.text
  assert all(1 <= len(record.captions) <= 5 for record in records)
  # Photos are square: no black bars.
  assert all(record.image[0].any() and record.image[:, 0].any() for record in records)
