"""The road: encode, decode, draw; what a picture depends on; loading executes nothing."""

import dataclasses
import json
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxt2i
from jaxt2i import data
from jaxt2i.errors import UsageError, UserError
from jaxt2i.models.vqvae import to_float, to_uint8
from jaxt2i.pipeline import DRAW_CHUNK, IMAGE_CHUNK
from tests.runs import config, config_of

PROMPT = "large red star left of small blue heart"
OTHERS = ("green", "a small black cross", "", "yellow yellow", PROMPT, "purple triangle")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
  source = data.load("val", **config("vqvae:shapes,tiny")["data"])
  return np.stack([source[i].image for i in range(7)])


# --- encode and decode ---


def test_encode_and_decode_are_the_models(clear_pipeline, images):
  tokens = clear_pipeline.encode(images)
  assert tokens.shape == (7, 8, 8)
  assert tokens.dtype == np.int32
  assert len(np.unique(tokens)) > 3
  assert tokens.min() >= 0
  assert tokens.max() < clear_pipeline.tokenizer.quantizer.codebook_size
  decoded = clear_pipeline.decode(tokens)
  assert decoded.shape == images.shape
  assert decoded.dtype == np.uint8
  output = clear_pipeline.tokenizer.apply(
    clear_pipeline.tokenizer_variables, to_float(jnp.asarray(images)), train=False
  )
  np.testing.assert_array_equal(tokens, output.quantized.tokens)
  # One program rounds differently from another: at most one of 255 steps apart.
  difference = decoded.astype(int) - np.asarray(to_uint8(output.image)).astype(int)
  assert np.abs(difference).max() <= 1
  assert (difference == 0).mean() > 0.99


def test_an_image_is_the_same_in_any_company(tokenizer_pipeline, images):
  # 35 images: one whole piece and one that is filled up.
  many = np.concatenate([images] * 5)
  assert len(many) > IMAGE_CHUNK
  tokens, alone = tokenizer_pipeline.encode(many), tokenizer_pipeline.encode(images[3:4])
  assert tokens.shape == (35, 8, 8)
  for start in range(0, 35, 7):
    np.testing.assert_array_equal(tokens[start + 3], alone[0])
  decoded = tokenizer_pipeline.decode(tokens)
  assert decoded.shape == many.shape
  np.testing.assert_array_equal(decoded[3], tokenizer_pipeline.decode(alone)[0])
  np.testing.assert_array_equal(decoded[:7], decoded[28:])


def test_decode_depends_on_the_tokens(tokenizer_pipeline):
  codes = np.arange(512, dtype=np.int32)[:, None, None] * np.ones((1, 8, 8), np.int32)
  pictures = tokenizer_pipeline.decode(codes)
  assert len({picture.tobytes() for picture in pictures}) > 100


@pytest.mark.parametrize("method", ["encode", "decode"])
def test_no_images_are_no_images(tokenizer_pipeline, method):
  nothing = {"encode": np.zeros((0, 64, 64, 3), np.uint8), "decode": np.zeros((0, 8, 8), np.int32)}
  result = getattr(tokenizer_pipeline, method)(nothing[method])
  assert len(result) == 0


# --- drawing ---


def test_drawings_are_what_was_asked_for(prior_pipeline):
  drawings = prior_pipeline([PROMPT, "green"], n=3, seed=5, temperature=0.5, top_k=10)
  assert drawings.tokens.shape == (2, 3, 8, 8)
  assert drawings.tokens.dtype == np.int32
  assert drawings.images.shape == (2, 3, 64, 64, 3)
  assert drawings.images.dtype == np.uint8
  assert drawings.prompts == (PROMPT, "green")
  assert drawings.seed == 5
  assert dataclasses.asdict(drawings.options) == {
    "guidance_scale": 1.0,
    "guidance_schedule": "constant",
    "temperature": 0.5,
    "top_k": 10,
    "top_p": 1.0,
    "steps": 0,
    "choice_temperature": 4.5,
  }
  flat = drawings.tokens.reshape(6, 8, 8)
  np.testing.assert_array_equal(drawings.images.reshape(6, 64, 64, 3), prior_pipeline.decode(flat))


