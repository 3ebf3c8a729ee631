import gzip
import unicodedata
import zipfile

import pytest

from jaxt2i.data.files import Tree
from jaxt2i.data.formats import make
from jaxt2i.errors import UserError

NUM = 8_092
TRAIN, VAL, TEST = 6_000, 1_000, 1_000
ABSENT = "2258277193_586949ec62.jpg.1"


def write(folder, files):
  for name, text in files.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def read(name, folder, **options):
  return make(name, src=str(folder), **options).listing()


def said(listing):
  return {entry.image_id: entry.captions for entry in listing.entries}


def fails(name, folder, **options):
  with pytest.raises(UserError) as caught:
    read(name, folder, **options)
  assert "\n" not in str(caught.value)
  return str(caught.value)


@pytest.fixture(scope="module")
def names():
  """As many as Flickr8k names, sorted; one of them has no photo."""
  return sorted([*(f"{1_000_268_201 + 7 * i}_693b08cb0e.jpg" for i in range(NUM - 1)), ABSENT])


@pytest.fixture(scope="module")
def photos(tmp_path_factory, names):
  """A zip of empty photos, in the folder that the data set has them in."""
  path = tmp_path_factory.mktemp("flickr8k") / "photos.zip"
  with zipfile.ZipFile(path, "w") as archive:
    for name in names:
      if name != ABSENT:
        archive.writestr(f"Flicker8k_Dataset/{name}", b"")
        archive.writestr(f"__MACOSX/Flicker8k_Dataset/._{name}", b"")
  return path


def check_flickr8k(listing, names):
  assert len(listing.entries) == 8_091
  assert sum(len(entry.captions) for entry in listing.entries) == 40_455
  assert listing.missing == {ABSENT: 5}
  assert listing.uncaptioned == ()
  assert listing.dropped == {}
  assert [entry.image_id for entry in listing.entries] == [n for n in names if n != ABSENT]
  assert said(listing)[names[5]] == tuple(f"Dog {names[5]} , number {k} ." for k in range(5))


def test_flickr8k_as_first_published(tmp_path, photos, names):
  (tmp_path / "Flickr8k_Dataset.zip").symlink_to(photos)
  lines = [f"{name}#{k}\tDog {name} , number {k} .\n" for name in names for k in range(5)]
  assert len(lines) == 40_460
  lists = {
    "trainImages": names[:TRAIN],
    "devImages": names[TRAIN : TRAIN + VAL],
    "testImages": names[TRAIN + VAL : TRAIN + VAL + TEST],
  }
  with zipfile.ZipFile(tmp_path / "Flickr8k_text.zip", "w") as archive:
    archive.writestr("Flickr8k.token.txt", "".join(lines))
    archive.writestr("Flickr8k.lemma.token.txt", "".join(lines).replace("Dog", "dog"))
    archive.writestr("CrowdFlowerAnnotations.txt", "a\tb\tc")
    for split, rows in lists.items():
      archive.writestr(f"Flickr_8k.{split}.txt", "".join(f"{name}\n" for name in rows))
  listing = read("flickr8k", tmp_path)
  check_flickr8k(listing, names)
  splits = [entry.split for entry in listing.entries]
  counts = {name: splits.count(name) for name in ("train", "val", "test", "")}
  assert counts == {"train": 6_000, "val": 1_000, "test": 1_000, "": 91}
  assert splits[0] == "train"


def test_flickr8k_as_on_kaggle(tmp_path, names):
  for name in names:
    if name != ABSENT:
      write(tmp_path, {f"Images/{name}": b""})
  lines = [f'{name},"Dog {name} , number {k} ."\r\n' for name in names for k in range(5)]
  write(tmp_path, {"captions.txt": "image,caption\r\n" + "".join(lines)})
  listing = read("flickr8k", tmp_path)
  check_flickr8k(listing, names)
  assert {entry.split for entry in listing.entries} == {""}
  assert said(read("captions", tmp_path)) == said(listing)


def test_flickr8k_never_takes_the_lemmas(tmp_path):
  write(tmp_path, {"a.jpg": b"", "Flickr8k.lemma.token.txt": "a.jpg#0\tdog run\n"})
  assert "no caption file" in fails("flickr8k", tmp_path)
  assert "no caption file" in fails("captions", tmp_path)


def test_flickr8k_prefers_the_tokens(tmp_path):
  files = {
    "a.jpg": b"",
    "text/captions.txt": "a.jpg,other",
    "text/Flickr8k.token.txt": "a.jpg#0\tone",
  }
  write(tmp_path, files)
  assert said(read("flickr8k", tmp_path)) == {"a.jpg": ("one",)}
  options = {"captions": "text/captions.txt"}
  assert said(read("flickr8k", tmp_path, **options)) == {"a.jpg": ("other",)}


def test_a_photo_in_two_lists(tmp_path):
  files = {"Flickr_8k.trainImages.txt": "a.jpg\n", "Flickr_8k.testImages.txt": "b.jpg\r\na.jpg\r\n"}
  write(tmp_path, {"a.jpg": b"", "captions.txt": "a.jpg,one", **files})
  assert "'a' is in the train split too" in fails("flickr8k", tmp_path)


