import io
import json
import multiprocessing
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from jaxt2i.data import formats
from jaxt2i.data.files import Blob
from jaxt2i.data.formats import huggingface
from jaxt2i.errors import UserError


@pytest.fixture
def hf():
  return pytest.importorskip("datasets", reason="the extra huggingface is not installed")


def png(seed):
  pixels = np.random.default_rng(seed).integers(0, 255, (9, 11, 3), np.uint8)
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "PNG")
  return file.getvalue()


def cell(seed):
  return {"bytes": png(seed), "path": f"{seed}.png"}


def save(hf, folder, features=None, **columns):
  """A Dataset on disk, whose column `image` holds images."""
  data = hf.Dataset.from_dict(columns)
  kinds = {**data.features, "image": hf.Image(), **(features or {})}
  data.cast(hf.Features({name: kinds[name] for name in columns})).save_to_disk(str(folder))
  return str(folder)


def save_splits(hf, folder, features=None, **splits):
  """A DatasetDict on disk."""
  for split, columns in splits.items():
    save(hf, folder / split, features, **columns)
  (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))
  return str(folder)


def listing(src, **options):
  return formats.make("huggingface", src=src, **options).listing()


def error(src, **options):
  with pytest.raises(UserError) as caught:
    listing(src, **options)
  message = str(caught.value)
  assert "\n" not in message
  return message


def test_a_data_set_of_one_split(hf, tmp_path):
  src = save(
    hf,
    tmp_path / "d",
    image=[cell(0), cell(1), cell(2)],
    caption=["a  dog\n", None, "a cat"],
    image_id=["a.png", "b.png", "c.png"],
  )
  found = listing(src)
  assert [(e.image_id, e.captions, e.split) for e in found.entries] == [
    ("a.png", ("a dog",), ""),
    ("c.png", ("a cat",), ""),
  ]
  assert [e.blob.read() for e in found.entries] == [png(0), png(2)]
  assert found.uncaptioned == ("b.png",)
  assert found.dropped == {"empty": 1}
  assert found.missing == {}


def test_splits_get_their_usual_names(hf, tmp_path):
  one = {"image": [cell(0)], "text": ["a dog"]}
  src = save_splits(hf, tmp_path, train=one, validation=one, test=one)
  assert [(e.image_id, e.split) for e in listing(src).entries] == [
    ("test/0000000", "test"),
    ("train/0000000", "train"),
    ("validation/0000000", "val"),
  ]


def test_a_data_set_that_datasets_wrote_itself(hf, tmp_path):
  data = hf.Dataset.from_dict({"image": [cell(0), cell(1)], "caption": ["one", "two"]})
  data = data.cast_column("image", hf.Image())
  hf.DatasetDict(train=data, test=data.select([1])).save_to_disk(str(tmp_path / "d"))
  entries = listing(str(tmp_path / "d")).entries
  assert [(e.split, e.captions, e.blob.read()) for e in entries] == [
    ("test", ("two",), png(1)),
    ("train", ("one",), png(0)),
    ("train", ("two",), png(1)),
  ]


def test_a_column_may_hold_the_official_split(hf, tmp_path):
  """As in Flickr30k on the hub: one split called test, and Karpathy's names in a column."""
  columns = {
    "image": [cell(i) for i in range(4)],
    "caption": [[f"caption {i}", "another"] for i in range(4)],
    "split": ["train", "restval", "val", "test"],
    "filename": [f"{i}.jpg" for i in range(4)],
  }
  entries = listing(save_splits(hf, tmp_path, test=columns)).entries
  assert [e.split for e in entries] == ["train", "train", "val", "test"]
  assert entries[2].captions == ("caption 2", "another")
  assert entries[2].attributes == {}


def test_numbered_columns_are_captions_of_one_image(hf, tmp_path):
  numbered = {f"caption_{k}": [f"text {k}"] for k in range(5)}
  (entry,) = listing(save(hf, tmp_path / "d", image=[cell(0)], **numbered)).entries
  assert entry.captions == tuple(f"text {k}" for k in range(5))
  assert entry.attributes == {}


def test_rows_of_one_image_are_one_entry(hf, tmp_path):
  src = save(
    hf,
    tmp_path / "d",
    image=[cell(0), cell(0), cell(1)],
    sentence=["a dog", "a puppy", "a cat"],
    img_id=[7, 7, 8],
    id=[0, 1, 2],
  )
  first, second = listing(src).entries
  assert (first.image_id, first.captions, first.attributes) == (
    "7",
    ("a dog", "a puppy"),
    {"id": 0},
  )
  assert (second.image_id, second.blob.read()) == ("8", png(1))


def test_names_that_some_rows_lack_are_not_used(hf, tmp_path):
  columns = {"image": [cell(0), cell(1)], "caption": ["a", "b"], "filename": ["a.jpg", None]}
  ids = [entry.image_id for entry in listing(save(hf, tmp_path / "d", **columns)).entries]
  assert ids == ["0000000", "0000001"]


def test_plain_columns_are_attributes(hf, tmp_path):
  src = save(
    hf,
    tmp_path / "d",
    {"kind": hf.ClassLabel(names=["dog", "cat"])},
    image=[cell(0), cell(1)],
    caption=["one", "two"],
    kind=[1, None],
    size=[0.5, float("nan")],
    count=[3, None],
    seen=[True, False],
    boxes=[[[0.0, 1.0]], []],
    author=["me", "you"],
  )
  first, second = (entry.attributes for entry in listing(src).entries)
  assert first == {"kind": "cat", "size": 0.5, "count": 3, "seen": True, "author": "me"}
  assert second == {"kind": None, "size": None, "count": None, "seen": False, "author": "you"}
  json.dumps([first, second], allow_nan=False)


