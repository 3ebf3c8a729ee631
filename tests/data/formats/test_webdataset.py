import io
import json
import tarfile

import pytest

from jaxt2i.data.formats import make
from jaxt2i.errors import UserError


def shard(path, members):
  """A tar archive; a member's content is text, bytes, or what becomes JSON."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with tarfile.open(path, "w") as archive:
    for name, content in members.items():
      data = encoded(content)
      member = tarfile.TarInfo(name)
      member.size = len(data)
      archive.addfile(member, io.BytesIO(data))


def write(folder, files):
  for name, content in files.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(content))


def encoded(content):
  if isinstance(content, bytes):
    return content
  return (content if isinstance(content, str) else json.dumps(content)).encode()


def read(folder, name="webdataset"):
  return make(name, src=str(folder)).listing()


def said(listing):
  return {entry.image_id: entry.captions for entry in listing.entries}


def fails(folder, name="webdataset"):
  with pytest.raises(UserError) as caught:
    read(folder, name)
  assert "\n" not in str(caught.value)
  return str(caught.value)


def fetched(i, **changes):
  """What img2dataset writes down of one image."""
  facts = {"caption": f"caption {i}", "url": f"https://x.org/{i}.jpg", "key": f"{i:09}"}
  facts |= {"status": "success", "error_message": None, "width": 8, "height": 8, "exif": "{}"}
  return facts | changes


def test_shards_with_equal_keys(tmp_path):
  shard(tmp_path / "0.tar", {"a.jpg": b"one", "a.txt": "A dog.\n", "b.jpg": b"", "b.txt": "x"})
  shard(tmp_path / "1.tar", {"./a.txt": "A cat", "./a.jpg": b"two"})
  listing = read(tmp_path)
  assert said(listing) == {"0.tar/a": ("A dog.",), "0.tar/b": ("x",), "1.tar/a": ("A cat",)}
  assert [entry.blob.read() for entry in listing.entries] == [b"one", b"", b"two"]


def test_kinds_of_members(tmp_path):
  members = {
    "x/a.png": b"image",
    "x/a.mask.png": b"mask",
    "x/a.json": {"caption": "one", "width": 7, "ok": True, "list": [1], "none": None},
    "x/a.txt": "the same, perhaps",
    "x/a.cls": "12\n",
    "b.JPG": b"image",
    "b.json": {"captions": ["one", "two", "one", ""], "text": "other"},
    "b.cls": "cat",
    "c.input.webp": b"image",
    "c.json": {"text": "three", "score": float("nan")},
    "d.jpg": b"image",
    "d.json": {"caption": None},
    "d.txt": "four",
    "README.md": "",
  }
  shard(tmp_path / "x.tar", members)
  listing = read(tmp_path)
  assert said(listing) == {
    "x.tar/b": ("one", "two", "one"),
    "x.tar/c": ("three",),
    "x.tar/d": ("four",),
    "x.tar/x/a": ("one",),
  }
  assert [entry.attributes for entry in listing.entries] == [
    {"class": "cat"},
    {},
    {},
    {"width": 7, "ok": True, "class": 12},
  ]
  assert {entry.blob.read() for entry in listing.entries} == {b"image"}
  assert listing.dropped == {"empty": 1}


def test_what_is_left_out(tmp_path):
  members = {"a.jpg": b"", "a.txt": "one", "b.jpg": b"", "c.jpg": b"", "c.txt": " ", "d.txt": "two"}
  shard(tmp_path / "x.tar", members)
  write(
    tmp_path, {"readme.txt": "about", "e.json": {"text": ["three", "four"]}, "f.json": {"n": 1}}
  )
  listing = read(tmp_path)
  assert said(listing) == {"x.tar/a": ("one",)}
  assert listing.missing == {"e": 2, "x.tar/d": 1}
  assert listing.uncaptioned == ("x.tar/b.jpg", "x.tar/c.jpg")
  assert listing.dropped == {"empty": 2}


@pytest.mark.parametrize(
  ("name", "split"),
  [
    *(("cc3m-train-0000.tar", "train"), ("validation/000.tar", "val"), ("test_0.tar", "test")),
    *(("training/x.tar", "train"), ("00000.tar", ""), ("latest-0.tar", "")),
  ],
)
def test_splits_by_the_names_of_shards(tmp_path, name, split):
  shard(tmp_path / name, {"test.jpg": b"", "test.txt": "one"})
  assert [entry.split for entry in read(tmp_path).entries] == [split]


@pytest.mark.parametrize(
  ("members", "message"),
  [
    ({"a.jpg": b"", "a.png": b"", "a.txt": "x"}, "'x.tar/a' has two images"),
    ({"a.one.jpg": b"", "a.two.jpg": b"", "a.txt": "x"}, "'x.tar/a' has two images"),
    ({"a.jpg": b"", "a.json": "{"}, "x.tar/a.json line 1: no JSON"),
    ({"a.jpg": b"", "a.json": [1]}, "x.tar/a.json: expected a JSON object"),
    ({"a.jpg": b"", "a.json": {"caption": 7}}, "x.tar/a.json: caption: expected a text"),
    ({"a.jpg": b"", "a.txt": b"coraz\xf3n"}, "x.tar/a.txt line 1: not UTF-8"),
    ({"a.jpg": b""}, "no images with captions"),
    ({"a.txt": "one"}, "no images with captions"),
    ({}, "no images with captions"),
  ],
)
def test_malformed_shards(tmp_path, members, message):
  shard(tmp_path / "x.tar", members)
  assert message in fails(tmp_path)


def test_compressed_shards(tmp_path):
  write(tmp_path, {"x.tar.gz": b""})
  assert "unpack it" in fails(tmp_path)


@pytest.mark.parametrize("packed", [True, False])
def test_img2dataset(tmp_path, packed):
  members = {
    "000000000.jpg": b"",
    "000000000.txt": "caption 0",
    "000000000.json": fetched(0),
    "000000001.json": fetched(1, status="failed_to_download"),
    "000000001.txt": "caption 1",
    "000000002.webp": b"",
    "000000002.json": fetched(2, caption=None),
    "000000003.png": b"",
    "000000003.json": fetched(3, caption="a\nb"),
    "000000004.json": fetched(4),
  }
  if packed:
    shard(tmp_path / "00000.tar", members)
  else:
    write(tmp_path / "00000", members)
  write(tmp_path, {"00000_stats.json": {"count": 5, "status_dict": {}}, "00000.parquet": b"PAR1"})
  listing = read(tmp_path, "img2dataset")
  folder = "00000.tar" if packed else "00000"
  assert said(listing) == {
    f"{folder}/000000000": ("caption 0",),
    f"{folder}/000000003": ("a b",),
  }
  assert listing.entries[0].attributes == {"url": "https://x.org/0.jpg"}
  assert listing.missing == {f"{folder}/000000004": 1}
  assert listing.uncaptioned == (f"{folder}/000000002.webp",)
  assert listing.dropped == {"empty": 1, "not fetched": 1}


def test_img2dataset_of_many_shards(tmp_path):
  for i in range(3):
    names = {f"{j:09}" for j in range(2)}
    members = {f"{name}.jpg": b"" for name in names}
    shard(tmp_path / f"{i:05}.tar", members | {f"{name}.json": fetched(i) for name in names})
  assert len(read(tmp_path, "img2dataset").entries) == 6
