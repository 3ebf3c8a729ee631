"""What an evaluation is asked for."""

import dataclasses
from pathlib import Path

from jaxt2i.errors import UsageError, UserError, suggest
from jaxt2i.sampling import SamplingOptions

METRICS = {
  "tokenizer": ("reconstruction",),
  "prior": (
    "reconstruction",
    "likelihood",
    "recall",
    "attributes",
    "copies",
    "generation",
    "retrieval",
    "inception",
    "clip",
  ),
  "dual_encoder": ("retrieval",),
}


@dataclasses.dataclass(frozen=True)
class Request:
  """What is to be measured.

  Attributes:
    split: of the run's own data.
    n: pictures that are drawn.
    options: how they are drawn.
    seed: of the drawings.
    metrics: names from `METRICS`; none: all that can be measured of the run.
    judge: workdir of a dual encoder of the same data, which ranks captions for the pictures.
    rerank: workdir of another one, which chooses among `candidates` drawings for each caption.
    candidates: 1 without `rerank`.
    inception: the file of FID's InceptionV3, with what its hash must begin with; None: no FID.
    clip: the folder of a CLIP, likewise.
  """

  split: str = "val"
  n: int = 100
  options: SamplingOptions = dataclasses.field(default_factory=SamplingOptions)
  seed: int = 0
  metrics: tuple[str, ...] = ()
  judge: Path | None = None
  rerank: Path | None = None
  candidates: int = 1
  inception: tuple[Path, str] | None = None
  clip: tuple[Path, str] | None = None

  def names(self, task: str, workdir: Path) -> tuple[str, ...]:
    """The names that are asked for, in our order; all that fit a run of this task where none are.

    Raises:
      UsageError: there is no such metric.
      UserError: it is none of such a run.
    """
    possible = METRICS.get(task, ())
    every = {name for names in METRICS.values() for name in names}
    for name in self.metrics:
      if name not in every:
        raise UsageError(f"--metrics has {name!r}: {suggest(name, every)}")
      if name not in possible:
        raise UserError(
          f"--metrics has {name!r}, and {workdir} is a {task}: of that there are "
          f"{', '.join(possible)}; give the workdir of a prior."
        )
    return tuple(name for name in possible if not self.metrics or name in self.metrics)

  def refuse_judges(self, task: str, workdir: Path) -> None:
    """UsageError if something is to judge drawings of a run that draws nothing."""
    for option in ("judge", "rerank", "inception", "clip"):
      if getattr(self, option) is not None and task != "prior":
        raise UsageError(f"--{option} is given: {workdir} draws nothing that it could judge.")
