"""Names shared by every layer.

Axis letters used in shapes: B batch, H W image, h w grid, C channels, N tokens, T text length,
K codes, D features.
"""

from collections.abc import Mapping
from typing import Any

import jax

Array = jax.Array
Key = jax.Array  # a typed PRNG key, shape []
Batch = Mapping[str, Any]  # name -> array, see jaxt2i/data/stream.py
Variables = Mapping[str, Any]  # Flax collections: "params", "codebook", "frozen", "features", ...