def test_a_picture_is_the_same_in_any_company(prior_pipeline):
  # Alone; first, in the middle and across pieces of a larger call; among more of its own.
  alone = prior_pipeline([PROMPT], n=2, seed=3)
  first = prior_pipeline([PROMPT, *OTHERS], n=2, seed=3)
  last = prior_pipeline([*OTHERS[:3], PROMPT], n=3, seed=3)
  many = prior_pipeline([PROMPT], n=DRAW_CHUNK + 3, seed=3)
  for name in ("tokens", "images"):
    expected = getattr(alone, name)[0]
    np.testing.assert_array_equal(getattr(first, name)[0], expected)
    np.testing.assert_array_equal(getattr(first, name)[1 + OTHERS.index(PROMPT)], expected)
    np.testing.assert_array_equal(getattr(last, name)[-1, :2], expected)
    np.testing.assert_array_equal(getattr(many, name)[0, :2], expected)
    np.testing.assert_array_equal(getattr(many, name)[0, 2], getattr(last, name)[-1, 2])
  pictures = {tokens.tobytes() for tokens in many.tokens[0]}
  assert len(pictures) == DRAW_CHUNK + 3  # and each has a key of its own


def test_pictures_are_chosen_by_their_indices(prior_pipeline):
  prompts = ["red circle", "green"]
  all_of_them = prior_pipeline(prompts, n=4, seed=3)
  chosen = prior_pipeline(prompts, n=2, seed=3, indices=np.array([[3, 1], [0, 3]]))
  np.testing.assert_array_equal(chosen.indices, [[3, 1], [0, 3]])
  expected = np.take_along_axis(all_of_them.tokens, chosen.indices[..., None, None], axis=1)
  np.testing.assert_array_equal(chosen.tokens, expected)
  for wrong, message in (
    (np.zeros((2, 1), int), r"indices are int64 \[2, 1\]: must be int32 \[2, 2\]"),
    (np.array([[0, -1], [0, 1]]), r"indices are from -1 to 1: must be from 0 to"),
  ):
    with pytest.raises(UsageError, match=message):
      prior_pipeline(prompts, n=2, indices=wrong)


def test_a_guided_picture_is_the_same_in_any_company(prior_pipeline):
  # Guidance doubles the batch: rows with and without the caption must not mix.
  options = {"seed": 1, "guidance_scale": 3.0}
  alone = prior_pipeline([PROMPT], n=1, **options)
  among = prior_pipeline(["green", "", PROMPT], n=3, **options)
  np.testing.assert_array_equal(among.tokens[2, 0], alone.tokens[0, 0])
  unguided = prior_pipeline([PROMPT], n=1, seed=1)
  assert not np.array_equal(alone.tokens, unguided.tokens)
  # Without a caption there is nothing to be guided to: u + s (u - u).
  free = prior_pipeline([""], n=1, seed=1)
  np.testing.assert_array_equal(among.tokens[1, 0], free.tokens[0, 0])


def test_seed_prompt_and_options_change_the_picture(prior_pipeline):
  base = prior_pipeline([PROMPT], seed=0).tokens.tobytes()
  assert prior_pipeline([PROMPT], seed=0).tokens.tobytes() == base
  assert prior_pipeline([PROMPT], seed=1).tokens.tobytes() != base
  assert prior_pipeline([PROMPT], seed=2**32 - 1).tokens.tobytes() != base
  assert prior_pipeline(["green"], seed=0).tokens.tobytes() != base


