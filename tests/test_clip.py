"""CLIP against transformers: numbers that it gave once, and live where it is installed."""

import json

import numpy as np
import pytest
import safetensors.numpy

from jaxt2i.clip import clip
from tests.supplied import CLIP, pictures, write_clip
from tests.test_supplied import refused

REFERENCE = json.loads(CLIP.read_text())


@pytest.fixture
def folder(tmp_path):
  write_clip(tmp_path)
  return tmp_path


def change(path, *names, value):
  content = part = json.loads(path.read_text())
  for name in names[:-1]:
    part = part[name]
  part[names[-1]] = value
  path.write_text(json.dumps(content))


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_equals_the_numbers_of_transformers(tmp_path, activation):
  write_clip(tmp_path, activation)
  found = clip(tmp_path)
  expected = REFERENCE[activation]
  images = found.images(pictures(*REFERENCE["pictures"]))
  texts = found.texts(REFERENCE["captions"])
  assert images.dtype == texts.dtype == np.float32
  np.testing.assert_allclose(images, expected["images"], atol=3e-6)
  np.testing.assert_allclose(texts, expected["texts"], atol=3e-6)
  np.testing.assert_array_equal(found(pictures(*REFERENCE["pictures"])), images)


@pytest.mark.parametrize("eos", [521, 2])
def test_equals_transformers_live(folder, eos):
  pytest.importorskip("transformers")
  pytest.importorskip("torch")
  from tests.models import transformers_clip

  change(folder / "config.json", "text_config", "eos_token_id", value=eos)
  found = clip(folder)
  captions = ["an art", "hear hear!", "x" * 99, "heart"]
  # Where images are resized, a few pixels differ from Pillow's by rounding.
  for shape, atol in (((3, 30, 30), 3e-6), ((3, 61, 45), 3e-4)):
    images = pictures(*shape)
    of_images, of_texts = transformers_clip.points(folder, images, captions)
    np.testing.assert_allclose(found.images(images), of_images, atol=atol)
    np.testing.assert_allclose(found.texts(captions), of_texts, atol=3e-6)


def test_points_have_length_1_and_do_not_depend_on_their_company(folder):
  found = clip(folder)
  images = pictures(19, 30, 30)
  points = found.images(images)
  np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-6)
  np.testing.assert_allclose(found.images(images[17:18]), points[17:18], atol=1e-6)
  captions = [f"heart {i}" for i in range(19)]
  points = found.texts(captions)
  np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-6)
  np.testing.assert_allclose(found.texts(captions[17:18]), points[17:18], atol=1e-6)
  assert found.images(images[:0]).shape == found.texts([]).shape == (0, 24)


def test_says_which_network_it_is_and_how_it_looks(folder):
  found = clip(folder)
  assert found.name.startswith("CLIP ViT, 30 px, patch 7, sha256 ")
  assert "30×30" in found.how
  sha256 = found.name.split()[-1]
  assert len(sha256) == 12
  assert clip(folder, sha256).name == found.name
  refused(lambda: clip(folder, "0123456789"), "model.safetensors", sha256, "0123456789")


def test_what_a_file_of_settings_leaves_out_is_as_in_the_smallest_published_one(folder):
  config = folder / "config.json"
  content = json.loads(config.read_text())
  for part in ("vision_config", "text_config"):
    for name in ("hidden_act", "layer_norm_eps"):
      del content[part][name]
  content["text_config_dict"] = content["text_config"]  # as old files have it
  content["text_config"] = {"hidden_size": 7}
  config.write_text(json.dumps(content))
  points = clip(folder).texts(REFERENCE["captions"])
  np.testing.assert_allclose(points, REFERENCE["quick_gelu"]["texts"], atol=3e-6)


@pytest.mark.parametrize(
  ("names", "value", "message"),
  [
    (["model_type"], "bert", "is of a 'bert', expected 'clip'"),
    (["model_type"], 3, "'model_type' is missing or odd"),
    (["vision_config"], [1], "no object vision_config"),
    (["text_config"], None, "no object text_config"),
    (["projection_dim"], "24", "projection_dim '24', expected a number"),
    (
      ["vision_config", "hidden_act"],
      "relu",
      "hidden_act 'relu', expected one of quick_gelu, gelu",
    ),
    (["vision_config", "num_hidden_layers"], 10**9, "num_hidden_layers 1000000000, expected"),
    (["vision_config", "hidden_size"], True, "hidden_size True, expected a number"),
    (["vision_config", "num_attention_heads"], 5, "hidden_size 48, expected a multiple of 5"),
    (["vision_config", "image_size"], [30, 30], "image_size [30, 30], expected a number"),
    (["vision_config", "num_channels"], 4, "num_channels 4, expected 3"),
    (["text_config", "layer_norm_eps"], 2.0, "layer_norm_eps 2.0, expected a number between"),
    (["text_config", "max_position_embeddings"], 1, "max_position_embeddings 1, expected"),
    (["text_config", "eos_token_id"], 7, "eos_token_id 7, the tokenizer beside it 521"),
    (["text_config", "vocab_size"], 500, "has 522 tokens up to id 521"),
    (
      ["projection_dim"],
      25,
      "tensor 'text_projection.weight' as float32 [24, 32], expected floats [25, 32]",
    ),
    (["vision_config", "patch_size"], 5, "patch_embedding.weight' as float32 [48, 3, 7, 7]"),
    (["vision_config", "patch_size"], 31, "patch_size 31, expected at most"),
    (["text_config", "num_hidden_layers"], 3, "no tensor 'text_model.encoder.layers.2."),
  ],
)
def test_settings_of_another_network_are_refused(folder, names, value, message):
  change(folder / "config.json", *names, value=value)
  refused(lambda: clip(folder), message)


def test_a_tensor_that_is_missing_is_named(folder):
  path = folder / "model.safetensors"
  tensors = safetensors.numpy.load_file(path)
  name = "vision_model.pre_layrnorm.weight"
  safetensors.numpy.save_file({k: v for k, v in tensors.items() if k != name}, path)
  refused(lambda: clip(folder), str(path), f"no tensor {name!r}")


def test_missing_and_damaged_files_are_named(folder):
  path = folder / "model.safetensors"
  path.write_bytes(path.read_bytes()[:-1])
  refused(lambda: clip(folder), str(path), "damaged")
  path.unlink()
  refused(lambda: clip(folder), "has no model.safetensors", "save_pretrained")
  (folder / "config.json").write_text("{")
  refused(lambda: clip(folder), "config.json", "not JSON")
  (folder / "config.json").unlink()
  refused(lambda: clip(folder), "cannot read", "config.json")


def test_without_a_tokenizer_images_are_seen_and_captions_refused(folder):
  (folder / "vocab.json").unlink()
  found = clip(folder)
  assert found.images(pictures(1, 30, 30)).shape == (1, 24)
  refused(lambda: found.texts(["heart"]), "no tokenizer.json", "put those of this CLIP there")
