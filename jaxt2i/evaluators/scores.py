"""The scores of drawings by name, each with the protocol that its values depend on."""

from collections.abc import Mapping, Sequence

from PIL import Image

from jaxt2i.data.records import Source
from jaxt2i.evaluation_report import Measured
from jaxt2i.evaluators import attributes, copies, generation, retrieval
from jaxt2i.evaluators.attributes import Attributes
from jaxt2i.evaluators.copies import Copies
from jaxt2i.evaluators.drawn import Drawing, Score
from jaxt2i.evaluators.generation import LEAST_DRAWN, Generation
from jaxt2i.evaluators.retrieval import RPrecision
from jaxt2i.matcher import Matcher
from jaxt2i.pipeline import Pipeline
from jaxt2i.types import Variables

NAMES = ("attributes", "copies", "generation", "retrieval")


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
    """
    self._drawn = drawn
    self._scores: dict[str, tuple[Score, Mapping[str, str]]] = {}
    if "attributes" in names:
      self._scores["attributes"] = Attributes(), {"attributes": attributes.PROTOCOL}
    if "copies" in names:
      said = copies.protocol(len(train), len(val), seen=features is not None)
      self._scores["copies"] = Copies(train, val, features), {"copies": said}
    if "generation" in names:
      assert features is not None
      floor = None if split == "train" else train
      said = generation.protocol(drawn, split)
      self._scores["generation"] = Generation(features, floor), {"generation": said}
    if "retrieval" in names:
      assert judge is not None
      said_by = {"judge": judge.name, "retrieval": retrieval.PROTOCOL}
      self._scores["retrieval"] = RPrecision(judge), said_by

  def measure(self, drawing: Drawing, pipeline: Pipeline) -> dict[str, Measured]:
    """Draws once, and asks all."""
    drawing(pipeline, [score for score, _ in self._scores.values()])
    common = {"drawn": self._drawn, "seed": drawing.seed}
    return {
      name: Measured({**common, **protocol}, score.values())
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
