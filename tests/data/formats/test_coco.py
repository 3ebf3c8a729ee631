import json

import pytest

from jaxt2i.data.formats import make
from jaxt2i.errors import UserError


def write(folder, files):
  for name, content in files.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")


def coco(*images, first=1):
  """A captions JSON: (file name, captions) of each image."""
  annotations = []
  for i, (_, captions) in enumerate(images, start=first):
    annotations += [{"image_id": i, "id": len(annotations), "caption": c} for c in captions]
  files = [
    {"id": i, "file_name": name, "height": 4, "license": 1}
    for i, (name, _) in enumerate(images, start=first)
  ]
  return {"info": {}, "licenses": [], "images": files, "annotations": annotations}


def karpathy(*images):
  """Karpathy's JSON: (folder, file name, split, captions) of each image."""
  rows = []
  for i, (folder, name, split, captions) in enumerate(images):
    sentences = [{"tokens": c.lower().split(), "raw": c, "imgid": i, "sentid": 0} for c in captions]
    row = {"filename": name, "split": split, "sentences": sentences, "imgid": i}
    rows.append({**row, "filepath": folder} if folder else row)
  return {"images": rows, "dataset": "coco"}


def read(folder, name="coco", **options):
  return make(name, src=str(folder), **options).listing()


def said(listing):
  return {entry.image_id: (entry.captions, entry.split) for entry in listing.entries}


def fails(folder, name="coco", **options):
  with pytest.raises(UserError) as caught:
    read(folder, name, **options)
  assert "\n" not in str(caught.value)
  return str(caught.value)


def test_coco(tmp_path):
  train = coco(("000000000009.jpg", ["A dog. \n", "Two  dogs"]), ("000000000025.jpg", ["A cat"]))
  val = coco(("000000000139.jpg", ["A bus", "A bus", ""]), ("000000000285.jpg", ["gone"]))
  files = {"train2017/000000000009.jpg": "", "train2017/000000000025.jpg": ""}
  files |= {"val2017/000000000139.jpg": "", "train2017/000000000030.jpg": ""}
  annotations = {"captions_train2017.json": train, "captions_val2017.json": val}
  annotations |= {"instances_train2017.json": "{", "captions.md": ""}
  write(tmp_path, files | {f"annotations/{name}": data for name, data in annotations.items()})
  listing = read(tmp_path)
  assert said(listing) == {
    "000000000009": (("A dog.", "Two dogs"), "train"),
    "000000000025": (("A cat",), "train"),
    "000000000139": (("A bus", "A bus"), "val"),
  }
  assert listing.missing == {"000000000285.jpg": 1}
  assert listing.uncaptioned == ("train2017/000000000030.jpg",)
  assert listing.dropped == {"empty": 1}
  only = read(tmp_path, captions="annotations/captions_val2017.json")
  assert list(said(only)) == ["000000000139"]
  assert len(only.uncaptioned) == 3


def test_photos_in_one_folder(tmp_path):
  data = coco(("val2014/COCO_val2014_1.jpg", ["one"]), ("COCO_val2014_2.jpg", ["two"]))
  files = {"images/COCO_val2014_2.jpg": "", "images/val2014/COCO_val2014_1.jpg": ""}
  write(tmp_path, {**files, "uitviic_captions_test2014.json": data})
  assert said(read(tmp_path)) == {
    "COCO_val2014_1": (("one",), "test"),
    "COCO_val2014_2": (("two",), "test"),
  }


def test_one_name_in_two_splits_makes_two_ids(tmp_path):
  data = {name: coco(("1.jpg", [name]), (f"{name}.jpg", ["x"])) for name in ("train", "val")}
  files = {f"coco/{name}/{file}.jpg": "" for name in ("train", "val") for file in ("1", name)}
  write(tmp_path, files | {f"captions_{name}.json": rows for name, rows in data.items()})
  assert said(read(tmp_path)) == {
    "coco/train/1.jpg": (("train",), "train"),
    "coco/val/1.jpg": (("val",), "val"),
    "train": (("x",), "train"),
    "val": (("x",), "val"),
  }


def test_a_photo_is_not_taken_from_another_split(tmp_path):
  data = {name: coco(("1.jpg", [name]), (f"{name}.jpg", ["x"])) for name in ("train", "val")}
  files = {"train/1.jpg": "", "train/train.jpg": "", "val/val.jpg": ""}
  write(tmp_path, files | {f"captions_{name}.json": rows for name, rows in data.items()})
  listing = read(tmp_path)
  assert list(said(listing)) == ["1", "train", "val"]
  assert listing.missing == {"1.jpg": 1}


def test_a_photo_in_two_files(tmp_path):
  files = {"1.jpg": "", "captions_val.json": coco(("1.jpg", ["one"]))}
  write(tmp_path, {**files, "captions_minival.json": coco(("1.jpg", ["two", "one"]))})
  assert said(read(tmp_path)) == {"1": (("two", "one", "one"), "val")}
  write(tmp_path, {"captions_train.json": coco(("1.jpg", ["three"]))})
  assert "'1' is in two splits, val and train" in fails(tmp_path)


