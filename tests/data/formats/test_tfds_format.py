import io
import json
import multiprocessing
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxt2i.data import formats
from jaxt2i.data.files import Blob
from jaxt2i.data.formats.tfds import Tfds
from jaxt2i.errors import UserError

F = tfds.features
SIZES = {"train": 12, "restval": 3, "val": 4, "test": 2}


def jpeg(seed):
  pixels = np.random.default_rng(seed).integers(0, 255, (9, 11, 3), np.uint8)
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "JPEG")
  return file.getvalue()


class CocoLike(tfds.core.GeneratorBasedBuilder):
  """The features of TFDS's own coco_captions, in two configs and with names that have gaps."""

  code_path = Path(__file__)
  VERSION = tfds.core.Version("1.1.0")
  BUILDER_CONFIGS = [  # noqa: RUF012
    tfds.core.BuilderConfig(name="2014", description="Karpathy"),
    tfds.core.BuilderConfig(name="2017", description="other"),
  ]

  def _info(self):
    boxes = {"id": np.int64, "bbox": F.BBoxFeature(), "label": F.ClassLabel(num_classes=80)}
    features = {
      "image": F.Image(),
      "image/filename": F.Text(),
      "image/id": np.int64,
      "objects": F.Sequence(boxes),
      "captions": F.Sequence({"text": np.str_, "id": np.int64}),
      "scene": {"kind": F.ClassLabel(names=["indoor", "outdoor"]), "day": np.bool_},
      "author": F.Text(),
    }
    return tfds.core.DatasetInfo(builder=self, features=F.FeaturesDict(features))

  def _split_generators(self, dl_manager):
    return {split: self._generate_examples(split, size) for split, size in SIZES.items()}

  def _generate_examples(self, split, size):
    for i in range(size):
      captions = ["a dog\non grass ", "ein Hündchen", "a dog on grass"][: i % 4]
      yield (
        i,
        {
          "image": jpeg([i, size]),
          "image/filename": f"{split}_{i}.jpg",
          "image/id": i,
          "objects": [{"id": 7, "bbox": F.BBox(0.0, 0.0, 1.0, 1.0), "label": 3}] * i,
          "captions": [{"text": text, "id": k} for k, text in enumerate(captions)],
          "scene": {"kind": i % 2, "day": i % 3 == 0},
          "author": "me" if i == 1 else "",
        },
      )


class Rowwise(tfds.core.GeneratorBasedBuilder):
  """Features and examples given by the test, through `make`."""

  code_path = Path(__file__)
  VERSION = tfds.core.Version("1.0.0")
  features: dict = {}  # noqa: RUF012
  splits: dict = {}  # noqa: RUF012

  def _info(self):
    return tfds.core.DatasetInfo(builder=self, features=F.FeaturesDict(self.features))

  def _split_generators(self, dl_manager):
    return {name: self._generate_examples(rows) for name, rows in self.splits.items()}

  def _generate_examples(self, rows):
    yield from enumerate(rows)


def prepare(name, folder):
  builder = tfds.builder(name, data_dir=folder, file_format="array_record")
  builder.download_and_prepare()
  return Path(builder.data_dir)


def make(folder, monkeypatch, features, **splits):
  monkeypatch.setattr(Rowwise, "features", features)
  monkeypatch.setattr(Rowwise, "splits", splits)
  return prepare("rowwise", folder)


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
  folder = tmp_path_factory.mktemp("coco")
  prepare("coco_like/2014", folder)
  prepare("coco_like/2017", folder)
  return str(folder)


@pytest.fixture(scope="module")
def listing(coco):
  return Tfds(coco, "coco_like/2014").listing()


def error(**options):
  with pytest.raises(UserError) as caught:
    Tfds(**options).listing()
  message = str(caught.value)
  assert "\n" not in message
  return message


def test_every_captioned_image_is_listed(listing):
  expected = {f"{s}_{i}.jpg" for s, n in SIZES.items() for i in range(n) if i % 4}
  assert {entry.image_id for entry in listing.entries} == expected
  assert len(listing.uncaptioned) == sum(i % 4 == 0 for n in SIZES.values() for i in range(n))
  assert listing.missing == {}


def test_nested_captions_become_clean_text(listing):
  entry = next(e for e in listing.entries if e.image_id == "train_3.jpg")
  assert entry.captions == ("a dog on grass", "ein Hündchen", "a dog on grass")


def test_splits_get_their_usual_names(listing):
  assert {e.split for e in listing.entries if e.image_id.startswith("val")} == {"val"}
  assert {e.split for e in listing.entries if e.image_id.startswith("restval")} == {"train"}
  assert {e.split for e in listing.entries} == {"train", "val", "test"}


