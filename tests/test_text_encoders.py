"""Every way of reading captions as a run: trained, loaded, drawn with; and what does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxt2i
from jaxt2i import data, experiment, main, matcher, text
from jaxt2i.errors import UsageError, UserError
from jaxt2i.experiment.parts import FEATURES_FILE
from jaxt2i.state import TrainState
from jaxt2i.training import Training
from jaxt2i.word_vectors import WordVectors
from tests.runs import config, metrics_of, train
from tests.sentences import random_encoder


@pytest.fixture
def feature_file(tmp_path):
  """Features of the captions of `shapes,tiny`, and of one more."""
  options = config("prior:shapes,tiny")["data"]
  captions = {"large red star"}
  for split in ("train", "val"):
    source = data.load(split, **options)
    captions |= {caption for i in range(len(source)) for caption in source[i].captions}
  known = np.array(sorted(captions))
  features = np.random.default_rng(0).normal(size=(len(known), 3, 5)).astype(np.float32)
  np.savez(tmp_path / "features.npz", captions=known, features=features)
  return tmp_path / "features.npz"


@pytest.fixture
def make(monkeypatch, feature_file, tokenizer_run):
  """The config of a tiny prior that reads captions in this way."""
  random_encoder(monkeypatch, 8)  # in the place of the weights that a package brings

  def make_config(name, **changes):
    if name == "file":
      changes = {"text.path": str(feature_file), **changes}
    return config(f"prior:{name},shapes,tiny", tokenizer=str(tokenizer_run), **changes)

  return make_config


@pytest.mark.parametrize("name", ["gru", "minilm", "file"])
def test_a_prior_is_trained_loaded_and_drawn_with(make, name, feature_file, tmp_path):
  run, chosen = tmp_path / "run", make(name, prompts=("large red star",))
  main.run(chosen, run)
  assert np.isfinite(metrics_of(run)[-1]["val/nll"])
  pipe = jaxt2i.load(run)
  drawn = pipe(["large red star", ""], n=2, seed=3)
  again = pipe(["", "large red star"], n=2, seed=3)  # whatever the company
  np.testing.assert_array_equal(drawn.images, again.images[::-1])
  assert (run / FEATURES_FILE).exists() == (name == "minilm")
  if name == "gru":
    return
  # What the run learnt from is what a prompt becomes.
  asked = ["large red star", ""]
  np.testing.assert_array_equal(pipe.text_processor(asked), text.make(chosen["text"], [])(asked))
  if name == "file":
    with pytest.raises(UserError, match="lacks 1 that are asked for, the first of them 'a fox'"):
      pipe(["a fox"])
    rewrite(feature_file, lambda captions, features: (captions, features + 1))
    with pytest.raises(UserError, match="text_fingerprint"):
      main.run(chosen, run)


def rewrite(path, change):
  with np.load(path) as file:
    captions, features = change(file["captions"], file["features"])
  np.savez(path, captions=captions, features=features)


@pytest.mark.parametrize("name", ["transformer", "gru", "lstm", "minilm", "file"])
def test_the_caption_reaches_the_logits_and_its_encoder_learns(make, name):
  what = experiment.make(make(name))
  example = what.example()
  variables = what.init(jax.random.key(0))
  rng, shape = np.random.default_rng(0), (2, *example["text"].shape[1:])
  ids = example["text"].dtype == np.int32
  words = rng.integers(2, 9, shape) if ids else rng.normal(size=shape)
  batch = {
    "tokens": jnp.asarray(np.repeat(example["tokens"], 2, axis=0)),
    "text": jnp.asarray(words.astype(example["text"].dtype)),
  }
  loss = lambda params: (
    what.task.loss({"params": params}, batch, jax.random.key(1), train=False).loss
  )
  gradients = jax.jit(jax.grad(loss))(variables["params"])["text_encoder"]
  leaves = jax.tree_util.tree_leaves_with_path(gradients)
  unread = [jax.tree_util.keystr(path) for path, gradient in leaves if not np.any(gradient)]
  assert not unread


@pytest.mark.parametrize("name", ["gru", "minilm"])
def test_a_state_cut_over_devices_is_made_of_the_same_bits(make, name, tmp_path):
  changes = {"mesh.data": 1, "mesh.fsdp": 2}
  if name == "gru":
    WordVectors(("red", "star"), np.full((2, 64), 0.3, np.float32)).save(tmp_path / "vectors.txt")
    changes["word_vectors"] = str(tmp_path / "vectors.txt")
  chosen = make(name, **changes)
  what, training = experiment.make(chosen), Training.of(chosen)
  mesh = training.make_mesh()
  found = training.fresh(what, mesh)
  expected = TrainState.create(what.init(jax.random.key(0)), training.optimizer)
  jax.tree.map(np.testing.assert_array_equal, found, expected)
  for leaf, place in zip(*map(jax.tree.leaves, (found, training.shapes(what, mesh))), strict=True):
    assert leaf.sharding == place.sharding
  table = found.params["embed"]["embedding"]
  assert {shard.data.size for shard in table.addressable_shards} == {table.size // 2}


def test_a_caption_without_features_is_refused_before_training(make, feature_file, tmp_path):
  rewrite(feature_file, lambda captions, features: (captions[:-5], features[:-5]))
  with pytest.raises(UserError, match=r"lacks [1-5] that are asked for"):
    main.run(make("file"), tmp_path / "run")
  assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize(
  ("name", "changes", "message"),
  [
    ("transformer", {"text.kind": "minilm"}, "takes max_length; choose it after the colon"),
    ("transformer", {"text.kind": "letters"}, "must be one of 'bpe', 'word', 'label', 'byte'"),
    ("transformer", {"model.text.name": "features"}, "must be 'transformer', 'gru', 'lstm'"),
    ("minilm", {"model.text.name": "gru"}, "must be 'features' for this config.text.kind"),
    ("minilm", {"model.text.layers": -1}, "config.model.text.layers is -1: must be 0 or more"),
    ("gru", {"model.text.layers": 0}, "config.model.text.layers is 0: must be 1 or more"),
    ("gru", {"model.text.embed_dim": 0}, "config.model.text.embed_dim is 0: must be 1 or more"),
    ("gru", {"model.width": 34, "model.heads": 3}, "must divide config.model.width"),
    ("transformer", {"word_vectors": "vectors.txt"}, "cannot read word vectors vectors.txt"),
  ],
)
def test_what_does_not_fit_is_one_line(make, name, changes, message):
  with pytest.raises(UserError, match=message) as caught:
    experiment.make(make(name, **changes))
  assert "\n" not in str(caught.value)


def test_word_vectors_are_where_embeddings_start(make, tmp_path):
  words = ("red", "star", "blue", "zebra")
  rows = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
  WordVectors(words, 5 * rows).save(tmp_path / "vectors.txt")
  chosen = make("gru", word_vectors=str(tmp_path / "vectors.txt"))
  fresh = experiment.make(make("gru")).init(jax.random.key(0))["params"]
  what = experiment.make(chosen)
  params = what.init(jax.random.key(0))["params"]
  source = data.load("train", **chosen["data"])
  ids = text.make(chosen["text"], (c for i in range(len(source)) for c in source[i].captions))
  embedding = np.asarray(params["text_encoder"]["embed"]["embedding"])
  before = np.asarray(fresh["text_encoder"]["embed"]["embedding"])
  at = [int(ids([word])[0, 0]) for word in words[:3]]
  scale = np.sqrt(np.mean(before[at] ** 2) / np.mean((5 * rows[:3]) ** 2))
  np.testing.assert_allclose(embedding[at], scale * 5 * rows[:3], rtol=1e-5)
  others = np.setdiff1d(np.arange(len(before)), at)
  np.testing.assert_array_equal(embedding[others], before[others])


def test_word_vectors_want_words(make, tmp_path):
  WordVectors(("red",), np.ones((1, 32), np.float32)).save(tmp_path / "vectors.txt")
  what = experiment.make(make("transformer", word_vectors=str(tmp_path / "vectors.txt")))
  with pytest.raises(UserError, match=r"choose --config\.text.kind=word"):
    what.init(jax.random.key(0))


def test_a_dual_encoder_reads_features(monkeypatch, tmp_path):
  random_encoder(monkeypatch, 8)
  train(tmp_path / "run", "dual_encoder:minilm,shapes,tiny")
  found = matcher.load(tmp_path / "run")
  points = found.texts(["a red cat", "", "a red dog on grass"])
  assert np.abs(points[0] - points[2]).max() > 1e-4  # the point is of the caption
  np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-5)


def test_a_dual_encoder_without_layers_reads_nothing(monkeypatch):
  random_encoder(monkeypatch, 8)
  with pytest.raises(UsageError, match="must be 1 or more for a dual encoder"):
    experiment.make(config("dual_encoder:minilm,shapes,tiny", **{"model.text.layers": 0}))