def test_without_temperature_the_seed_does_not_matter(prior_pipeline):
  drawings = prior_pipeline([PROMPT], n=2, seed=0, temperature=0.0)
  np.testing.assert_array_equal(drawings.tokens[0, 0], drawings.tokens[0, 1])
  again = prior_pipeline([PROMPT], seed=9, temperature=0.0)
  np.testing.assert_array_equal(again.tokens[0, 0], drawings.tokens[0, 0])


def test_an_empty_prompt_draws_without_a_caption(prior_pipeline):
  drawings = prior_pipeline(["", "  "], seed=4)
  np.testing.assert_array_equal(drawings.tokens[0], drawings.tokens[1])


def test_prompts_of_any_length(prior_pipeline):
  long = PROMPT + " green" * 5000
  cut = prior_pipeline([long], seed=0)
  longer = prior_pipeline([long + " blue"], seed=0)
  np.testing.assert_array_equal(cut.tokens, longer.tokens)


@pytest.mark.parametrize(
  "options",
  [{"temperature": float("nan")}, {"top_p": 0.0}, {"top_k": -1}, {"guidance_scale": float("inf")}],
)
def test_options_without_meaning_are_refused(prior_pipeline, options):
  (name,) = options
  with pytest.raises(UsageError, match=f"^{name} is "):
    prior_pipeline([PROMPT], **options)


def test_given_tokens_stay(prior_pipeline):
  free = prior_pipeline([PROMPT, "green"], n=2, seed=0)
  given = np.full((2, 8, 8), -1, np.int32)
  given[0, 3] = (free.tokens[0, 0, 3] + 1) % 512
  drawn = prior_pipeline([PROMPT, "green"], n=2, seed=0, given=given)
  np.testing.assert_array_equal(drawn.tokens[0, :, 3], np.stack([given[0, 3]] * 2))
  np.testing.assert_array_equal(drawn.tokens[0, :, :3], free.tokens[0, :, :3])
  np.testing.assert_array_equal(drawn.tokens[1], free.tokens[1])


@pytest.mark.parametrize(
  ("given", "named"),
  [
    (np.zeros((1, 8, 7), np.int32), r"given is int32 \[1, 8, 7\]: must be int32 \[1, 8, 8\]"),
    (np.zeros((1, 8, 8), np.float32), "given is float32"),
    (np.full((1, 8, 8), 512), "given is from 512 to 512: must be from -1"),
    (np.full((1, 8, 8), -2), "given is from -2 to -2"),
  ],
)
def test_given_tokens_that_do_not_fit_are_refused(prior_pipeline, given, named):
  with pytest.raises(UsageError, match=named):
    prior_pipeline._fixed.__wrapped__(prior_pipeline, given, 1)


def test_guidance_leads_away_from_the_negative_prompt(prior_pipeline):
  options = dict(seed=0, guidance_scale=4.0)
  usual = prior_pipeline([PROMPT], **options)
  away = prior_pipeline([PROMPT], negative_prompt="green", **options)
  assert not np.array_equal(usual.tokens, away.tokens)
  assert (usual.negative_prompt, away.negative_prompt) == ("", "green")
  # Away from itself: u + s (u - u).
  itself = prior_pipeline([PROMPT], negative_prompt=PROMPT, **options)
  np.testing.assert_array_equal(itself.tokens, prior_pipeline([PROMPT], seed=0).tokens)
  with pytest.raises(UsageError, match="negative_prompt is 'green' with a guidance_scale of 1"):
    prior_pipeline([PROMPT], negative_prompt="green")


def test_the_way_between_two_prompts_begins_and_ends_with_them(prior_pipeline):
  way = prior_pipeline.between(PROMPT, "green", count=5, seed=2)
  assert way.prompts == (PROMPT, PROMPT, PROMPT, "green", "green")
  assert way.tokens.shape == (5, 1, 8, 8)
  for at, prompt in ((0, PROMPT), (4, "green")):
    np.testing.assert_array_equal(way.tokens[at], prior_pipeline([prompt], seed=2).tokens[0])
  with pytest.raises(UsageError, match="count is 1: must be a whole number of 2 or more"):
    prior_pipeline.between(PROMPT, "green", count=1)


