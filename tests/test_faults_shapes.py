"""A run continued with other shapes: one line says what is saved, what is asked for, what helps."""

import re
import shutil

import pytest

from tests.faults import arguments, digests, last_line
from tests.runs import train

VIT = "vqvae:ema,vit,shapes,tiny"


@pytest.fixture(scope="module")
def vit_run(tmp_path_factory):
  """The workdir of another tokenizer, which knows the size of its images."""
  return train(tmp_path_factory.mktemp("runs") / "vit", VIT)


@pytest.mark.parametrize(
  ("kind", "change", "differs", "name", "shapes"),
  [
    (
      *("vit", "model.quantizer.codebook_size=256"),
      "model.quantizer.codebook_size = 512, this one has 256",
      *("collections/codebook/quantizer/codes", "float32[512,16] but float32[256,16]"),
    ),
    (
      *("vit", "data.image_size=32"),
      "data.image_size = 64, this one has 32",
      *("params/decoder/positions", "float32[1,8,8,32] but float32[1,4,4,32]"),
    ),
    (
      *("prior", "text.vocab_size=64"),
      "text.vocab_size = 256, this one has 64",
      *("params/text_encoder/embed/embedding", r"float32\[\d+,32\] but float32\[64,32\]"),
    ),
    (
      *("prior", "text.kind=byte --config.text.vocab_size=258"),
      "text.kind = 'bpe', this one has 'byte'",
      *("params/text_encoder/embed/embedding", r"float32\[\d+,32\] but float32\[258,32\]"),
    ),
    (
      *("prior", "tokenizer=VIT"),
      "tokenizer = '",
      *("collections/frozen/", "asked for"),
    ),
  ],
  ids=["codebook", "image size", "vocabulary", "text tokenizer", "tokenizer"],
)
def test_a_run_of_another_shape_is_refused_even_by_force_and_stays_as_it_is(
  main_command,
  capsys,
  tmp_path,
  tokenizer_run,
  prior_run,
  vit_run,
  kind,
  change,
  differs,
  name,
  shapes,
):
  run = shutil.copytree({"vit": vit_run, "prior": prior_run}[kind], tmp_path / "run")
  before = digests(run)
  given = arguments(run, {"vit": VIT, "prior": "prior:shapes,tiny"}[kind], seed=0)
  if kind == "prior":
    given.append(f"--config.tokenizer={tokenizer_run}")
  given += f"--config.{change}".replace("VIT", str(vit_run)).split()
  assert main_command(*given) == 1
  line = last_line(capsys.readouterr().err)
  assert f"holds a run with config.{differs}" in line
  assert "choose another --workdir, or pass --force" in line
  assert digests(run) == before
  # Where the config is passed over, it is the checkpoint that says what does not fit.
  assert main_command(*given, "--force") == 1
  err = capsys.readouterr().err
  assert f"config.{differs}" in err
  line = last_line(err)
  assert "does not fit this config" in line
  assert name in line
  assert re.search(shapes if "\\" in shapes else re.escape(shapes), line), line
  assert "use the config that it was trained with, or another workdir" in line
  assert digests(run) == before