def test_flickr30k(tmp_path):
  rows = "image_name| comment_number| comment\n" + "".join(
    f"{i}.jpg| {k}| Photo {i} caption {k} .\n" for i in range(4) for k in range(5)
  )
  rows = rows.replace("2.jpg| 4| ", "2.jpg| 4   ")
  for i in range(4):
    write(tmp_path, {f"flickr30k_images/flickr30k_images/{i}.jpg": b""})
  lists = {"train.txt": "0\n1\n", "val.txt": "2\n", "test.txt": "7\n"}
  write(tmp_path, {"flickr30k_images/results.csv": rows, **lists})
  listing = read("flickr30k", tmp_path)
  assert {e.image_id: (len(e.captions), e.split) for e in listing.entries} == {
    "0.jpg": (5, "train"),
    "1.jpg": (5, "train"),
    "2.jpg": (5, "val"),
    "3.jpg": (5, ""),
  }
  assert said(listing)["2.jpg"][4] == "Photo 2 caption 4 ."
  write(tmp_path, {"results_20130124.token": "0.jpg#1\ttwo\n0.jpg#0\tone\n"})
  listing = read("flickr30k", tmp_path)
  assert said(listing) == {"0.jpg": ("one", "two")}
  assert len(listing.uncaptioned) == 3


@pytest.mark.parametrize(
  "name",
  [
    *("captions.txt", "sub/captions.csv", "captions.tsv", "train_captions.txt", "x.token.txt"),
    *("ucm.token.train.txt", "results_20130124.token", "results.csv", "Captions.TXT"),
  ],
)
def test_the_caption_file_is_found(tmp_path, name):
  write(tmp_path, {"photos/a.jpg": b"", "readme.txt": "no captions", name: "a.jpg\tone\n"})
  assert said(read("captions", tmp_path)) == {"a.jpg": ("one",)}


def test_a_compressed_caption_file(tmp_path):
  write(tmp_path, {"a.jpg": b"", "captions.txt.gz": gzip.compress("a.jpg\tשלום".encode())})
  assert said(read("captions", tmp_path)) == {"a.jpg": ("שלום",)}


def test_several_caption_files(tmp_path):
  write(tmp_path, {"a.jpg": b"", "captions.txt": "a.jpg\tone", "x/captions.csv": "a.jpg,two"})
  message = fails("captions", tmp_path)
  assert "captions.txt, x/captions.csv" in message
  assert "--captions" in message
  listing = read("captions", tmp_path, captions="./x/captions.csv")
  assert said(listing) == {"a.jpg": ("two",)}


def test_a_caption_file_that_is_not_there(tmp_path):
  write(tmp_path, {"a.jpg": b"", "x/captions.txt": "a.jpg\tone"})
  assert "'words.txt' is not in" in fails("captions", tmp_path, captions="words.txt")
  message = fails("captions", tmp_path, captions=str(tmp_path / "x/captions.txt"))
  assert "did you mean 'x/captions.txt'?" in message


def test_names_are_paths_or_ends_of_paths(tmp_path):
  for name in ("a.jpg", "sub/a.jpg", "x/deep/b.jpg", "y/deep/b.jpg", "x/c.jpg"):
    write(tmp_path, {name: b""})
  rows = "a.jpg\t1\nsub/a.jpg\t2\nx/deep/b.jpg\t3\nc.jpg\t4\n./y\\deep\\b.jpg\t5\n"
  write(tmp_path, {"captions.txt": rows})
  listing = read("captions", tmp_path)
  assert {e.image_id: e.blob.path[len(str(tmp_path)) + 1 :] for e in listing.entries} == {
    "./y\\deep\\b.jpg": "y/deep/b.jpg",
    "a.jpg": "a.jpg",
    "c.jpg": "x/c.jpg",
    "sub/a.jpg": "sub/a.jpg",
    "x/deep/b.jpg": "x/deep/b.jpg",
  }
  assert listing.uncaptioned == ()


def test_names_are_relative_to_the_caption_file_too(tmp_path):
  write(tmp_path, {"x/a.jpg": b"one", "y/a.jpg": b"two", "y/captions.txt": "a.jpg\tone"})
  listing = read("captions", tmp_path)
  assert listing.entries[0].blob.read() == b"two"
  assert listing.uncaptioned == ("x/a.jpg",)


def test_ambiguous_names(tmp_path):
  write(tmp_path, {"x/a.jpg": b"", "y/a.jpg": b"", "captions.txt": "a.jpg\tone"})
  message = fails("captions", tmp_path)
  assert "'x/a.jpg' or 'y/a.jpg'" in message


def test_two_names_of_one_photo_are_one_image(tmp_path):
  write(tmp_path, {"x/a.jpg": b"", "captions.txt": "x/a.jpg\tone\na.jpg\ttwo\na.jpg\tone\n"})
  listing = read("captions", tmp_path)
  assert said(listing) == {"x/a.jpg": ("one", "two", "one")}