def test_plain_features_are_attributes(listing):
  first, second = (
    next(e for e in listing.entries if e.image_id == f"train_{i}.jpg") for i in (1, 2)
  )
  assert first.attributes == {
    "image/id": 1,
    "scene/kind": "outdoor",
    "scene/day": False,
    "author": "me",
  }
  assert second.attributes == {"image/id": 2, "scene/kind": "indoor", "scene/day": False}
  json.dumps([dict(e.attributes) for e in listing.entries])


def test_blobs_give_the_bytes_that_went_in(listing):
  for entry in listing.entries:
    split, number = entry.image_id.removesuffix(".jpg").split("_")
    assert entry.blob.read() == jpeg([int(number), SIZES[split]])


def test_blobs_are_small_and_travel(listing):
  blob = listing.entries[0].blob
  assert isinstance(blob, Blob)
  assert len(pickle.dumps(blob)) < 100 + len(blob.directory)
  copy = pickle.loads(pickle.dumps(blob))
  assert copy == blob
  with multiprocessing.get_context("spawn").Pool(1) as pool:
    assert pool.apply(copy.read) == blob.read()


def test_too_large_images_are_refused(listing):
  blob = listing.entries[0].blob
  assert len(blob.read(limit=len(blob.read()))) > 0
  with pytest.raises(OSError, match="more than 10 bytes"):
    blob.read(limit=10)


def test_identity_follows_the_file(tmp_path, monkeypatch):
  row = {"image": jpeg(0), "caption": "a dog"}
  features = {"image": F.Image(), "caption": F.Text()}
  directory = make(tmp_path, monkeypatch, features, train=[row, row])
  one, other = (entry.blob for entry in Tfds(str(tmp_path)).listing().entries)
  before = one.identity()
  assert before == one.identity() != other.identity()
  (shard,) = directory.glob("*train*")
  shard.touch()
  assert one.identity() != before


def test_no_image_is_decoded(tmp_path, monkeypatch):
  row = {"image": b"this is no image", "caption": "a dog"}
  make(tmp_path, monkeypatch, {"image": F.Image(), "caption": F.Text()}, train=[row])
  (entry,) = Tfds(str(tmp_path)).listing().entries
  assert entry.blob.read() == b"this is no image"
  assert (entry.image_id, entry.split) == ("train/0000000", "")  # one split divides nothing


def test_an_image_beside_its_caption_is_not_decoded_either(tmp_path, monkeypatch):
  features = {"pair": {"picture": F.Image(), "text": F.Sequence(F.Text(), length=2)}}
  rows = [{"pair": {"picture": b"no image", "text": ["a dog", "a cat"]}}]
  make(tmp_path, monkeypatch, features, train=rows, test=rows)
  first, second = Tfds(str(tmp_path)).listing().entries
  assert first.captions == second.captions == ("a dog", "a cat")
  assert first.blob.read() == b"no image"
  assert (first.split, second.split) == ("test", "train")


