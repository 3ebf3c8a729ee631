import functools
import http.server
import io
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxt2i.data import formats
from jaxt2i.data.openmoji import OpenMoji
from jaxt2i.data.tfds_builders import Flickr8k, OpenMojiConfig
from jaxt2i.errors import UserError

SPLITS = {"train": 6, "validation": 3, "test": 2, "unlisted": 1}
NAMES = {
  split: [f"{number}{i}_{split[:4]}.jpg" for i in range(count)]
  for number, (split, count) in enumerate(SPLITS.items(), 10)
}
ALL = sorted(name for names in NAMES.values() for name in names)


def jpeg(name):
  mode, shape = ("L", (8, 12)) if name == ALL[0] else ("RGB", (8, 12, 3))  # some are grey
  pixels = np.random.default_rng(list(name.encode())).integers(0, 255, shape, np.uint8)
  file = io.BytesIO()
  Image.fromarray(pixels, mode).save(file, "JPEG")
  return file.getvalue()


def captions(name):
  return [f"Dog {k} of {name.removesuffix('.jpg')} runs ." for k in range(5)]


def images_zip():
  """As in the public release, with what macOS leaves behind."""
  members = {f"Flicker8k_Dataset/{name}": jpeg(name) for name in ALL}
  return {
    "Flicker8k_Dataset/": b"",
    **members,
    "__MACOSX/": b"",
    "__MACOSX/Flicker8k_Dataset/": b"",
    f"__MACOSX/Flicker8k_Dataset/._{ALL[0]}": b"\0\5\x16\7",
  }


def text_zip(*, lists=True):
  lines = [f"{name}#{k}\t{text}" for name in ALL for k, text in enumerate(captions(name))]
  # The release names a photo that is not there.
  lines += [f"2258277193_586949ec62.jpg.1#{k}\tsome people" for k in range(5)]
  members = {
    "CrowdFlowerAnnotations.txt": "a.jpg\tb.jpg#2\t0\t0\t3\n",
    "Flickr8k.lemma.token.txt": "\n".join(lines).lower().replace("runs", "run") + "\n",
    "__MACOSX/._Flickr8k.lemma.token.txt": "\0",
    "Flickr8k.token.txt": "\n".join(lines) + "\n",
    "readme.txt": "If you publish work based on this data ...\n",
  }
  if lists:
    for split, name in (("train", "train"), ("validation", "dev"), ("test", "test")):
      members[f"Flickr_8k.{name}Images.txt"] = "".join(f"{photo}\n" for photo in NAMES[split])
  return {name: text.encode() for name, text in members.items()}


def write_zip(path, members):
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, data in members.items():
      archive.writestr(name, data)


def release(folder, **options):
  folder.mkdir(exist_ok=True)
  write_zip(folder / "Flickr8k_Dataset.zip", images_zip())
  write_zip(folder / "Flickr8k_text.zip", text_zip(**options))
  return folder


@pytest.fixture
def server(tmp_path, monkeypatch):
  """A real server with the release; gives the list of paths asked for."""
  asked = []

  class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
      asked.append(self.path)

  handler = functools.partial(Handler, directory=str(release(tmp_path / "release")))
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    monkeypatch.setattr(Flickr8k, "BASE_URL", f"http://127.0.0.1:{running.server_port}")
    yield asked
    running.shutdown()
    thread.join()


def prepare(folder, **options):
  builder = tfds.builder("flickr8k", data_dir=folder, file_format="array_record")
  builder.download_and_prepare(**options)
  return builder


def prepare_by_hand(folder, manual):
  return prepare(folder, download_config=tfds.download.DownloadConfig(manual_dir=str(manual)))


def read(folder, split):
  source = tfds.data_source(
    "flickr8k",
    split=split,
    data_dir=folder,
    decoders={"image": tfds.decode.SkipDecoding()},
  )
  return {row["image_id"].decode(): row for row in (source[i] for i in range(len(source)))}


def assert_complete(folder):
  for split, names in NAMES.items():
    rows = read(folder, split)
    assert sorted(rows) == names
    for name, row in rows.items():
      assert [text.decode() for text in row["captions"]] == captions(name)
      assert row["image"] == jpeg(name)