def test_one_string_is_not_a_list_of_prompts(prior_pipeline):
  # It would be taken for one prompt a letter.
  with pytest.raises(UsageError, match="list"):
    prior_pipeline("red")


@pytest.mark.parametrize("arguments", [{"n": 0}, {"n": -1}, {"seed": -1}, {"seed": 2**32}])
def test_numbers_out_of_range_are_refused(prior_pipeline, arguments):
  (name,) = arguments
  with pytest.raises(UsageError, match=f"^{name} is "):
    prior_pipeline([PROMPT], **arguments)


def test_arguments_of_other_types_are_refused(prior_run):
  # In a process without the checks of annotations that tests have: as a user would meet it.
  code = f"""
import numpy as np
import jaxt2i
from jaxt2i.errors import UsageError
pipe = jaxt2i.load({str(prior_run)!r})
halves = {{"indices": np.full((1, 1), 0.5)}}
wrong = (("red", {{"seed": 1.5}}), ("red", {{"n": 1.5}}), (3, {{}}), ("red", halves))
for prompt, options in wrong:
  try:
    pipe([prompt], **options)
  except UsageError as error:
    print(error)
"""
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert done.stdout.splitlines() == [
    "seed is 1.5: must be a whole number from 0 to 4294967295.",
    "n is 1.5: must be a whole number of 1 or more.",
    "a prompt is 3: must be a string.",
    "indices are float64 [1, 1]: must be int32 [1, 1], those of n pictures a prompt.",
  ]


@pytest.mark.parametrize(
  ("images", "named"),
  [
    (np.zeros((1, 64, 64, 3), np.float32), "float32"),
    (np.zeros((64, 64, 3), np.uint8), r"\[64, 64, 3\]"),
    (np.zeros((1, 64, 64, 1), np.uint8), r"\[1, 64, 64, 1\]"),
    (np.zeros((1, 64, 60, 3), np.uint8), "multiples of 8"),
  ],
)
def test_what_is_no_batch_of_images_is_refused(tokenizer_pipeline, images, named):
  with pytest.raises(UsageError, match=named):
    tokenizer_pipeline.encode.__wrapped__(tokenizer_pipeline, images)


@pytest.mark.parametrize("token", [-1, 1_000_000])
def test_tokens_without_a_code_are_refused(tokenizer_pipeline, token):
  with pytest.raises(UsageError, match=f"{token}.* must be from 0 to"):
    tokenizer_pipeline.decode(np.full((1, 8, 8), token, np.int32))


def test_what_is_no_grid_of_tokens_is_refused(tokenizer_pipeline):
  for tokens in (np.zeros((8, 8), np.int32), np.zeros((1, 8, 8), np.float32)):
    with pytest.raises(UsageError, match="must be int32"):
      tokenizer_pipeline.decode.__wrapped__(tokenizer_pipeline, tokens)


def test_a_tokenizer_does_not_draw(tokenizer_pipeline):
  with pytest.raises(UserError, match="load the workdir of a prior"):
    tokenizer_pipeline([PROMPT])


# --- loading ---


def test_load_gives_what_was_trained(tokenizer_run, prior_run, tokenizer_pipeline, prior_pipeline):
  # The frozen tokenizer inside the prior's checkpoint is the tokenizer that was trained.
  assert tokenizer_pipeline.tokenizer == prior_pipeline.tokenizer
  jax.tree.map(
    np.testing.assert_array_equal,
    prior_pipeline.tokenizer_variables,
    tokenizer_pipeline.tokenizer_variables,
  )
  assert tokenizer_pipeline.prior is None
  assert prior_pipeline.text_processor.max_length == config_of(prior_run)["text"]["max_length"]
  assert prior_pipeline.attribution == config_of(tokenizer_run)["attribution"]
  assert jaxt2i.load(str(tokenizer_run)).tokenizer == tokenizer_pipeline.tokenizer


