"""All that is measured of a latent space, question by question."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxt2i.analysis import (
  latent_labels,
  latent_samples,
  latent_size,
  latent_smoothness,
  latent_usage,
  latent_words,
  measures,
  rank_laws,
)
from jaxt2i.analysis.latent_goals import LatentGoals, Verdict, judge
from jaxt2i.analysis.latent_samples import Samples
from jaxt2i.analysis.latent_set import LEAST_IMAGES, LatentSet, gather
from jaxt2i.analysis.measures import Section
from jaxt2i.data.records import Source
from jaxt2i.errors import UserError
from jaxt2i.pipeline import Pipeline
from jaxt2i.tasks.base import Task

_LEARNT_FROM = 2000  # images that probes learn from


@dataclasses.dataclass(frozen=True, eq=False)
class LatentReport:
  """What was measured.

  Attributes:
    about: what a stranger asks first, by heading.
    sections: one a question.
    verdicts: of the goals.
    found: the images, tokens and codes.
    samples: that were drawn.
  """

  about: Mapping[str, str]
  sections: tuple[Section, ...]
  verdicts: tuple[Verdict, ...]
  found: LatentSet
  samples: Samples

  def section(self, key: str) -> Section:
    """By its key."""
    return next(section for section in self.sections if section.key == key)

  def json(self) -> dict[str, Any]:
    """All numbers."""
    return {
      "about": dict(self.about),
      "goals": [dataclasses.asdict(verdict) for verdict in self.verdicts],
      **{section.key: section.json() for section in self.sections},
    }


def make(
  pipeline: Pipeline,
  train: Source,
  source: Source,
  split: str,
  goals: LatentGoals,
  *,
  name: str,
  task: Task | None = None,
) -> LatentReport:
  """Measures everything.

  Args:
    pipeline: of a tokenizer or a prior.
    train: the split that it learnt from, for probes to learn from too.
    source: the split to look at.
    split: its name; of "train" every second image is looked at, probes learn from the others.
    goals: what the experiment wants.
    name: of the run, for the heading.
    task: of the prior, for likelihoods; None for a tokenizer alone.

  Raises:
    UserError: too few images, or a tokenizer with several tokens a position.
  """
  if split == "train":
    source, train = _every_second(source, 0), _every_second(source, 1)
  found = gather(pipeline, source, split)
  learnt_from = gather(pipeline, train, "train", _LEARNT_FROM)
  samples = latent_samples.draw(pipeline, found)
  sections = (
    latent_size.measure(found),
    latent_usage.measure(found),
    latent_samples.measure(pipeline, found, samples, task),
    rank_laws.measure(found),
    latent_smoothness.measure(pipeline, found),
    latent_labels.measure(found, learnt_from),
    latent_words.measure(found),
  )
  verdicts = judge(goals, measures.values(sections), measures.intervals(sections))
  about = _about(pipeline, source, found, name)
  return LatentReport(about, sections, tuple(verdicts), found, samples)


def _about(pipeline: Pipeline, source: Source, found: LatentSet, name: str) -> dict[str, str]:
  h, w = found.grid
  size, dimensions = found.codes.shape
  quantizer = type(pipeline.tokenizer.quantizer).__name__
  kind = "tokenizer" if pipeline.prior is None else "prior with its tokenizer"
  _, height, width, _ = found.decoded.shape
  facts = {
    "Run": f"{name}, a {kind}",
    "Codebook": f"{size:,} codes of {dimensions} numbers ({quantizer})",
    "Grid": f"{h} × {w} tokens for {height} × {width} pixels, {found.patch} pixels a side of each",
    "Images": found.where,
    "Divided by": f"the protocol “{source.protocol}”" if source.protocol else "",
    "To keep in mind": source.note,
    "Credit": pipeline.attribution,
  }
  return {key: value for key, value in facts.items() if value}


class _Half:
  """Every second image of a source."""

  def __init__(self, source: Source, first: int):
    self._source, self._first = source, first
    self.fingerprint, self.attribution = source.fingerprint, source.attribution
    self.protocol, self.note = source.protocol, source.note

  def __len__(self) -> int:
    return (len(self._source) - self._first + 1) // 2

  def __getitem__(self, index: int) -> Any:
    return self._source[2 * index + self._first]


def _every_second(source: Source, first: int) -> Source:
  if len(source) < 2 * LEAST_IMAGES:
    raise UserError(
      f"the split 'train' has {len(source)} images: must have {2 * LEAST_IMAGES} or more for a "
      "report on it."
    )
  return _Half(source, first)
