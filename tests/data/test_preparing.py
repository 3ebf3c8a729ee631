"""Preparing, in this process: what is stored, what is skipped, what is refused or begun again."""

import dataclasses
import hashlib
import json
import logging
import os

import numpy as np
import pytest
from PIL import Image

from jaxt2i.data import prepared, preparing, shards
from jaxt2i.data.duplicates import perceptual_hash
from jaxt2i.data.files import FileBlob
from jaxt2i.data.listing import Entry, Listing
from jaxt2i.data.shards import Facts
from jaxt2i.errors import UsageError, UserError
from tests.photos import digests, encoded, entries, entry, photo, prepare_here, prepared_photos

OPTIONS = preparing.Options((16,), max_bad=1.0)


def test_values(tmp_path):
  pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
  data = encoded(Image.fromarray(pixels))
  listing = Listing.of(
    [
      entry(tmp_path / "b.png", data, "one", "zwei", split="test"),
      entry(tmp_path / "a.png", encoded(Image.new("RGB", (40, 20), "red")), "a red bar"),
    ],
    missing={"c.png": 3},
    uncaptioned=["d.png"],
    dropped={"empty": 2},
  )
  out = prepare_here(listing, tmp_path / "out", preparing.Options((64, 16)), name="mine")
  large, small = (prepared.Rows(out, size) for size in (64, 16))
  for rows in (large, small):
    assert [record.image_id for record in rows] == ["a.png", "b.png"]
    assert [record.captions for record in rows] == [("a red bar",), ("one", "zwei")]
    assert rows[1].attributes == {"name": "b"}
  np.testing.assert_array_equal(large[1].image, pixels)
  assert abs(small[1].image - pixels.reshape(16, 4, 16, 4, 3).mean((1, 3))).max() <= 1
  assert (large[0].image[16:48] == (255, 0, 0)).all()
  assert large[0].image.sum() == 255 * 64 * 32
  digest = hashlib.sha256(data).hexdigest()
  facts = Facts("b.png", 64, 64, 2, "test", digest, perceptual_hash(small[1].image))
  assert prepared.read_facts(out)[1] == facts
  manifest = large.manifest
  assert manifest["info"] == {"name": "mine", "fit": "letterbox"}
  assert (manifest["images"], manifest["captions"], manifest["image_sizes"]) == (2, 3, [16, 64])
  assert manifest["left_out"] == {
    "missing": {"c.png": 3},
    "uncaptioned": ["d.png"],
    "captions_dropped": {"empty": 2},
    "refused": [],
    "bad": [],
  }


def unusual() -> dict[str, tuple[bytes, tuple[int, int]]]:
  """Odd but good files, with width and height as they are to be seen."""
  turned = Image.Exif()
  turned[0x0112] = 6
  deep = np.arange(48 * 36, dtype=np.uint16).reshape(36, 48) * 32
  return {
    "grey.jpg": (encoded(photo(1).convert("L"), "JPEG"), (48, 36)),
    "cmyk.jpg": (encoded(photo(2).convert("CMYK"), "JPEG"), (48, 36)),
    "rgba.png": (encoded(photo(3).convert("RGBA")), (48, 36)),
    "16bit.png": (encoded(Image.fromarray(deep)), (48, 36)),
    "turned.jpg": (encoded(photo(4), "JPEG", exif=turned), (36, 48)),
    "1x1.png": (encoded(photo(5, 1, 1)), (1, 1)),
    "png.jpg": (encoded(photo(6)), (48, 36)),  # the name does not matter
  }


SPOILT = {
  "truncated.jpg": (encoded(photo(0, 200, 200), "JPEG")[:1500], "truncated"),
  "empty.jpg": (b"", "empty file"),
  "page.jpg": (b"<!DOCTYPE html>\n<p>404", "no image of a known format"),
}


