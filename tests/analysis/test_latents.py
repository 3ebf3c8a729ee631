"""The latent space as numbers: against brute force, closed forms and the pipeline itself."""

import dataclasses
import itertools

import numpy as np
import pytest

from jaxt2i import data, pipeline
from jaxt2i.analysis import latents
from jaxt2i.data.records import Record
from jaxt2i.errors import UserError
from jaxt2i.modules import tokenizer
from tests import runs


class Images:
  """A source of given images."""

  fingerprint = attribution = protocol = note = ""

  def __init__(self, images: np.ndarray):
    self.images = images

  def __len__(self) -> int:
    return len(self.images)

  def __getitem__(self, index: int) -> Record:
    return Record(str(index), self.images[index], ("",), {})


@pytest.fixture(scope="module")
def images() -> np.ndarray:
  """Flat colours with noise: more than the pipeline encodes at once."""
  generator = np.random.default_rng(0)
  colours = generator.integers(0, 256, (pipeline.IMAGE_CHUNK + 5, 1, 1, 3))
  noise = generator.integers(-40, 41, (len(colours), 64, 64, 3))
  return np.clip(colours + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def collected(tokenizer_pipeline, images) -> latents.Collected:
  return latents.collect(tokenizer_pipeline, Images(images))


def test_collect_holds_what_the_pipeline_gives(collected, tokenizer_pipeline, images):
  tokens = tokenizer_pipeline.encode(images)
  assert len(np.unique(tokens)) > 3  # else the tests below would see nothing
  np.testing.assert_array_equal(collected.tokens, tokens)
  np.testing.assert_array_equal(collected.counts, np.bincount(tokens.ravel(), minlength=512))
  decoded = tokenizer_pipeline.decode(tokens).astype(np.float64)
  mse = np.square((decoded - images) / 255).mean(axis=(1, 2, 3))
  np.testing.assert_allclose(collected.psnr, -10 * np.log10(mse), rtol=1e-4)
  np.testing.assert_allclose(collected.mean_image, images.mean(axis=0), atol=0.5)


def test_collect_averages_what_is_drawn_where_a_code_stands(collected, tokenizer_pipeline):
  decoded = tokenizer_pipeline.decode(collected.tokens)
  for code in np.argsort(-collected.counts)[:3]:
    places = zip(*np.nonzero(collected.tokens == code), strict=True)
    patches = [decoded[m, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8] for m, y, x in places]
    np.testing.assert_allclose(collected.patches[code], np.mean(patches, axis=0), atol=0.5 + 1e-6)
  unused = collected.counts == 0
  assert unused.any()
  assert not collected.patches[unused].any()


def test_collect_takes_a_prior_and_a_real_source(prior_pipeline, prior_run, collected):
  source = data.load("val", **runs.config_of(prior_run)["data"])
  seen = latents.collect(prior_pipeline, source)
  assert seen.tokens.shape == (len(source), 8, 8)
  assert seen.counts.sum() == seen.tokens.size


def test_count_includes_codes_that_never_occur():
  tokens = np.array([[[0, 2], [2, 2]]], np.int32)
  np.testing.assert_array_equal(latents.count(tokens, 4), [1, 0, 3, 0])


def test_entropy_and_distinct_codes_by_position():
  # Of 8 images: one code everywhere, two codes half and half, 8 different, 4-2-1-1; 2×2 + 2.
  columns = [[7] * 8, [1, 2] * 4, list(range(8)), [0, 0, 0, 0, 1, 1, 2, 3], [3] * 8, [5, 0] * 4]
  tokens = np.array(columns, np.int32).T.reshape(8, 2, 3)
  entropy = latents.entropy_by_position(tokens)
  np.testing.assert_allclose(entropy, [[0, 1, 3], [1.75, 0, 1]], atol=1e-12)
  np.testing.assert_array_equal(latents.distinct_by_position(tokens), [[1, 2, 8], [4, 1, 2]])


def test_codes_of_an_ema_codebook(tokenizer_pipeline):
  expected = tokenizer_pipeline.tokenizer_variables["codebook"]
  (found,) = [leaf["codes"] for leaf in expected.values()]
  np.testing.assert_array_equal(latents.codes(tokenizer_pipeline), found)


def test_codes_of_fsq_are_all_combinations_of_levels():
  config = runs.config("vqvae:fsq,shapes,tiny")
  model = tokenizer(config["model"], config["data"]["image_size"])
  pipe = pipeline.Pipeline(model, {"params": {}}, attribution="")
  codes = latents.codes(pipe)
  assert codes.shape == (latents.codebook_size(pipe), 4) == (1000, 4)
  assert len(np.unique(codes, axis=0)) == 1000
  assert [len(np.unique(values)) for values in codes.T] == [8, 5, 5, 5]


def test_codes_that_are_added_up_have_no_pictures_of_their_own(tokenizer_pipeline):
  residual = tokenizer(runs.config("vqvae:residual,tiny")["model"], 64)
  road = dataclasses.replace(tokenizer_pipeline, tokenizer=residual)
  with pytest.raises(UserError, match="2 tokens a position, whose codes are added"):
    latents.codes(road)


def test_atlas_is_the_middle_of_a_grid_of_one_code(tokenizer_pipeline):
  atlas = latents.atlas(tokenizer_pipeline, (8, 8))
  assert atlas.shape == (512, 8, 8, 3)
  for code in (0, 100, 511):
    image = tokenizer_pipeline.decode(np.full((1, 8, 8), code, np.int32))[0]
    np.testing.assert_array_equal(atlas[code], image[32:40, 32:40])


def test_atlas_of_a_grid_that_is_not_square(tokenizer_pipeline):
  atlas = latents.atlas(tokenizer_pipeline, (2, 4))
  image = tokenizer_pipeline.decode(np.full((1, 2, 4), 9, np.int32))[0]
  np.testing.assert_array_equal(atlas[9], image[8:16, 16:24])


def test_projection_is_that_of_the_codes_repeated_as_often_as_used():
  generator = np.random.default_rng(1)
  codes = (generator.normal(size=(30, 5)) * [0.1, 3, 1, 0.2, 2]).astype(np.float32)
  counts = generator.integers(0, 9, 30)
  points, shares = latents.project(codes, counts)
  repeated = np.repeat(codes, counts, axis=0).astype(np.float64)
  centred = repeated - repeated.mean(axis=0)
  _, singular, axes = np.linalg.svd(centred, full_matrices=False)
  variances = np.square(singular)
  np.testing.assert_allclose(shares, variances[:2] / variances.sum(), rtol=1e-6)
  expected = (codes - repeated.mean(axis=0)) @ axes[:2].T
  signs = np.sign((points * expected).sum(axis=0))
  np.testing.assert_allclose(points, expected * signs, atol=1e-5)


def test_projection_ignores_where_unused_codes_lie_but_places_them():
  codes = np.array([[0, 0, 0], [4, 0, 0], [0, 1, 0], [4, 1, 0], [2, 0.5, 100]], np.float32)
  points, shares = latents.project(codes, np.array([3, 3, 3, 3, 0]))
  # First axis x, second axis y, both with a positive sign; nothing of z is left.
  expected = [[-2, -0.5], [2, -0.5], [-2, 0.5], [2, 0.5], [0, 0]]
  np.testing.assert_allclose(points, expected, atol=1e-12)
  np.testing.assert_allclose(shares, [16 / 17, 1 / 17])


def test_unrolled_table_keeps_the_order_of_both_axes():
  points = np.random.default_rng(2).normal(size=(50, 2))
  table = latents.unroll(points)
  assert table.shape == (5, 10)
  np.testing.assert_array_equal(np.sort(table.ravel()), list(range(50)))
  filled = [column[column >= 0] for column in table.T]
  for left, right in itertools.pairwise(filled):
    assert points[left, 0].max() < points[right, 0].min()
  for column in filled:
    assert np.all(np.diff(points[column, 1]) < 0)


def test_unrolled_table_leaves_only_the_end_of_its_last_column_empty():
  table = latents.unroll(np.random.default_rng(2).normal(size=(45, 2)))
  assert table.shape == (5, 9)
  table = latents.unroll(np.random.default_rng(2).normal(size=(48, 2)))
  assert table.shape == (5, 10)
  assert np.argwhere(table < 0).tolist() == [[3, 9], [4, 9]]


def test_worst_to_best_spans_the_values():
  values = np.array([5, 1, 4, 2, 3], np.float32)
  assert latents.worst_to_best(values, 3) == [1, 4, 0]
  assert latents.worst_to_best(values, 9) == [1, 3, 4, 2, 0]
