"""A run as a small folder: the same weights in bfloat16, and what reads runs reads it."""

import json
import shutil

import jax
import ml_dtypes
import numpy as np
import pytest

import jaxt2i
from jaxt2i import cli, experiment, matcher, weights
from jaxt2i import config as config_lib
from jaxt2i.errors import UserError
from tests.runs import config, train


@pytest.fixture(scope="module")
def exported(tmp_path_factory, prior_run):
  out = tmp_path_factory.mktemp("exported") / "prior"
  assert cli.main(["export", f"--workdir={prior_run}", f"--out={out}"]) == 0
  return out


def test_weights_are_those_of_the_run_in_bfloat16(prior_run, exported):
  rounded = lambda x: (
    np.asarray(x).astype(ml_dtypes.bfloat16).astype(np.float32)
    if np.asarray(x).dtype.kind == "f"
    else np.asarray(x)
  )
  (params, collections), (found, exact) = weights.read(prior_run), weights.read(exported)
  jax.tree.map(np.testing.assert_array_equal, found, jax.tree.map(rounded, params))
  jax.tree.map(np.testing.assert_array_equal, exact, collections)  # the tokenizer: its tokens too
  sizes = [sum(x.size for x in jax.tree.leaves(tree)) for tree in (params, collections)]
  assert (exported / weights.FILE).stat().st_size < 2 * sizes[0] + 4 * sizes[1] + 20_000


def test_it_does_not_tell_where_its_tokenizer_was(prior_run, exported):
  old, new = (config_lib.load(workdir) for workdir in (prior_run, exported))
  assert old["tokenizer"]
  assert new == old | {"tokenizer": ""}


def test_it_draws_alone(exported, tmp_path, prior_run):
  alone = shutil.move(shutil.copytree(exported, tmp_path / "copy"), tmp_path / "alone")
  pipe = jaxt2i.load(alone)
  drawn = pipe(["large red star"], n=2)
  assert drawn.images.shape == (1, 2, 64, 64, 3)
  text = pipe.text_processor(["large red star"])
  np.testing.assert_array_equal(text, jaxt2i.load(prior_run).text_processor(["large red star"]))


def test_a_prior_can_be_trained_on_an_exported_tokenizer(tokenizer_run, tmp_path):
  weights.export(tokenizer_run, tmp_path / "tokenizer")
  assert not (tmp_path / "tokenizer" / "text.json").exists()
  what = experiment.make(config("prior:shapes,tiny", tokenizer=str(tmp_path / "tokenizer")))
  frozen = what.init(jax.random.key(0))["frozen"]
  assert set(frozen) == {"params", "codebook"}
  assert jax.tree.leaves(frozen["params"])[0].dtype == np.float32


def test_a_dual_encoder_too(tmp_path):
  train(tmp_path / "run", "dual_encoder:shapes,tiny")
  weights.export(tmp_path / "run", tmp_path / "exported")
  points = [matcher.load(tmp_path / name).texts(["red"]) for name in ("run", "exported")]
  np.testing.assert_allclose(*points, atol=0.02)


def test_it_is_evaluated_as_a_run_is(exported, tmp_path):
  copy = shutil.copytree(exported, tmp_path / "copy")
  assert cli.main(["evaluate", f"--workdir={copy}", "--n=2"]) == 0
  assert json.loads((copy / "eval" / "val.json").read_text())["base"]["images"] == 16


@pytest.mark.parametrize("name", [weights.FILE, "config.json", "text.json"])
def test_a_flipped_bit_is_noticed(exported, tmp_path, name):
  copy = shutil.copytree(exported, tmp_path / "copy")
  content = bytearray((copy / name).read_bytes())
  where = content.index(b"e" if name.endswith("json") else b"\x3f", len(content) // 2)
  content[where] ^= 1
  (copy / name).write_bytes(content)
  with pytest.raises(UserError, match=f"damaged .{name} is truncated or altered") as caught:
    weights.read(copy)
  assert "\n" not in str(caught.value)


def test_what_cannot_be_exported_is_one_line(prior_run, tmp_path, capsys):
  (tmp_path / "full").mkdir()
  (tmp_path / "full" / "file").touch()
  for arguments, message in (
    ((prior_run, tmp_path / "full"), "is not an empty folder: choose another --out"),
    ((tmp_path / "full", tmp_path / "new"), "holds no run"),
    ((prior_run, tmp_path / "full" / "file"), "is not an empty folder"),
  ):
    workdir, out = arguments
    assert cli.main(["export", f"--workdir={workdir}", f"--out={out}"]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
