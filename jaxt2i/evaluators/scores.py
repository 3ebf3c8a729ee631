"""The scores of drawings by name, each with the protocol that its values depend on."""

import dataclasses
from collections.abc import Mapping, Sequence

from PIL import Image

from jaxt2i.clip import Clip
from jaxt2i.data.records import Source
from jaxt2i.evaluators import attributes, copies, generation, published, retrieval
from jaxt2i.evaluators.attributes import Attributes
from jaxt2i.evaluators.copies import Copies
from jaxt2i.evaluators.drawn import Drawing, Score
from jaxt2i.evaluators.generation import LEAST_DRAWN, Generation
from jaxt2i.evaluators.measured import Measured
from jaxt2i.evaluators.published import ClipScores
from jaxt2i.evaluators.retrieval import RPrecision
from jaxt2i.inception import Inception
from jaxt2i.matcher import Matcher
from jaxt2i.pipeline import Pipeline
from jaxt2i.types import Variables

NAMES = ("attributes", "copies", "generation", "retrieval", "inception", "clip")


class Scores:
  """Some of `NAMES`, for one drawing of the pictures."""

  def __init__(
    self,
    names: Sequence[str],
    *,
    train: Source,
    val: Source,
    split: str,
    drawn: int,
    features: Variables | None = None,
    judge: Matcher | None = None,
    inception: Inception | None = None,
    clip: Clip | None = None,
  ):
    """Makes them.

    Args:
      names: of the scores.
      train: what the run has learnt from.
      val: what copies are told from.
      split: whose captions are drawn.
      drawn: how many.
      features: of EfficientNet; "generation" wants them, "copies" looks through them too.
      judge: what "retrieval" asks.
      inception, clip: networks that "inception" and "clip" look through.
    """
    self._drawn = drawn
    self._scores: dict[str, tuple[Score, Mapping[str, str]]] = {}
    if "attributes" in names:
      self._scores["attributes"] = Attributes(), {"attributes": attributes.PROTOCOL}
    if "copies" in names:
      said = copies.protocol(len(train), len(val), seen=features is not None)
      self._scores["copies"] = Copies(train, val, features), {"copies": said}
    floor = None if split == "train" else train
    if "generation" in names:
      assert features is not None
      said = generation.protocol(drawn, split)
      space = generation.efficientnet(features)
      self._scores["generation"] = Generation(space, floor), {"generation": said}
    if "retrieval" in names:
      assert judge is not None
      said_by = {"judge": judge.name, "retrieval": retrieval.PROTOCOL}
      self._scores["retrieval"] = RPrecision(judge), said_by
    if "inception" in names:
      assert inception is not None
      by_inception = Generation(published.inception_space(inception), floor)
      said_of_sets = published.protocol_of_sets(inception, drawn)
      self._scores["inception"] = by_inception, {"network": said_of_sets}
    if "clip" in names:
      assert clip is not None
      self._add_clip(clip, floor)

  def _add_clip(self, clip: Clip, floor: Source | None) -> None:
    by_clip = Generation(published.clip_space(clip), floor)
    said_of_sets = published.protocol_of_sets(clip, self._drawn)
    self._scores["clip"] = by_clip, {"network": said_of_sets}
    self._scores["clip_score"] = ClipScores(clip), {"network": published.protocol(clip)}

  def measure(self, drawing: Drawing, pipeline: Pipeline) -> dict[str, Measured]:
    """Draws once, and asks all."""
    drawing(pipeline, [score for score, _ in self._scores.values()])
    common = {"drawn": self._drawn, "seed": drawing.seed}
    settings = dataclasses.asdict(drawing.options)
    if drawing.reranking is not None:
      chooser = drawing.reranking
      settings |= {"rerank": chooser.matcher.name, "candidates": chooser.candidates}
    return {
      name: Measured({**common, **protocol}, score.values(), settings)
      for name, (score, protocol) in self._scores.items()
    }

  def sheets(self) -> dict[str, Image.Image]:
    """After `measure`: pictures to look at, by the name of what shows them."""
    found = ((name, score) for name, (score, _) in self._scores.items())
    return {name: score.sheet() for name, score in found if isinstance(score, Copies)}


def too_few(drawn: int, train: Source) -> str:
  """What "generation" lacks; "" where there are images enough."""
  least = min(drawn, len(train))
  if least >= LEAST_DRAWN:
    return ""
  return f"it wants {LEAST_DRAWN} drawings or more (--n) and as many images, there are {least}"
