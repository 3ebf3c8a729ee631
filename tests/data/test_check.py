"""Checks of prepared data: each thing that can be wrong, and what is not."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import ImageEnhance

from jaxt2i.data import prepared, preparing, split_files, splits
from jaxt2i.data.check import Finding, Report, check
from jaxt2i.errors import UserError
from tests.photos import encoded, entries, entry, photo, prepared_photos

UNDIVIDED = Finding("error", "there are no splits: make them by jaxt2i data split", None)


@pytest.fixture
def photos(tmp_path):
  (tmp_path / "photos").mkdir()
  return tmp_path / "photos"


def findings(directory) -> tuple[Finding, ...]:
  """All but that there are no splits, where a test is about something else."""
  return tuple(f for f in check(directory).findings if f != UNDIVIDED)


def found(directory) -> list[tuple[str, str, int | None]]:
  return [(f.level, f.what, f.count) for f in findings(directory)]


def save(directory, protocol="image", **rows):
  facts = prepared.read_facts(directory)
  captions = np.asarray([f.num_captions for f in facts], np.int64)
  arrays = {name: np.asarray(members, np.int64) for name, members in rows.items()}
  split_files.save(directory, protocol, arrays, captions=captions)


def test_sound_data_has_nothing_to_tell(tmp_path, photos):
  out = prepared_photos(tmp_path, entries(photos, 20))
  splits.make(out, "image")
  report = check(out)
  assert report.findings == ()
  assert report.sound
  stored = split_files.describe(out, "image")["splits"]
  described = {
    f"image: {name}": f"{entry['images']} images, {entry['captions']} captions"
    for name, entry in stored.items()
  }
  assert report.counts == {"images": 20, "captions": 60, "image sizes": "16", **described}
  assert list(report.lines())[-1] == "sound: training on it is fine"


def test_orphans_and_what_else_was_left_out(tmp_path, photos):
  out = prepared_photos(
    tmp_path,
    entries(photos, 3),
    missing={"a.jpg": 2, "b.jpg": 5},
    uncaptioned=["c.jpg"],
    dropped={"empty": 4, "repeated": 1},
  )
  assert found(out) == [
    ("warning", "photos are named by 7 captions but absent; left out", 2),
    ("warning", "images without a caption; left out", 1),
    ("warning", "captions or files left out: empty", 4),
    ("warning", "captions or files left out: repeated", 1),
  ]
  assert [f.names for f in findings(out)] == [("a.jpg", "b.jpg"), ("c.jpg",), (), ()]
  assert not check(out).sound  # undivided
  splits.make(out, "image")
  assert check(out).sound


@pytest.mark.parametrize(("good", "level"), [(98, "error"), (99, "warning")])
def test_one_unreadable_image_in_a_hundred_is_allowed(tmp_path, photos, good, level):
  given = [*entries(photos, good), entry(photos / "spoilt.jpg", b"<html>")]
  out = prepared_photos(tmp_path, given, size=8)
  splits.make(out, "image")
  report = check(out)
  (finding,) = report.findings
  assert (finding.level, finding.what, finding.count) == (level, "unreadable images left out", 1)
  assert finding.names[0].startswith("spoilt.jpg (no image of a known format")
  assert report.sound == (level == "warning")


def test_no_images(tmp_path):
  prepared.write(tmp_path / "data", {"train": []}, attribution="", info={})
  assert found(tmp_path / "data") == [("error", "there are no images to train on", None)]


def with_duplicates(photos):
  """Three photos, one copied twice and one brightened."""
  brighter = ImageEnhance.Brightness(photo(1)).enhance(1.03)
  files = {"a.png": photo(0), "b.png": photo(1), "c.png": photo(2), "d.png": brighter}
  given = [entry(photos / name, encoded(image)) for name, image in files.items()]
  return [*given, *(entry(photos / name, encoded(photo(0))) for name in ("e.png", "f.png"))]


def test_duplicates(tmp_path, photos):
  out = prepared_photos(tmp_path, with_duplicates(photos))
  assert findings(out) == (
    Finding(
      "warning", "groups of images that are equal byte for byte", 1, ("a.png = e.png = f.png",)
    ),
    Finding(
      "warning",
      "groups of images that are nearly equal (those included)",
      2,
      ("a.png ≈ e.png ≈ f.png", "b.png ≈ d.png"),
    ),
  )


SAME = "images are in two splits of 'image'"
ALIKE = "groups of near-duplicates are in two splits of 'image'"


def test_leaks_between_splits(tmp_path, photos):
  out = prepared_photos(tmp_path, with_duplicates(photos))
  save(out, train=[0, 1, 2], val=[3], test=[4, 5])
  report = check(out)
  assert report.findings[:2] == (
    Finding("error", SAME, 1, ("e.png in test / a.png in train",)),
    Finding("error", ALIKE, 2, ("e.png in test / a.png in train", "b.png in train / d.png in val")),
  )
  assert [f.level for f in report.findings] == ["error", "error", "warning", "warning"]
  assert not report.sound
  assert list(report.lines())[-1] == "NOT SOUND: see the errors above"
  save(out, train=[0, 1, 2, 3, 4], val=[5], test=[5])  # the very same image
  assert ("error", SAME, 1) in found(out)
  save(out, train=[0, 4, 5, 2], val=[1, 3])
  assert {level for level, _, _ in found(out)} == {"warning"}
  splits.make(out, "image")
  assert check(out).sound


def test_drawings_may_resemble_each_other(tmp_path, photos):
  out = prepared_photos(tmp_path, with_duplicates(photos))
  save(out, "compositional", train=[0, 4, 5, 1], val=[2], test=[3])
  report = check(out)
  what = ALIKE.replace("image'", "compositional'")
  assert Finding("warning", what, 1, ("d.png in test / b.png in train",)) in report.findings
  assert report.sound
  save(out, "compositional", train=[0, 5, 1], val=[2], test=[3, 4])
  assert not check(out).sound  # equal bytes are a leak everywhere


def test_splits_without_images(tmp_path, photos):
  out = prepared_photos(tmp_path, entries(photos, 3))
  save(out, train=[], val=[], test=[0, 1, 2])
  assert found(out) == [
    ("error", "no images are in the split 'train' of 'image'", None),
    ("error", "no images are in the split 'val' of 'image'", None),
  ]
  save(out, train=[0, 1], val=[2])
  assert found(out) == [("warning", "no images are in the split 'test' of 'image'", None)]


def test_captions_in_two_splits(tmp_path, photos):
  out = prepared_photos(tmp_path, entries(photos, 3))
  captions = [record.captions for record in prepared.Rows(out, 16)]
  assert len(captions[0]) == 3
  save(out, "caption", train=[[0, 0], [1, 0]], val=[[2, 0]], test=[[0, 1], [1, 0]])
  (finding,) = findings(out)
  assert (finding.level, finding.count) == ("error", 1)
  assert finding.what == "captions are in two splits of 'caption'"
  assert finding.names[0].startswith("0001.jpg in test / 0001.jpg in train")


def test_files_that_were_not_read(tmp_path, photos):
  out = prepared_photos(tmp_path, entries(photos, 3), refused=["'x.tar.gz': compressed"])
  assert found(out) == [("warning", "files were not read", 1)]


def test_images_in_no_split(tmp_path, photos):
  names = ["train", "val", "test", ""]
  given = [entry(photos / f"{i}.png", encoded(photo(i)), split=n) for i, n in enumerate(names)]
  out = prepared_photos(tmp_path, given)
  splits.make(out, "image")
  assert found(out) == [
    ("warning", "images are in no split of 'image': in none of the official lists", 1)
  ]


def test_shared_images_are_said_and_are_no_leak(tmp_path, photos):
  out = prepared_photos(tmp_path, entries(photos, 20))
  splits.make(out, "caption")
  assert found(out) == [("note", f"protocol 'caption': {splits.SHARED_IMAGES}", None)]
  assert check(out).sound


def test_long_captions_and_wrong_encodings(tmp_path, photos):
  captions = {
    "a.png": ["x" * 1000, "naïve café, 10 €, “so”, São Paulo, SÃO, Ã, 心, 😀"],
    "b.png": ["y" * 1001, "a dog"],
    "c.png": ["a cafÃ©", "it was â€œgoodâ€\x9d"],
    "d.png": ["caf\N{REPLACEMENT CHARACTER}"],
  }
  for text in ("eine Straße", "20 °C", "il était"):
    captions["c.png"] += [text, text.encode().decode("cp1252")]
  given = [
    entry(photos / name, encoded(photo(i)), *texts)
    for i, (name, texts) in enumerate(captions.items())
  ]
  long, garbled = findings(prepared_photos(tmp_path, given))
  assert long == Finding(
    "warning", "captions of more than 1,000 characters", 1, ("b.png (1,001 characters)",)
  )
  assert (garbled.level, garbled.count) == ("warning", 6)
  assert garbled.what == "captions that were probably read in a wrong encoding"
  assert [name.split()[0] for name in garbled.names] == ["c.png"] * 5 + ["d.png"]


@pytest.mark.parametrize("captions", [("",), ("a dog", " ")])
def test_images_without_captions(tmp_path, photos, captions):
  # `prepare` leaves empty captions out: what others have prepared may hold some.
  first, second = (entry(photos / name, encoded(photo(i))) for i, name in enumerate(("a", "b")))
  lacking = dataclasses.replace(second, captions=captions)
  (finding,) = findings(prepared_photos(tmp_path, [first, lacking]))
  assert finding == Finding("error", "images have no caption, or an empty one", 1, ("b",))


@pytest.mark.parametrize("protocols", [(), ("image", "caption")])
def test_a_flipped_bit(tmp_path, photos, protocols):
  out = prepared_photos(tmp_path, entries(photos, 20))
  for protocol in protocols:
    splits.make(out, protocol)
  path = out / "16" / "00000.array_record"
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)
  report = check(out)
  damaged = Finding("error", "files are damaged or missing; prepare anew", 1, (f"16/{path.name}",))
  assert report.findings == (damaged,)
  assert not report.sound
  path.unlink()
  assert check(out).findings == (damaged,)


def test_every_damaged_file_is_named(tmp_path, photos, monkeypatch):
  monkeypatch.setattr(preparing, "_SHARD_IMAGES", 2)
  out = prepared_photos(tmp_path, entries(photos, 7))
  for number in (0, 3):
    (out / "16" / f"0000{number}.array_record").write_bytes(b"")
  (finding,) = check(out).findings
  assert finding.names == ("16/00000.array_record", "16/00003.array_record")


@pytest.mark.parametrize("name", ["manifest.json", "facts/00000.json", "splits/image/train.npy"])
def test_what_describes_the_data_is_damaged(tmp_path, photos, name):
  out = prepared_photos(tmp_path, entries(photos, 5))
  splits.make(out, "image")
  (out / name).write_bytes((out / name).read_bytes()[:-4])
  with pytest.raises(UserError) as caught:
    check(out)
  assert str(out) in str(caught.value)
  assert "\n" not in str(caught.value)


def test_the_text_names_some_and_json_all():
  names = tuple(f"{i}.jpg" for i in range(1007))
  findings = (
    Finding("error", "unreadable images left out", 1007, names),
    Finding("warning", "captions or files left out: empty", 4),
    Finding("note", "protocol 'caption': shared", None),
  )
  report = Report({"images": 12345, "image sizes": "16"}, findings)
  assert list(report.lines()) == [
    "images       12,345",
    "image sizes  16",
    "error: 1,007 unreadable images left out: 0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg and 1,002 more",
    "warning: 4 captions or files left out: empty",
    "note: protocol 'caption': shared",
    "NOT SOUND: see the errors above",
  ]
  stored = json.loads(json.dumps(report.json()))
  assert stored["sound"] is False
  assert stored["counts"] == {"images": 12345, "image sizes": "16"}
  assert stored["findings"][0]["names"] == list(names)
  assert [f["level"] for f in stored["findings"]] == ["error", "warning", "note"]