def test_a_prior_alone_is_enough(prior_run, prior_pipeline, tmp_path):
  # Moved to another machine, without the tokenizer's workdir, data or lock.
  moved = shutil.copytree(prior_run, tmp_path / "moved")
  saved = config_of(moved)
  saved["tokenizer"] = "/nowhere"
  (moved / "config.json").write_text(json.dumps(saved))
  np.testing.assert_array_equal(
    jaxt2i.load(moved)([PROMPT], seed=1).tokens, prior_pipeline([PROMPT], seed=1).tokens
  )


def test_load_writes_nothing(prior_run, tmp_path):
  moved = shutil.copytree(prior_run, tmp_path / "moved")
  before = sorted((path, path.stat().st_mtime_ns) for path in moved.rglob("*"))
  jaxt2i.load(moved)
  assert sorted((path, path.stat().st_mtime_ns) for path in moved.rglob("*")) == before


def test_load_executes_nothing(prior_run, tmp_path, monkeypatch):
  moved = shutil.copytree(prior_run, tmp_path / "moved")
  trap = f"open({str(tmp_path / 'executed')!r}, 'w')\n"
  for name in ("config.py", "conftest.py", "sitecustomize.py", "evil.py", "jaxt2i.py"):
    (moved / name).write_text(trap)
  monkeypatch.chdir(moved)
  loaded = set(sys.modules)
  jaxt2i.load(moved)
  assert not (tmp_path / "executed").exists()
  assert "evil" not in set(sys.modules) - loaded
  for section, key in (("network", "tokenizer_model"), ("quantizer", "tokenizer_model")):
    saved = config_of(prior_run)
    saved[key][section]["name"] = "evil.Class"
    (moved / "config.json").write_text(json.dumps(saved))
    with pytest.raises(UserError, match=r"name is 'evil.Class': must be one of"):
      jaxt2i.load(moved)
  assert not (tmp_path / "executed").exists()


def broken(run, tmp_path):
  return shutil.copytree(run, tmp_path / "broken")


def complaint(workdir) -> str:
  with pytest.raises(UserError) as error:
    jaxt2i.load(workdir)
  assert "\n" not in str(error.value)
  return str(error.value)


def test_no_run_is_said_so(tmp_path):
  assert "holds no run" in complaint(tmp_path)
  assert "holds no run" in complaint(tmp_path / "absent")


@pytest.mark.parametrize(
  "content",
  [
    "{",
    "[]",
    "{}",
    '{"task": "prior"}',
    '{"task": "os.system", "data": {"image_size": 64}}',
  ],
)
def test_a_damaged_config_is_said_so(tokenizer_run, tmp_path, content):
  workdir = broken(tokenizer_run, tmp_path)
  (workdir / "config.json").write_text(content)
  assert "config.json is damaged" in complaint(workdir)


def test_a_missing_checkpoint_is_said_so(prior_run, tmp_path):
  workdir = broken(prior_run, tmp_path)
  shutil.rmtree(workdir / "checkpoints")
  assert "holds no checkpoint" in complaint(workdir)


def test_a_truncated_checkpoint_is_said_so(prior_run, tmp_path):
  workdir = broken(prior_run, tmp_path)
  files = [path for path in (workdir / "checkpoints").rglob("*") if path.is_file()]
  largest = max(files, key=lambda path: path.stat().st_size)
  largest.write_bytes(largest.read_bytes()[:-100])
  assert "truncated or altered" in complaint(workdir)


def test_a_missing_text_processor_is_said_so(prior_run, tmp_path):
  workdir = broken(prior_run, tmp_path)
  (workdir / "text.json").unlink()
  assert "text.json" in complaint(workdir)