def test_flickr8k_is_downloaded_and_prepared(tmp_path, server):
  info = prepare(tmp_path / "tfds").info
  assert {name: split.num_examples for name, split in info.splits.items()} == SPLITS
  assert_complete(tmp_path / "tfds")
  assert sum("Flickr8k" in path for path in server) == 2
  assert info.download_size == sum(p.stat().st_size for p in (tmp_path / "release").iterdir())


def test_decoded_images_are_those_of_pillow(tmp_path):
  prepare_by_hand(tmp_path / "tfds", release(tmp_path / "manual"))
  source = tfds.data_source("flickr8k", split="train", data_dir=tmp_path / "tfds")
  assert len(source) == SPLITS["train"]
  for row in source:
    with Image.open(io.BytesIO(jpeg(row["image_id"].decode()))) as image:
      expected = np.asarray(image)
    np.testing.assert_array_equal(row["image"][..., 0], expected.reshape(8, 12, -1)[..., 0])


def test_nothing_is_unpacked_and_nothing_written_elsewhere(tmp_path, server):
  prepare(tmp_path / "tfds")
  assert {path.name for path in tmp_path.iterdir()} == {"release", "tfds"}
  assert not list((tmp_path / "tfds").rglob("*.jpg"))
  prepared = {path.name for path in (tmp_path / "tfds" / "flickr8k" / "1.0.0").iterdir()}
  shards = {f"flickr8k-{split}.array_record-00000-of-00001" for split in SPLITS}
  assert prepared == {*shards, "dataset_info.json", "features.json", "LICENSE"}


def test_downloads_are_used_again(tmp_path, server):
  prepare(tmp_path / "tfds")
  asked = len(server)
  again = tfds.download.DownloadConfig(
    download_mode=tfds.download.GenerateMode.REUSE_CACHE_IF_EXISTS
  )
  prepare(tmp_path / "tfds", download_config=again)
  assert_complete(tmp_path / "tfds")
  assert len(server) == asked


def test_what_a_broken_download_left_does_not_matter(tmp_path, server):
  left = tmp_path / "tfds" / "downloads" / "flickr8k" / "Flickr8k_Dataset.zip.tmp.0123"
  left.mkdir(parents=True)
  (left / "Flickr8k_Dataset.zip").write_bytes(b"PK half a file")
  prepare(tmp_path / "tfds")
  assert_complete(tmp_path / "tfds")


def test_archives_in_a_manual_folder_need_no_network(tmp_path):
  prepare_by_hand(tmp_path / "tfds", release(tmp_path / "manual"))
  assert_complete(tmp_path / "tfds")


def test_unpacked_files_in_a_manual_folder_need_no_network(tmp_path):
  for name in ("Flickr8k_Dataset.zip", "Flickr8k_text.zip"):
    with zipfile.ZipFile(release(tmp_path / "release") / name) as archive:
      archive.extractall(tmp_path / "manual" / name.removesuffix(".zip"))
  prepare_by_hand(tmp_path / "tfds", tmp_path / "manual")
  assert_complete(tmp_path / "tfds")


def test_without_lists_everything_is_for_training(tmp_path):
  builder = prepare_by_hand(tmp_path / "tfds", release(tmp_path / "manual", lists=False))
  assert {n: s.num_examples for n, s in builder.info.splits.items()} == {"train": len(ALL)}


def test_the_format_tfds_reads_it(tmp_path):
  prepare_by_hand(tmp_path / "tfds", release(tmp_path / "manual"))
  listing = formats.make("tfds", src=str(tmp_path / "tfds")).listing()
  original = formats.make("flickr8k", src=str(tmp_path / "manual")).listing()
  assert listing.terms == formats.FORMATS["flickr8k"].terms
  assert [(e.image_id, e.captions, e.split, e.blob.read()) for e in listing.entries] == [
    (e.image_id, e.captions, e.split, e.blob.read()) for e in original.entries
  ]


@pytest.mark.parametrize("name", ["flickr8k", "openmoji"])
def test_terms_and_citation_are_kept(name, tmp_path):
  info = tfds.builder(name, data_dir=tmp_path).info
  assert info.homepage.startswith("http")
  assert info.citation.startswith("@")
  licence = info.as_proto.redistribution_info.license
  assert {"flickr8k": "non-commercial", "openmoji": "CC BY-SA 4.0"}[name] in licence


