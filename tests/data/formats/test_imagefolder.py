import json
import zipfile

import pytest

from jaxt2i.data.formats import make
from jaxt2i.errors import UserError


def write(folder, files):
  for name, text in files.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")


def jsonl(*rows):
  return "".join(json.dumps(row) + "\n" for row in rows)


def read(folder, **options):
  return make("imagefolder", src=str(folder), **options).listing()


def said(listing):
  return {entry.image_id: entry.captions for entry in listing.entries}


def fails(folder, **options):
  with pytest.raises(UserError) as caught:
    read(folder, **options)
  assert "\n" not in str(caught.value)
  return str(caught.value)


def test_a_csv_for_all(tmp_path):
  rows = 'file_name,text,size,kind\r\na.png,"A dog, red",12,x\r\nsub/b.png,A cat,7,\r\n'
  write(tmp_path, {"a.png": "", "sub/b.png": "", "c.png": "", "metadata.csv": rows})
  listing = read(tmp_path)
  assert said(listing) == {"a.png": ("A dog, red",), "sub/b.png": ("A cat",)}
  assert listing.entries[0].attributes == {"size": "12", "kind": "x"}
  assert listing.entries[1].attributes == {"size": "7", "kind": ""}
  assert {entry.split for entry in listing.entries} == {""}
  assert listing.uncaptioned == ("c.png",)


def test_one_file_a_split(tmp_path):
  files = {}
  for folder in ("train", "validation", "test"):
    files[f"data/{folder}/1.png"] = ""
    files[f"data/{folder}/metadata.csv"] = f"file_name,caption\n1.png,in {folder}\n"
  write(tmp_path, files)
  assert [(e.image_id, e.captions, e.split) for e in read(tmp_path).entries] == [
    ("data/test/1.png", ("in test",), "test"),
    ("data/train/1.png", ("in train",), "train"),
    ("data/validation/1.png", ("in validation",), "val"),
  ]


@pytest.mark.parametrize(
  ("folder", "split"),
  [
    *(("train", "train"), ("Train", "train"), ("valid", "val"), ("val", "val"), ("dev", "val")),
    *(("test", "test"), ("images", ""), ("train/test", "train")),
  ],
)
def test_splits_by_folder(tmp_path, folder, split):
  write(tmp_path, {f"{folder}/1.png": "", "metadata.csv": f"file_name,text\n{folder}/1.png,one"})
  assert [entry.split for entry in read(tmp_path).entries] == [split]


def test_json_lines(tmp_path):
  rows = jsonl(
    {"file_name": "a.png", "captions": ["one", "two", "one"], "size": 12, "boxes": [[1.5, 2]]},
    {"file_name": "./b.png", "text": "three", "caption": "four", "ok": True, "x": float("nan")},
    {"file_name": "c.png", "text": None},
    {"file_name": "gone.png", "text": "five"},
  )
  write(tmp_path, {"a.png": "", "b.png": "", "c.png": "", "metadata.jsonl": rows + "\n"})
  listing = read(tmp_path)
  assert said(listing) == {"a.png": ("one", "two", "one"), "b.png": ("three", "four")}
  assert listing.entries[0].attributes == {"size": 12, "boxes": [[1.5, 2]]}
  assert listing.entries[1].attributes == {"ok": True, "x": None}
  assert listing.missing == {"gone.png": 1}
  assert listing.uncaptioned == ("c.png",)
  assert listing.dropped == {"empty": 1}


def test_several_rows_of_one_photo(tmp_path):
  rows = "file_name,text,n\na.png,one,1\na.png,two,2\n"
  write(tmp_path, {"a.png": "", "metadata.csv": rows})
  listing = read(tmp_path)
  assert said(listing) == {"a.png": ("one", "two")}
  assert listing.entries[0].attributes == {"n": "1"}


def test_another_column(tmp_path):
  rows = "file_name,text,prompt\na.png,one,two\n"
  write(tmp_path, {"a.png": "", "metadata.csv": rows})
  listing = read(tmp_path, caption_column="prompt")
  assert said(listing) == {"a.png": ("two",)}
  assert listing.entries[0].attributes == {"text": "one"}
  message = fails(tmp_path, caption_column="words")
  assert "no column words, only file_name, prompt, text; name the captions'" in message


def test_a_photo_of_another_folder_is_not_taken(tmp_path):
  files = {"train/1.png": "", "test/1.png": "", "train/2.png": ""}
  files["train/metadata.csv"] = "file_name,text\n1.png,one\n"
  files["test/metadata.csv"] = "file_name,text\n1.png,two\n2.png,three\n"
  write(tmp_path, files)
  listing = read(tmp_path)
  assert said(listing) == {"train/1.png": ("one",), "test/1.png": ("two",)}
  assert listing.missing == {"test/2.png": 1}
  assert listing.uncaptioned == ("train/2.png",)


def test_in_an_archive(tmp_path):
  with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
    archive.writestr("train/1.png", b"")
    archive.writestr("train/metadata.jsonl", jsonl({"file_name": "1.png", "text": "one"}))
  assert said(read(tmp_path)) == {"train/1.png": ("one",)}


@pytest.mark.parametrize(
  ("name", "text", "message"),
  [
    ("metadata.csv", "file,text\na.png,one\n", "line 2: expected a file_name"),
    ("metadata.csv", "file_name,text\n\na.png\n", "line 3: 'a.png': expected 2 columns"),
    ("metadata.csv", "file_name,text\na.png,one,two\n", "line 2: 'a.png,one,two': expected 2"),
    ("metadata.csv", 'file_name,text\na.png,"one\nb.png,two\n', "line 2: 'a.png,\"one': expected"),
    ("metadata.csv", 'text,file_name\n"one,a.png\n"two",b.png\n', "expected quotes that are"),
    ("metadata.csv", "file_name,text\n../a.png,one\n", "line 2: '../a.png': expected a name"),
    ("metadata.csv", "file_name,words\na.png,one\n", "no column text or caption or captions"),
    ("metadata.csv", "file_name,text\n", "has no captions"),
    ("metadata.csv", "file_name,text\na.png,\n", "has no captions"),
    ("metadata.csv", "file_name,text\nb.png,one\n", "none of the 1 photos"),
    ("metadata.jsonl", '{"file_name": "a.png", "text": "one"}\n{\n', "line 2: no JSON"),
    ("metadata.jsonl", "\n[1]\n", "line 2: '[1]': expected a JSON object"),
    ("metadata.jsonl", '{"text": "one"}', "line 1: expected a file_name"),
    ("metadata.jsonl", '{"file_name": 7, "text": "one"}', "line 1: expected a file_name"),
    ("metadata.jsonl", '{"file_name": "/a.png", "text": "x"}', "inside the folder"),
    ("metadata.jsonl", '{"file_name": "a.png", "text": 7}', "line 1: text: expected a text"),
    ("metadata.jsonl", '{"file_name": "a.png", "text": [[]]}', "line 1: text: expected a text"),
    ("metadata.jsonl", '{"file_name": "a.png", "text": "x", "n": 1' + "0" * 5_000, "line 1: JSON"),
    ("labels.csv", "file_name,text\na.png,one", "choose the format 'classes'"),
  ],
)
def test_malformed_files(tmp_path, name, text, message):
  write(tmp_path, {"a.png": "", name: text})
  assert message in fails(tmp_path)


def test_two_files_for_one_folder(tmp_path):
  rows = "file_name,text\na.png,one"
  write(tmp_path, {"a.png": "", "metadata.csv": rows, "metadata.jsonl": ""})
  assert "several metadata files for one folder" in fails(tmp_path)