def test_no_image_is_decoded(hf, tmp_path):
  src = save(hf, tmp_path / "d", image=[{"bytes": b"no image", "path": "a.png"}], caption=["a dog"])
  assert listing(src).entries[0].blob.read() == b"no image"


def test_images_may_lie_beside_the_table(hf, tmp_path):
  """Tables that old versions saved name files; new versions take these in."""
  (tmp_path / "a.png").write_bytes(png(3))
  src = save(hf, tmp_path / "d", image=[cell(0)] * 2, caption=["a", "b"])
  (table,) = Path(src).glob("*.arrow")
  with pa.memory_map(str(table)) as file, pa.ipc.open_stream(file) as reader:
    rows = reader.read_all()
  cells = [{"bytes": None, "path": str(tmp_path / name)} for name in ("a.png", "b.png")]
  images = pa.array(cells, rows.schema.field("image").type)
  table.unlink()  # it is still mapped
  with pa.OSFile(str(table), "wb") as file, pa.ipc.new_stream(file, rows.schema) as writer:
    index = rows.schema.get_field_index("image")
    writer.write_table(rows.set_column(index, rows.schema.field(index), images))
  kept, gone = listing(src).entries
  assert kept.blob.read() == png(3)
  with pytest.raises(OSError, match=r"b\.png"):
    gone.blob.read()


def test_rows_without_an_image_say_so_when_read(hf, tmp_path):
  src = save(hf, tmp_path / "d", image=[None, cell(0)], caption=["a", "b"])
  with pytest.raises(OSError, match=r"row 0 of .* has no image"):
    listing(src).entries[0].blob.read()


def test_blobs_are_small_and_travel(hf, tmp_path):
  blob = listing(save(hf, tmp_path / "d", image=[cell(0)], caption=["a"])).entries[0].blob
  assert isinstance(blob, Blob)
  assert len(pickle.dumps(blob)) < 150 + len(blob.folder)
  with multiprocessing.get_context("spawn").Pool(1) as pool:
    assert pool.apply(pickle.loads(pickle.dumps(blob)).read) == png(0)
  with pytest.raises(OSError, match="more than 10 bytes"):
    blob.read(limit=10)


def test_identity_follows_the_table(hf, tmp_path):
  src = save(hf, tmp_path / "d", image=[cell(0), cell(0)], caption=["a", "b"])
  one, other = (entry.blob for entry in listing(src).entries)
  before = one.identity()
  assert before == one.identity() != other.identity()
  next(Path(src).glob("*.arrow")).touch()
  huggingface._table.cache_clear()  # another process has not looked yet
  assert one.identity() != before


def test_options_choose_among_several(hf, tmp_path):
  columns = {"image": [cell(0)], "mask": [cell(1)], "title": ["dog"], "story": [["a dog came"]]}
  src = save(hf, tmp_path / "d", {"mask": hf.Image()}, **columns)
  assert "several images (image, mask): choose one by the option image_column" in error(src)
  assert "(story, title): choose the captions by the option" in error(src, image_column="mask")
  assert "'tale'" in error(src, image_column="mask", caption_column="tale")
  assert "image_column 'picture'" in error(src, image_column="picture")
  (entry,) = listing(src, image_column="mask", caption_column="story").entries
  assert entry.captions == ("a dog came",)
  assert entry.attributes == {"title": "dog"}
  assert entry.blob.read() == png(1)


def test_data_without_images_or_captions_is_refused(hf, tmp_path):
  hf.Dataset.from_dict({"text": ["a"]}).save_to_disk(str(tmp_path / "a"))
  assert "has no column of images, only text" in error(str(tmp_path / "a"))
  src = save(hf, tmp_path / "b", image=[cell(0)], label=[1])
  assert "has no text that could be captions" in error(src)
  src = save(hf, tmp_path / "c", image=[cell(0)], caption=[""])
  assert f"no image in Hugging Face data in {src} has a caption" in error(src)
  train, test = ({"image": [cell(0)], name: ["a"]} for name in ("caption", "text"))
  src = save_splits(hf, tmp_path / "d", train=train, test=test)
  assert "'train' and 'test' have different columns" in error(src)


def test_terms_are_the_licence(hf, tmp_path):
  data = hf.Dataset.from_dict({"image": [cell(0)], "caption": ["a"]}).cast_column(
    "image", hf.Image()
  )
  data.info.license = "CC BY 4.0,\nsee LICENSE"
  data.save_to_disk(str(tmp_path / "d"))
  made = formats.make("huggingface", src=str(tmp_path / "d"))
  assert isinstance(made, formats.Format)
  assert made.listing().terms == "CC BY 4.0, see LICENSE"


def test_folders_of_another_kind_are_refused(hf, tmp_path):
  assert "does not exist" in error(str(tmp_path / "nowhere"))
  (tmp_path / "hub").mkdir()
  assert "save_to_disk" in error(str(tmp_path / "hub"))
  src = save(hf, tmp_path / "d", image=[cell(0)], caption=["a"])
  next(Path(src).glob("*.arrow")).write_bytes(b"\0" * 100)
  assert "save it: datasets.load_dataset" in error(src)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "datasets", None)
  assert error(str(tmp_path)).endswith('install it: pip install -e ".[huggingface]"')


def test_no_other_framework_is_imported(hf, tmp_path):
  src = save(hf, tmp_path / "d", image=[cell(0)], caption=["a"])
  script = f"""
import sys
from jaxt2i.data import formats
(entry,) = formats.make("huggingface", src={src!r}).listing().entries
entry.blob.read()
assert not {{"tensorflow", "torch", "jax", "tensorflow_datasets"}} & set(sys.modules)
"""
  subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)
