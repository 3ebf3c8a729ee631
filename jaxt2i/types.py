"""Names shared by every layer.

Axis letters used in shapes: B batch, H W image, h w grid, C channels, N tokens, T text length,
K codes, D features.
"""

from collections.abc import Mapping
from typing import Any

import jax
from jaxtyping import Shaped

Array = jax.Array
Key = jax.Array  # a typed PRNG key, shape []
Batch = Mapping[str, Any]  # name -> array, see jaxt2i/data/stream.py
# Captions as a text encoder reads them: ids int32 [B, T], or features float32 [B, T, F].
Text = Shaped[Array, "B T *F"]
Variables = Mapping[str, Any]  # Flax collections: "params", "codebook", FROZEN, "features", ...
FROZEN = "frozen"  # of a model what is not trained: a prior's tokenizer, a pretrained encoder