def test_rows_of_one_image_are_one_entry(tmp_path, monkeypatch):
  features = {"image": F.Image(), "caption": F.Text(), "image_id": np.int64}
  rows = [{"image": jpeg(i // 2), "caption": f"caption {i}", "image_id": i // 2} for i in range(4)]
  make(tmp_path, monkeypatch, features, train=rows, test=rows[:2])
  entries = {e.image_id: e for e in Tfds(str(tmp_path)).listing().entries}
  assert sorted(entries) == ["test/0", "train/0", "train/1"]  # 0 is in two splits
  assert sorted(entries["train/1"].captions) == ["caption 2", "caption 3"]
  assert entries["train/1"].blob.read() == jpeg(1)


def test_an_id_that_comes_twice_names_no_image(tmp_path, monkeypatch):
  features = {"image": F.Image(), "caption": F.Text(), "id": np.int64}
  make(tmp_path, monkeypatch, features, train=[{"image": jpeg(0), "caption": "a", "id": 5}] * 2)
  ids = [e.image_id for e in Tfds(str(tmp_path)).listing().entries]
  assert ids == ["train/0000000", "train/0000001"]


def test_options_choose_among_several(tmp_path, monkeypatch):
  features = {"left": F.Image(), "right": F.Image(), "title": F.Text(), "story": F.Text()}
  row = {"left": jpeg(1), "right": jpeg(2), "title": "dog", "story": "a dog came"}
  make(tmp_path, monkeypatch, features, train=[row])
  source = {"src": str(tmp_path), "builder": "rowwise:1.0.0"}
  assert "several images (left, right): choose one by the option image_feature" in error(**source)
  source["image_feature"] = "right"
  assert "(story, title): choose the captions by the option caption_feature" in error(**source)
  assert "'tale'" in error(**source, caption_feature="tale")
  (entry,) = formats.make("tfds", **source, caption_feature="story").listing().entries
  assert entry.captions == ("a dog came",)
  assert entry.blob.read() == jpeg(2)
  assert entry.attributes == {"title": "dog"}
  source["image_feature"] = "middle"
  assert "image_feature 'middle'" in error(**source)


def test_data_without_images_or_texts_is_refused(tmp_path, monkeypatch):
  make(tmp_path / "a", monkeypatch, {"text": F.Text()}, train=[{"text": "a"}])
  assert "has no image; it has text" in error(src=str(tmp_path / "a"))
  features = {"image": F.Image(), "file_name": F.Text()}
  row = {"image": jpeg(0), "file_name": "a.jpg"}
  make(tmp_path / "b", monkeypatch, features, train=[row])
  assert "has no text that could be captions" in error(src=str(tmp_path / "b"))
  features = {"image": F.Image(), "caption": F.Text()}
  make(tmp_path / "c", monkeypatch, features, train=[{"image": jpeg(0), "caption": " "}])
  assert "no image in TFDS data rowwise/1.0.0" in error(src=str(tmp_path / "c"))


def test_builders_that_are_not_there_are_named(coco, tmp_path):
  assert "did you mean 'coco_like'?" in error(src=coco, builder="cocolike")
  choice = "coco_like/2014:1.1.0 or coco_like/2017:1.1.0"
  assert f"has several configs in {coco}: set it to {choice}" in error(src=coco)
  assert f"set it to {choice}" in error(src=coco, builder="coco_like/2015")
  assert f"set it to {choice}" in error(src=coco, builder="coco_like/2014:2.0.0")
  assert "does not exist" in error(src=str(tmp_path / "nowhere"), builder="coco_like")
  (tmp_path / "downloads" / "manual").mkdir(parents=True)
  assert "prepare some by tfds.builder" in error(src=str(tmp_path), builder="coco_like")


def test_data_without_a_licence_has_no_terms(coco, listing):
  assert isinstance(formats.make("tfds", src=coco, builder="coco_like/2014"), formats.Format)
  assert listing.terms == ""


def test_code_that_is_not_of_tfds_is_not_imported(tmp_path, monkeypatch):
  features = {"image": F.Image(), "caption": F.Text()}
  row = {"image": jpeg(0), "caption": "a dog"}
  description = make(tmp_path, monkeypatch, features, train=[row]) / "features.json"
  text = description.read_text()
  name = re.search(r'"pythonClassName": "(tensorflow_datasets[^"]*text[^"]*)"', text)[1]
  description.write_text(text.replace(name, "antigravity.Feature"))
  assert "names code that is not TFDS's: 'antigravity.Feature'" in error(src=str(tmp_path))
  assert "antigravity" not in sys.modules


def test_the_newest_version_is_taken(tmp_path, monkeypatch):
  features = {"image": F.Image(), "caption": F.Text()}
  for version in ("1.0.0", "9.0.0", "10.0.0"):
    monkeypatch.setattr(Rowwise, "VERSION", tfds.core.Version(version))
    row = {"image": jpeg(0), "caption": version}
    make(tmp_path, monkeypatch, features, train=[row])
  captions = [Tfds(str(tmp_path), b).listing().entries[0].captions for b in ("", "rowwise:9.0.0")]
  assert captions == [("10.0.0",), ("9.0.0",)]


def test_other_file_formats_and_damage_are_refused(tmp_path, monkeypatch):
  rows = [{"image": jpeg(i), "caption": "a dog"} for i in range(50)]
  directory = make(tmp_path, monkeypatch, {"image": F.Image(), "caption": F.Text()}, train=rows)
  blob = Tfds(str(tmp_path)).listing().entries[-1].blob
  info = directory / "dataset_info.json"
  text = info.read_text()
  info.write_text(text.replace("array_record", "tfrecord"))
  assert "prepare it anew with file_format='array_record'" in error(src=str(tmp_path))
  info.write_text(text)
  (shard,) = directory.glob("*train*")
  shard.write_bytes(b"\0" * shard.stat().st_size)
  assert "prepare it anew" in error(src=str(tmp_path))
  with pytest.raises(OSError, match="record"):
    blob.read()
  (directory / "features.json").write_text("{")
  assert "has no usable description" in error(src=str(tmp_path))


def test_tensorflow_is_not_imported(coco):
  script = f"""
import sys
from jaxt2i.data import formats
entries = formats.make("tfds", src={coco!r}, builder="coco_like/2014").listing().entries
assert all(entry.blob.read()[:2] == b"\\xff\\xd8" for entry in entries)
assert "tensorflow" not in sys.modules
"""
  subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)
