"""Quantizers: latents `z [B, h, w, D]` to codes and tokens, and tokens to codes.

Who receives which gradient (checked in tests/models/quantizers/):

| quantizer | reconstruction loss reaches | its own loss reaches | codebook moves by |
|---|---|---|---|
| VectorQuantizer | encoder, straight through the lookup or rotated | encoder (commitment, β) and \
codes (codebook loss) | gradient; dead codes are re-seeded |
| EMAQuantizer | encoder, as above | encoder (commitment, β) | EMA of assigned latents; as above |
| GumbelQuantizer | encoder and codes, through the mixture of codes | encoder (KL) | gradient |
| FSQ | encoder, straight through the rounding, times the slope of the bound | (none) | is fixed |
| LFQ | encoder, straight through the sign | encoder (commitment, entropy) | is fixed |
| BSQ | encoder, straight through the sign, times that of the normalisation | encoder (entropy) | \
is fixed |
| ResidualQuantizer | encoder, straight through the sum | as its inner quantizer, at every level | \
as its inner quantizer |

An entropy penalty, where a lookup has one, reaches encoder and codes (EMA: encoder).
"""

from jaxt2i.models.quantizers.base import Quantized, Quantizer
from jaxt2i.models.quantizers.binary import BSQ, LFQ
from jaxt2i.models.quantizers.gumbel import GumbelQuantizer
from jaxt2i.models.quantizers.residual import ResidualQuantizer
from jaxt2i.models.quantizers.scalar import FSQ
from jaxt2i.models.quantizers.vector import EMAQuantizer, VectorQuantizer

__all__ = [
  "BSQ",
  "FSQ",
  "LFQ",
  "EMAQuantizer",
  "GumbelQuantizer",
  "Quantized",
  "Quantizer",
  "ResidualQuantizer",
  "VectorQuantizer",
]
