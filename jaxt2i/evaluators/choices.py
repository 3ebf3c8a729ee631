"""The numbers that depend on how pictures are drawn: what a way of drawing may be chosen by."""

from jaxt2i.evaluators.frechet import LEAST_IMAGES
from jaxt2i.evaluators.shapes import SCORES

_SETS = ("drawn", "random")
_WAYS = ("image_to_text", "text_to_image")


def numbers(metric: str, *, drawn: int, seen: bool, objects: tuple[int, ...]) -> tuple[str, ...]:
  """Their names in what a score of `scores.NAMES` measures, known before anything is drawn.

  Args:
    metric: name of the score.
    drawn: how many pictures.
    seen: whether "copies" looks through EfficientNet too.
    objects: how many a scene of the data `shapes` may have; none of other data.
  """
  if metric == "attributes":
    one, several = 1 in objects, max(objects, default=0) > 1
    had = {"position": one, "relation": several}
    return tuple(name for name in SCORES if had.get(name, True))
  if metric == "copies":
    return ("copy_rate", "copy_rate_features") if seen else ("copy_rate",)
  if metric == "generation":
    keys = ("kid", "mmd", "precision", "recall", "density", "coverage")
    return _of_sets(*keys, *(("fd",) if drawn >= LEAST_IMAGES else ()))
  if metric == "retrieval":
    return ("r_precision", *(f"{way}_r{k}" for way in _WAYS for k in (1, 5)))
  if metric == "inception":
    return _of_sets("fid", "inception_kid")
  assert metric == "clip"
  return (*_of_sets("cmmd"), "clip_score")


def _of_sets(*keys: str) -> tuple[str, ...]:
  return tuple(f"{name}_{key}" for name in _SETS for key in keys)