def test_mistakes_are_told_in_a_line(tmp_path, server, monkeypatch):
  def error(action, *args):
    with pytest.raises(UserError) as caught:
      action(tmp_path / "tfds", *args)
    assert "\n" not in str(caught.value)
    return str(caught.value)

  assert "does not exist or is no folder" in error(prepare_by_hand, tmp_path / "nowhere")
  (tmp_path / "empty").mkdir()
  assert "no caption file" in error(prepare_by_hand, tmp_path / "empty")
  bare = release(tmp_path / "bare")
  write_zip(bare / "Flickr8k_Dataset.zip", {})
  assert f"none of the {len(ALL) + 1} photos" in error(prepare_by_hand, bare)
  monkeypatch.setattr(Flickr8k, "BASE_URL", Flickr8k.BASE_URL + "/gone")
  message = error(prepare)
  assert "404" in message
  assert "manual_dir=" in message
  assert not (tmp_path / "tfds" / "flickr8k" / "1.0.0").exists()


def test_a_damaged_image_is_named(tmp_path):
  folder = release(tmp_path / "manual")
  path = folder / "Flickr8k_Dataset.zip"
  with zipfile.ZipFile(path, "w") as archive:  # stored, so that the bytes can be found
    for name, data in images_zip().items():
      archive.writestr(name, data)
  data = jpeg(ALL[-1])
  path.write_bytes(path.read_bytes().replace(data, data[:-9] + b"123456789"))
  with pytest.raises(UserError, match=f"cannot read {ALL[-1]}.*CRC"):
    prepare_by_hand(tmp_path / "tfds", folder)


@pytest.fixture(scope="module")
def emoji(tmp_path_factory):
  """OpenMoji's basics, small and with captions in two languages."""
  folder = tmp_path_factory.mktemp("emoji")
  config = OpenMojiConfig(name="small", subset="basics", image_size=16, languages=("en", "de"))
  builder = tfds.builder("openmoji", config=config, data_dir=folder, file_format="array_record")
  builder.download_and_prepare()
  return folder


def test_openmoji_has_the_records_of_the_data_set(emoji):
  options = {"image_size": 16, "background": "white", "languages": ("en", "de")}
  splits = OpenMoji(**options, subset="basics").splits()
  names = {"train": "train", "val": "validation", "compositional": "test"}
  for name, split in names.items():
    source = tfds.builder_from_directory(emoji / "openmoji/small/1.0.0").as_data_source(split)
    rows = {row["image_id"].decode(): row for row in source}
    expected = {record.image_id: record for record in splits[name]}
    assert rows.keys() == expected.keys()
    for image_id, record in expected.items():
      row = rows[image_id]
      np.testing.assert_array_equal(row["image"], record.image)
      assert tuple(text.decode() for text in row["captions"]) == record.captions
      assert row["emoji"].decode() == record.attributes["emoji"]
      assert row["colour"].decode() == record.attributes.get("colour", "")


def test_openmoji_is_read_by_the_format_tfds(emoji):
  entries = formats.make("tfds", src=str(emoji)).listing().entries
  assert {entry.split for entry in entries} == {"train", "val", "test"}
  apple = next(entry for entry in entries if entry.image_id == "1F34E")
  assert apple.captions[0] == "red apple"
  assert (apple.attributes["object"], apple.attributes["colour"]) == ("apple", "red")
  assert "role" not in apple.attributes


def test_configs_of_openmoji_have_names():
  assert {"all", "concepts", "basics"} == set(tfds.builder_cls("openmoji").builder_configs)


def test_tensorflow_is_not_imported(tmp_path):
  script = f"""
import sys
import tensorflow_datasets as tfds
import jaxt2i.data.tfds_builders
config = tfds.download.DownloadConfig(manual_dir={str(release(tmp_path / "manual"))!r})
builder = tfds.builder("flickr8k", data_dir={str(tmp_path / "tfds")!r}, file_format="array_record")
builder.download_and_prepare(download_config=config)
source = tfds.data_source("flickr8k", split="test", data_dir={str(tmp_path / "tfds")!r})
assert source[1]["image"].shape == (8, 12, 3)
assert "tensorflow" not in sys.modules
"""
  subprocess.run(
    [sys.executable, "-W", "error", "-c", script], check=True, cwd=Path(__file__).parents[2]
  )