def test_odd_images_are_prepared_and_spoilt_ones_counted(tmp_path):
  files = {**{name: data for name, (data, _) in unusual().items()}}
  files |= {name: data for name, (data, _) in SPOILT.items()}
  given = [entry(tmp_path / name, data) for name, data in files.items()]
  given.append(Entry("gone.jpg", FileBlob(str(tmp_path / "gone.jpg")), ("gone",)))
  out = prepared_photos(tmp_path, given)
  manifest = prepared.read_manifest(out)
  why = {bad["image_id"]: bad["why"] for bad in manifest["left_out"]["bad"]}
  assert why.keys() == {*SPOILT, "gone.jpg"}
  assert all(part in why[name] for name, (_, part) in SPOILT.items())
  assert "No such file" in why["gone.jpg"]
  facts = {f.image_id: (f.width, f.height) for f in prepared.read_facts(out)}
  assert facts == {name: size for name, (_, size) in unusual().items()}
  for record in prepared.Rows(out, 16):
    assert len(record.captions) == 3
    assert record.image.max() > 60


def test_too_many_spoilt_images_are_named(tmp_path):
  given = entries(tmp_path / "photos", 5)
  given += [entry(tmp_path / name, data) for name, (data, _) in SPOILT.items()]
  listing = Listing.of(given)
  for allowed, refused in ((0.01, True), (0.37, True), (0.375, False)):
    options = preparing.Options((16,), max_bad=allowed)
    out = tmp_path / str(allowed)
    if not refused:
      prepare_here(listing, out, options)
      assert prepared.read_manifest(out)["images"] == 5
      continue
    with pytest.raises(UserError, match="3 of the 8 images cannot be decoded") as caught:
      prepare_here(listing, out, options)
    assert all(f"{name} (" in str(caught.value) for name in SPOILT)
    assert "--max_bad" in str(caught.value)
    assert not (out / "manifest.json").exists()


def test_a_long_list_of_spoilt_images_is_cut(tmp_path):
  bad = [shards.Bad(f"{i}.jpg", "empty file") for i in range(30)]
  with pytest.raises(UserError, match=r"0\.jpg.* 19\.jpg \(empty file\) and 10 more; repair"):
    preparing.check_bad(bad, 100, preparing.Options(max_bad=0.29))
  preparing.check_bad(bad, 100, preparing.Options(max_bad=0.3))


def test_nothing_but_spoilt_images(tmp_path):
  with pytest.raises(UserError, match="none of the images can be decoded"):
    prepared_photos(tmp_path, [entry(tmp_path / "a.jpg", b"")])


def test_shards_are_cut_evenly_and_are_never_too_many(tmp_path, monkeypatch):
  def sizes():
    tasks = preparing.begin(listing, tmp_path / "out", OPTIONS, info={})
    assert [task.number for task in tasks] == list(range(len(tasks)))
    assert sum((task.entries for task in tasks), ()) == listing.entries
    return [len(task.entries) for task in tasks]

  listing = Listing.of(entries(tmp_path / "photos", 10))
  assert sizes() == [10]
  monkeypatch.setattr(preparing, "_SHARD_IMAGES", 4)
  assert sizes() == [4, 4, 2]
  monkeypatch.setattr(preparing, "_MAX_SHARDS", 2)
  assert sizes() == [5, 5]


def test_other_files_in_the_way(tmp_path):
  listing = Listing.of(entries(tmp_path / "photos", 2))
  (tmp_path / "out").mkdir()
  (tmp_path / "out" / "thesis.tex").write_text("years of work")
  with pytest.raises(UserError, match="has other files in it: choose another --out"):
    prepare_here(listing, tmp_path / "out", OPTIONS)
  with pytest.raises(UserError, match=r"cannot prepare data in .*thesis"):
    prepare_here(listing, tmp_path / "out" / "thesis.tex", OPTIONS)
  assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"


def test_killed_before_the_plan_was_written(tmp_path):
  given = entries(tmp_path / "photos", 2)
  (tmp_path / "out").mkdir()
  (tmp_path / "out" / "plan.json.partial").write_text('{"finger')
  (tmp_path / "out" / "lock").write_text("")
  prepared_photos(tmp_path, given)
  assert "plan.json.partial" not in digests(tmp_path / "out")


