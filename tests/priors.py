"""Small priors for tests."""

from typing import Any, TypeVar

from jaxt2i.models.prior import Prior
from jaxt2i.models.text import TextEncoder

P = TypeVar("P", bound=Prior)


def small(kind: type[P], codes: int, grid: tuple[int, int], vocab_size: int, **changes: Any) -> P:
  """A prior with one layer of 16 features, two heads, and a transformer as its text encoder."""
  chosen: dict[str, Any] = dict(width=16, layers=1, heads=2, dropout=0.0)
  chosen |= dict(positions="learned", conditioning="cross", qk_norm=False, gated_mlp=False)
  if "any_order" in kind.__dataclass_fields__:
    chosen |= dict(depth=1, any_order=False)
  chosen |= changes
  encoder = TextEncoder(vocab_size, chosen["width"], layers=1, heads=chosen["heads"])
  return kind(codebook_size=codes, grid=grid, text_encoder=encoder, **chosen)
