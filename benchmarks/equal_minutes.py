"""Training a tokenizer for so many minutes, then seeing what it gives back of the val split.

Whoever is trained, the images, their order and flips, the clock and the evaluation are the same.
"""

import dataclasses
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from jaxt2i import data, metrics
from jaxt2i.data.augment import Augmentation
from jaxt2i.data.records import Record, Source
from jaxt2i.data.stream import eval_stream, train_stream
from jaxt2i.data.transforms import AugmentedImage, image_row
from jaxt2i.metrics import Mean

WARM_UP = 3  # steps before the clock starts; the first of all compiles, or clusters latents
TRIAL, ROUNDS = 15, 3  # steps a round; the median round says how many fit into the minutes
EVAL_BATCH = 32


class Learner(Protocol):
  """A tokenizer and how it learns."""

  num_parameters: int  # that gradients change
  codebook_size: int
  batch_size: int
  seed: int  # of weights, and of the order and the flips of images

  def start(self, num_steps: int) -> None:
    """Fresh weights, and a schedule for so many steps; compiled."""
    ...

  def step(self, images: np.ndarray) -> None:
    """Learns from uint8 `[B, H, W, 3]`; may return before it is done."""
    ...

  def wait(self) -> None:
    """Until all steps are done."""
    ...

  def reconstruct(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the averaged weights give back, uint8 like `images`, and tokens, int `[B, …]`."""
    ...


@dataclasses.dataclass(frozen=True)
class Result:
  """One run. Qualities are those of the whole val split, see `evaluate`."""

  num_parameters: int
  steps: int
  seconds: float  # that training really took
  images_per_second: float
  psnr: float
  ssim: float
  codebook_usage: float
  perplexity: float


def train_and_evaluate(learner: Learner, options: Mapping[str, Any], minutes: float) -> Result:
  """Plans, trains, evaluates.

  Args:
    learner: is trained.
    options: of the data, as `config.data` has them.
    minutes: of training; compiling, planning and evaluating come on top.

  Raises:
    UserError: the data cannot be read.
  """
  source = data.load("train", **options)
  # In memory, so that no side is the faster for reading while the other computes.
  train = [source[i] for i in range(len(source))]
  steps = planned_steps(learner, train, minutes)
  learner.start(steps)
  seconds = _seconds(learner, _batches(learner, train), steps)
  return Result(
    num_parameters=learner.num_parameters,
    steps=steps,
    seconds=seconds,
    images_per_second=steps * learner.batch_size / seconds,
    **evaluate(learner, data.load("val", **options)),
  )


def planned_steps(learner: Learner, train: Sequence[Record], minutes: float) -> int:
  """Steps that fit into the minutes, from the time of some that are thrown away."""
  batches = _batches(learner, train)
  learner.start(WARM_UP + ROUNDS * TRIAL)
  _seconds(learner, batches, WARM_UP)
  rounds = [_seconds(learner, batches, TRIAL) for _ in range(ROUNDS)]
  return max(1, round(60 * minutes * TRIAL / statistics.median(rounds)))


def _batches(learner: Learner, train: Sequence[Record]) -> Iterator[np.ndarray]:
  row = AugmentedImage(Augmentation(flip=True))
  stream = train_stream(train, row, batch_size=learner.batch_size, seed=learner.seed, start_step=0)
  return (batch["image"] for batch in stream)


def _seconds(learner: Learner, batches: Iterator[np.ndarray], steps: int) -> float:
  """How long so many steps take."""
  start = time.perf_counter()
  for _ in range(steps):
    learner.step(next(batches))
  learner.wait()
  return time.perf_counter() - start


def evaluate(learner: Learner, val: Source | Sequence[Record]) -> dict[str, float]:
  """PSNR (dB) and SSIM of 8-bit reconstructions, means over images; usage and perplexity.

  The last two are of the split's total counts of codes, as jaxt2i's own evaluator has them.
  """
  totals: Mapping[str, Mean] = {}
  counts = np.zeros(learner.codebook_size, np.int64)
  for batch in eval_stream(val, image_row, batch_size=EVAL_BATCH):
    image, weight = batch["image"], batch["weight"]
    decoded, tokens = learner.reconstruct(image)
    np.add.at(counts, np.asarray(tokens)[weight > 0], 1)
    totals = metrics.merge(totals, _quality(image, np.asarray(decoded), weight))
  return {
    **metrics.compute(totals),
    "codebook_usage": metrics.usage(counts),
    "perplexity": metrics.perplexity(counts),
  }


@jax.jit
def _quality(image: jax.Array, decoded: jax.Array, weight: jax.Array) -> Mapping[str, Mean]:
  real, fake = image.astype(np.float32) / 255, decoded.astype(np.float32) / 255
  return {
    "psnr": Mean.of(metrics.psnr(real, fake), weight),
    "ssim": Mean.of(metrics.ssim(real, fake), weight),
  }