@pytest.mark.parametrize("plan", ["", "{}", "[]", "3", '{"fingerprint": '])
def test_a_plan_that_is_none(tmp_path, plan):
  (tmp_path / "out").mkdir()
  (tmp_path / "out" / "plan.json").write_text(plan)
  with pytest.raises(UserError, match="cannot prepare data in"):
    prepare_here(Listing.of(entries(tmp_path / "photos", 1)), tmp_path / "out", OPTIONS)


def retold(given, **changes):
  return [dataclasses.replace(given[0], **changes), *given[1:]], OPTIONS


def touched(given):
  os.utime(given[0].blob.path, (10**9, 10**9))
  return given, OPTIONS


# What makes other data of three photos.
CHANGES = {
  "fit": lambda given: (given, preparing.Options((16,), "crop", 1.0)),
  "sizes": lambda given: (given, preparing.Options((16, 8), max_bad=1.0)),
  "fewer photos": lambda given: (given[1:], OPTIONS),
  "a name": lambda given: retold(given, image_id="zz.png"),
  "captions": lambda given: retold(given, captions=("other words",)),
  "attributes": lambda given: retold(given, attributes={"name": "x"}),
  "an official split": lambda given: retold(given, split="val"),
  "a photo": touched,
}


@pytest.mark.parametrize("change", CHANGES)
def test_finished_data_of_another_plan_is_never_replaced(tmp_path, change):
  given = entries(tmp_path / "photos", 3)
  out = prepared_photos(tmp_path, given)
  before = digests(out)
  others, options = CHANGES[change](given)
  with pytest.raises(UserError, match="was prepared from other images, captions or options"):
    preparing.begin(Listing.of(others), out, options, info={})
  assert digests(out) == before


@pytest.mark.parametrize("change", CHANGES)
def test_unfinished_data_of_another_plan_is_replaced(tmp_path, caplog, change):
  given = entries(tmp_path / "photos", 3)
  (task,) = preparing.begin(Listing.of(given), tmp_path / "out", OPTIONS, info={})
  preparing.make_shard(task)
  others, options = CHANGES[change](given)
  with caplog.at_level(logging.INFO):
    (task,) = preparing.begin(Listing.of(others), tmp_path / "out", options, info={})
  assert "have changed: starting anew" in caplog.text
  assert list(digests(tmp_path / "out")) == ["plan.json"]
  assert shards.read_shard(tmp_path / "out", 0) is None


def test_the_same_plan_goes_on(tmp_path, caplog):
  given = entries(tmp_path / "photos", 3)
  out = prepared_photos(tmp_path, given)
  before = digests(out)
  more_allowed = preparing.Options((16,), max_bad=0.5)
  with caplog.at_level(logging.INFO):
    (task,) = preparing.begin(Listing.of(reversed(given)), out, more_allowed, info={})
  assert caplog.text == ""
  assert digests(out) == before
  assert preparing.make_shard(task) == shards.read_shard(out, 0)
  assert digests(out) == before


def test_a_photo_that_goes_after_it_was_listed_is_a_spoilt_one(tmp_path):
  given = entries(tmp_path / "photos", 3)
  os.unlink(given[1].blob.path)
  out = prepared_photos(tmp_path, given)
  (bad,) = json.loads((out / "manifest.json").read_text())["left_out"]["bad"]
  assert bad["image_id"] == given[1].image_id


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"image_sizes": ()}, r"image sizes \(\)"),
    ({"image_sizes": (64, 64)}, "each once"),
    ({"image_sizes": (7,)}, "from 8 to 1024"),
    ({"image_sizes": (64, 2048)}, "from 8 to 1024"),
    ({"fit": "squash"}, "fit 'squash': choose one of letterbox, crop, stretch"),
    ({"max_bad": -0.1}, "a share from 0 to 1"),
    ({"max_bad": float("nan")}, "a share from 0 to 1"),
  ],
)
def test_options_out_of_range(options, message):
  with pytest.raises(UsageError, match=message):
    preparing.Options(**options)
