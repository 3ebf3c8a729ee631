"""What is kept of a step that came to no number."""

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxt2i.window import BadStep

FOLDER = "crash"  # of a workdir


def dump(workdir: Path, image_id: Callable[[int], str], bad: BadStep) -> str:
  """Writes `crash/<time>/step.json`: the step, its norms, its examples; says where, "" if it can't.

  Args:
    workdir: of the run.
    image_id: of the example at a place in the training data.
    bad: the step.
  """
  now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
  path = workdir / FOLDER / now / "step.json"
  content = {
    "step": bad.step,
    bad.name: str(bad.value),
    "gradient_norms": {name: _number(norm) for name, norm in bad.gradient_norms.items()},
    "examples": [{"index": place, "image_id": image_id(place)} for place in bad.examples],
  }
  try:
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
  except OSError:  # a full disk must not hide what happened
    return ""
  return f"{path} has its examples and gradient norms"


def _number(value: float) -> Any:
  """JSON has neither NaN nor infinity."""
  return value if abs(value) < float("inf") else str(value)
