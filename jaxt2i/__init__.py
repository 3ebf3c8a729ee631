"""jaxt2i: learn a discrete latent space of images and draw from it with words, in JAX.

`pipe = jaxt2i.load(workdir)`, then `pipe(["red heart"], n=4, seed=0)`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from jaxt2i.pipeline import Pipeline, load

__all__ = ["Pipeline", "__version__", "load"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
  # On demand, since the pipeline brings JAX along, and `jaxt2i --help` should answer at once.
  if name in ("Pipeline", "load"):
    from jaxt2i import pipeline

    return getattr(pipeline, name)
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