def test_accents_may_be_written_in_two_ways(tmp_path):
  name = "foto-ñ.jpg"
  assert unicodedata.normalize("NFD", name) != name
  captions = f"{name}\tone\nx/{unicodedata.normalize('NFD', 'é.jpg')}\ttwo\n"
  files = {f"photos/{unicodedata.normalize('NFD', name)}": b"", "x/é.jpg": b""}
  write(tmp_path, {**files, "captions.txt": captions})
  assert sorted(said(read("captions", tmp_path)).values()) == [("one",), ("two",)]


def test_what_is_left_out_is_counted(tmp_path):
  rows = (
    "a.jpg,one\na.jpg,one\na.jpg,\nb.jpg,\ngone.jpg,one\ngone.jpg,two\ngone.jpg,two\n"
    f"{'x' * 300}.jpg,a name too long for the system\n"
  )
  files = {"a.jpg": b"", "b.jpg": b"", "sub/c.jpg": b"", "notes.md": ""}
  write(tmp_path, {**files, "captions.csv": rows})
  listing = read("captions", tmp_path)
  assert said(listing) == {"a.jpg": ("one", "one")}
  assert listing.missing == {"gone.jpg": 3, f"{'x' * 300}.jpg": 1}
  assert listing.uncaptioned == ("b.jpg", "sub/c.jpg")
  assert listing.dropped == {"empty": 2}


def test_no_photo_is_left(tmp_path):
  write(tmp_path, {"captions.txt": "b.jpg,two\na.jpg,one\n", "c.jpg": b""})
  message = fails("captions", tmp_path)
  assert message.startswith(
    f"none of the 2 photos named in {tmp_path}/captions.txt is in {tmp_path}"
  )
  assert "the first is 'b.jpg'" in message
  (tmp_path / "c.jpg").rename(tmp_path / "photos.tar.gz")
  assert "photos.tar.gz" in fails("captions", tmp_path)
  assert "unpack it" in fails("captions", tmp_path)


def test_no_captions_are_left(tmp_path):
  write(tmp_path, {"captions.txt": "a.jpg,\n", "a.jpg": b""})
  assert "has no captions" in fails("captions", tmp_path)


def test_encodings(tmp_path):
  write(tmp_path, {"a.jpg": b"", "captions.txt": "a.jpg,người".encode("utf-16")})
  assert said(read("captions", tmp_path)) == {"a.jpg": ("người",)}
  write(tmp_path, {"captions.txt": "a.jpg,one\nb.jpg,corazón".encode("latin-1")})
  assert "line 2: not UTF-8" in fails("captions", tmp_path)


@pytest.mark.parametrize(
  ("name", "options", "counts"),
  [
    ("flickr8k", {}, (212, 1060, 0, {})),
    (
      "flickr8k",
      {"captions": "Flickr8k.token.all-but-heldout.txt.gz"},
      (212, 1_060, 7_775, {}),
    ),
    ("ucm-captions", {}, (1_680, 8_400, 0, {})),
    ("vi-captions", {}, (2_708, 13_530, 0, {})),
  ],
)
def test_real_photos(shared_data, name, options, counts):
  if not (shared_data / name).is_dir():
    pytest.skip(f"no {name} beside this checkout")
  listing = read("flickr8k" if name == "flickr8k" else "captions", shared_data / name, **options)
  num = sum(len(entry.captions) for entry in listing.entries)
  assert (len(listing.entries), num, len(listing.missing), listing.dropped) == counts
  assert listing.uncaptioned == ()
  for entry in listing.entries[:3]:
    assert entry.blob.read().startswith(b"\xff\xd8")  # JPEG


def test_the_whole_of_flickr8k_by_its_captions_alone(shared_data):
  tree = Tree(str(shared_data))
  name = "flickr8k/Flickr8k.token.all-but-heldout.txt.gz"
  if name not in tree:
    pytest.skip("no Flickr8k beside this checkout")
  lines = tree.text(name).splitlines()
  listing = read(
    "flickr8k", shared_data / "flickr8k", captions="Flickr8k.token.all-but-heldout.txt.gz"
  )
  kept = sum(len(entry.captions) for entry in listing.entries)
  assert kept + sum(listing.missing.values()) == len(lines) == 39_930


def test_names_in_other_letters_or_without_suffix(tmp_path):
  files = {"Büro 0.JPG": b"", "x/1.png": b"", "x/2.jpg": b"", "y/2.JPG": b""}
  write(tmp_path, {**files, "captions.csv": "image_id;caption\nbüro 0.jpg;one\n1;two\n2;three\n"})
  listing = read("captions", tmp_path)
  assert said(listing) == {"1": ("two",), "büro 0.jpg": ("one",)}
  assert listing.missing == {"2": 1}  # there are two


def test_files_that_are_not_read_are_named(tmp_path):
  write(tmp_path, {"a.jpg": b"", "more.tar.gz": b"", "captions.txt": "a.jpg\tone"})
  listing = read("captions", tmp_path)
  assert listing.refused == ("'more.tar.gz': compressed, so it cannot be read in place: unpack it",)
