"""A dual encoder as a run: trained, loaded, used to choose among drawings."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from jaxt2i import cli, matcher
from jaxt2i.errors import UserError
from tests.runs import metrics_of, train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  return train(tmp_path_factory.mktemp("dual") / "encoder", "dual_encoder:shapes,tiny")


def test_training_writes_retrieval_scores(run):
  last = metrics_of(run)[-1]
  assert 0 <= last["val/r_precision"] <= 1
  assert last["val/chance"] == pytest.approx(1 / 16)  # 16 scenes, each of its own caption
  names = {f"val/{way}_r{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5)}
  assert names <= last.keys()


def test_a_loaded_matcher_gives_points_whatever_the_company(run):
  found = matcher.load(run)
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (matcher.CHUNK + 5, 64, 64, 3)).astype(np.uint8)
  points = found.images(images)
  np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-5)
  np.testing.assert_array_equal(found.images(images[-1:])[0], points[-1])
  texts = found.texts(["red", "", "blue circle"])
  np.testing.assert_array_equal(found.texts([""])[0], texts[1])
  fit = found.fit(images[:6].reshape(2, 3, 64, 64, 3), ["red", ""])
  expected = np.einsum("pnd,pd->pn", points[:6].reshape(2, 3, -1), texts[:2])
  np.testing.assert_allclose(fit, expected, atol=1e-6)


def test_reranking_keeps_what_fits_best(run, prior_run, tmp_path):
  import jaxt2i

  prompts = ["red circle", "green"]
  arguments = [f"--prompt={prompt}" for prompt in prompts]
  out = tmp_path / "out"
  chosen = [f"--rerank={run}", "--candidates=3", "--n=2", "--temperature=1", f"--out={out}"]
  assert cli.main(["generate", f"--workdir={prior_run}", *arguments, *chosen]) == 0
  drawings = jaxt2i.load(prior_run)(prompts, n=6)
  fit = matcher.load(run).fit(drawings.images, prompts)
  for number, prompt in enumerate(prompts):
    best = np.argsort(-fit[number])[:2]
    files = sorted(out.glob(f"0{number}-*.png"))
    assert {int(file.stem[-3:]) for file in files} == set(best)
    for file in files:
      with Image.open(file) as image:
        # The index reproduces the picture by itself.
        index = int(dict(image.text)["index"])
        assert dict(image.text)["candidates"] == "3"
        np.testing.assert_array_equal(np.asarray(image), drawings.images[number, index])
    assert prompt.replace(" ", "-") in files[0].name


def test_a_damaged_config_is_one_line(run, tmp_path):
  copy = tmp_path / "copy"
  shutil.copytree(run, copy)
  config = json.loads((copy / "config.json").read_text())
  for broken in ({k: v for k, v in config.items() if k != part} for part in ("task", "model")):
    (copy / "config.json").write_text(json.dumps(broken))
    with pytest.raises(UserError, match=r"config\.json is damaged"):
      matcher.load(copy)


def test_what_is_no_dual_encoder_is_refused(prior_run, tmp_path, capsys):
  with pytest.raises(UserError, match="must be the workdir of a dual encoder"):
    matcher.load(prior_run)
  common = ["generate", f"--workdir={prior_run}", "--prompt=x", f"--out={tmp_path}"]
  assert cli.main([*common, f"--rerank={prior_run}"]) == 1
  assert cli.main([*common, f"--rerank={prior_run}", "--n=200", "--candidates=9"]) == 2
  assert "with --candidates 9: must be 1 or more, and at most 1024" in capsys.readouterr().err
