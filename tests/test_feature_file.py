"""Features of captions from a file: values, and files that are none."""

import json
import pickle

import numpy as np
import pytest

from jaxt2i import text
from jaxt2i.errors import UserError
from jaxt2i.feature_file import FeatureFile

CAPTIONS = ["a red cat", "a dog", " spaces stay "]


def written(path, captions=CAPTIONS, shape=(3, 4, 6), dtype=np.float16):
  features = np.random.default_rng(0).normal(size=shape).astype(dtype)
  np.savez(path, captions=np.array(captions), features=features)
  return features


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_features_of_each_caption(tmp_path, dtype):
  features = written(tmp_path / "f.npz", dtype=dtype)
  found = FeatureFile(tmp_path / "f.npz")
  asked = [CAPTIONS[2], "", CAPTIONS[0], CAPTIONS[2]]
  array = found(asked)
  assert array.dtype == np.float32
  expected = np.stack([features[2], np.zeros((4, 6)), features[0], features[2]])
  np.testing.assert_array_equal(array, expected.astype(np.float32))
  assert found([]).shape == (0, 4, 6)


def test_one_row_a_caption(tmp_path):
  features = written(tmp_path / "f.npz", shape=(3, 6))
  np.testing.assert_array_equal(FeatureFile(tmp_path / "f.npz")(CAPTIONS), features[:, None])


def test_goes_to_workers(tmp_path):
  written(tmp_path / "f.npz")
  found = FeatureFile(tmp_path / "f.npz")
  np.testing.assert_array_equal(pickle.loads(pickle.dumps(found))(CAPTIONS), found(CAPTIONS))


def test_unknown_captions_are_counted_and_named(tmp_path):
  written(tmp_path / "f.npz")
  message = "features of 3 captions and lacks 2 that are asked for, the first of them 'a cat'"
  with pytest.raises(UserError, match=message):
    text.of_known(FeatureFile(tmp_path / "f.npz"), ["a dog", "a cat", "", "a cat", "no"])


def test_saved_and_loaded(tmp_path, monkeypatch):
  written(tmp_path / "f.npz")
  monkeypatch.chdir(tmp_path)
  found = text.make({"kind": "file", "path": "f.npz"}, [])
  (tmp_path / "run").mkdir()
  found.save(tmp_path / "run" / "text.json")
  monkeypatch.chdir("/")
  loaded = text.load(tmp_path / "run" / "text.json")
  assert loaded.fingerprint == found.fingerprint
  np.testing.assert_array_equal(loaded(CAPTIONS), found(CAPTIONS))
  written(tmp_path / "f.npz", shape=(3, 4, 7))
  with pytest.raises(UserError, match="is not the file of features that the run was trained with"):
    text.load(tmp_path / "run" / "text.json")
  (tmp_path / "f.npz").unlink()
  with pytest.raises(UserError, match=r"cannot read features of captions .*: No such file"):
    text.load(tmp_path / "run" / "text.json")


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"", "expected an .npz"),
    (b"PK\3\4 not a zip", "expected an .npz"),
    ({"captions": np.array(["a"])}, "KeyError, expected an .npz"),
    ({"captions": np.array(["a", "b"]), "features": np.zeros((1, 2))}, r"captions .* \[2\] and"),
    ({"captions": np.array([1]), "features": np.ones((1, 2))}, "captions int64"),
    ({"captions": np.array(["a"]), "features": np.ones((1, 2), int)}, "features int64"),
    ({"captions": np.array(["a"]), "features": np.ones(1)}, r"features float64 \[1\]"),
    ({"captions": np.array(["a"]), "features": np.ones((1, 0))}, r"features float64 \[1, 0\]"),
    ({"captions": np.array(["a"]), "features": np.full((1, 2), np.nan)}, "not finite"),
    ({"captions": np.array(["a", "a"]), "features": np.ones((2, 2))}, "2 captions, of which 1"),
    ({"captions": np.array(["a"], object), "features": np.ones((1, 2))}, "expected an .npz"),
  ],
)
def test_what_is_no_such_file_is_one_line(tmp_path, content, message):
  path = tmp_path / "f.npz"
  if isinstance(content, bytes):
    path.write_bytes(content)
  else:
    np.savez(path, **content)
  with pytest.raises(UserError, match=message) as caught:
    FeatureFile(path)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["{", json.dumps({"kind": "file"}), json.dumps([])])
def test_a_damaged_note_is_one_line(tmp_path, content):
  (tmp_path / "text.json").write_text(content)
  with pytest.raises(UserError, match="damaged"):
    text.load(tmp_path / "text.json")