@pytest.mark.parametrize(
  ("data", "message"),
  [
    ('{"images": [\n}', "captions_x.json line 2: no JSON"),
    ("", "line 1: no JSON"),
    ("[" * 100_000, "cannot be read"),
    ('{"images": [], "annotations": 9' + "9" * 5_000 + "}", "cannot be read"),
    ([], "a list of objects, 'images'"),
    ({"images": []}, "a list of objects, 'annotations'"),
    ({"images": [1], "annotations": []}, "a list of objects, 'images'"),
    ({"images": [{"file_name": "a.jpg"}], "annotations": []}, "images[0]: id None"),
    ({"images": [{"id": [], "file_name": "a.jpg"}], "annotations": []}, "images[0]: id []"),
    ({"images": [{"id": 1}], "annotations": []}, "images[0]: file_name expected a file's name"),
    (coco(("../a.jpg", ["one"])), "inside the folder"),
    (coco(("/a.jpg", ["one"])), "inside the folder"),
    (coco(("a\0.jpg", ["one"])), "inside the folder"),
    (coco(("a\ud83d.jpg", ["one"])), "inside the folder"),
    (coco(("a.jpg", [None])), "annotations[0]: expected a caption"),
    (coco(("a.jpg", [["one"]])), "annotations[0]: expected a caption"),
    ({"images": [], "annotations": [{"image_id": 7}]}, "image_id 7 is none of the images'"),
    ({"images": [], "annotations": [{"caption": "x"}]}, "image_id None"),
    (coco(), "has no captions"),
    (coco(("b.jpg", ["one"])), "none of the 1 photos"),
  ],
)
def test_malformed_json(tmp_path, data, message):
  write(tmp_path, {"a.jpg": "", "captions_x.json": data})
  assert message in fails(tmp_path)


def test_odd_captions(tmp_path):
  write(tmp_path, {"a.jpg": "", "captions_x.json": coco(("a.jpg", ["a\0b\ud83d", "שלום 🐕"]))})
  assert said(read(tmp_path)) == {"a": (("a b", "שלום 🐕"), "")}


def test_no_json(tmp_path):
  write(tmp_path, {"a.jpg": "", "sub/x.json": "{}"})
  assert "no captions_*.json" in fails(tmp_path)
  assert "did you mean 'sub/x.json'?" in fails(tmp_path, captions="x.json")
  assert "no dataset_*.json" in fails(tmp_path, "karpathy")


def test_karpathy(tmp_path):
  data = karpathy(
    ("val2014", "COCO_val2014_1.jpg", "restval", ["A dog.", "Two dogs"]),
    ("val2014", "COCO_val2014_2.jpg", "test", ["A cat", "A cat"]),
    ("val2014", "COCO_val2014_3.jpg", "val", ["gone"]),
    ("train2014", "COCO_train2014_4.jpg", "train", ["A bus"]),
  )
  files = {f"val2014/COCO_val2014_{i}.jpg": "" for i in (1, 2, 9)}
  write(tmp_path, files | {"train2014/COCO_train2014_4.jpg": "", "dataset_coco.json": data})
  listing = read(tmp_path, "karpathy")
  assert said(listing) == {
    "COCO_train2014_4.jpg": (("A bus",), "train"),
    "COCO_val2014_1.jpg": (("A dog.", "Two dogs"), "train"),
    "COCO_val2014_2.jpg": (("A cat", "A cat"), "test"),
  }
  assert listing.missing == {"COCO_val2014_3.jpg": 1}
  assert listing.uncaptioned == ("val2014/COCO_val2014_9.jpg",)


def test_karpathy_of_flickr8k(tmp_path):
  data = karpathy(("", "1.jpg", "train", ["A dog."]), ("", "2.jpg", "val", ["A cat"]))
  write(tmp_path, {"Images/1.jpg": "", "Images/2.jpg": "", "x/dataset_flickr8k.json": data})
  assert said(read(tmp_path, "karpathy")) == {
    "1.jpg": (("A dog.",), "train"),
    "2.jpg": (("A cat",), "val"),
  }
  write(tmp_path, {"dataset.json": karpathy(("", "1.jpg", "test", ["one"]))})
  assert "dataset.json, x/dataset_flickr8k.json; choose one" in fails(tmp_path, "karpathy")
  assert len(read(tmp_path, "karpathy", captions="dataset.json").entries) == 1


@pytest.mark.parametrize(
  ("data", "message"),
  [
    ("{", "line 1: no JSON"),
    ([], "a list of objects, 'images'"),
    (karpathy(("", "../a.jpg", "train", ["one"])), "inside the folder"),
    (karpathy(("../x", "a.jpg", "train", ["one"])), "filepath '../x'"),
    (karpathy(("", "a.jpg", "holdout", ["one"])), "split 'holdout'"),
    (karpathy(("", "a.jpg", None, ["one"])), "split None"),
    ({"images": [{"filename": "a.jpg", "split": "train"}]}, "expected sentences"),
    ({"images": [{"filename": "a.jpg", "split": "val", "sentences": ["a"]}]}, "expected sentences"),
    ({"images": [{"filename": "a.jpg", "split": "val", "sentences": [{}]}]}, "expected sentences"),
    (karpathy(), "has no captions"),
  ],
)
def test_malformed_karpathy(tmp_path, data, message):
  write(tmp_path, {"a.jpg": "", "dataset_x.json": data})
  assert message in fails(tmp_path, "karpathy")
