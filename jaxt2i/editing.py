"""Changing pictures: the masked part, what lies beyond an edge, or some of the tokens drawn anew.

All take P pictures uint8 [P, H, W, 3] of the size that the pipeline was trained on with a prompt
for each, and further arguments of drawing (n, seed, negative_prompt, options).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt8

from jaxt2i.errors import UsageError
from jaxt2i.pipeline import Drawings, Pipeline


def inpaint(
  pipeline: Pipeline,
  images: UInt8[np.ndarray, "P H W 3"],
  masks: Bool[np.ndarray, "P H W"],
  prompts: Sequence[str],
  **drawing: Any,
) -> Drawings:
  """Draws the masked part of each picture anew; all other pixels stay as they are.

  A token is drawn anew where any of its pixels is masked. An autoregressive prior fits a part only
  to what comes before it in raster order; a masked one to all that is there.

  Raises:
    UsageError: sizes that do not fit each other or the pipeline, or an argument of drawing.
  """
  if masks.dtype != bool or masks.shape != images.shape[:3]:
    raise UsageError(
      f"masks are {masks.dtype} {list(masks.shape)}: must be bool {list(images.shape[:3])}, True "
      "where to draw anew."
    )
  tokens = _tokens_of(pipeline, images, prompts)
  p, h, _ = tokens.shape
  positions = tokens.shape[2] // pipeline.tokenizer.quantizer.tokens_per_position
  squares = masks.reshape(p, h, masks.shape[1] // h, positions, masks.shape[2] // positions)
  anew = np.repeat(np.any(squares, axis=(2, 4)), tokens.shape[2] // positions, axis=2)
  drawn = pipeline(prompts, given=np.where(anew, -1, tokens), **drawing)
  images = np.where(masks[:, None, :, :, None], drawn.images, images[:, None])
  return dataclasses.replace(drawn, images=images)


def outpaint(
  pipeline: Pipeline,
  images: UInt8[np.ndarray, "P H W 3"],
  prompts: Sequence[str],
  *,
  down: int,
  right: int,
  **drawing: Any,
) -> Drawings:
  """Moves each picture and draws what comes into view.

  Args:
    down, right: pixels to move by; negative ones are up and left.

  Raises:
    UsageError: as of `inpaint`, or a picture would be moved out of view.
  """
  h, w = images.shape[1:3]
  if not (abs(down) < h and abs(right) < w):
    raise UsageError(f"down, right are {down}, {right}: must be within the picture's {h}, {w}.")
  moved = np.zeros_like(images)
  masks = np.ones(images.shape[:3], bool)
  (to_y, from_y), (to_x, from_x) = _overlap(down, h), _overlap(right, w)
  moved[:, to_y, to_x] = images[:, from_y, from_x]
  masks[:, to_y, to_x] = False
  return inpaint(pipeline, moved, masks, prompts, **drawing)


def vary(
  pipeline: Pipeline,
  images: UInt8[np.ndarray, "P H W 3"],
  prompts: Sequence[str],
  *,
  strength: float,
  seed: int = 0,
  **drawing: Any,
) -> Drawings:
  """Draws a share `strength` of each picture's tokens anew, chosen at random by the seed.

  Raises:
    UsageError: as of `inpaint`, or a strength that is no share.
  """
  if not 0 <= strength <= 1:
    raise UsageError(f"strength is {strength}: must be from 0 (nothing) to 1 (all drawn anew).")
  tokens = _tokens_of(pipeline, images, prompts)
  count = round(strength * tokens[0].size)
  chosen = np.random.default_rng(seed).permutation(tokens[0].size) < count
  anew = chosen.reshape(1, *tokens.shape[1:])
  return pipeline(prompts, given=np.where(anew, -1, tokens), seed=seed, **drawing)


def _tokens_of(
  pipeline: Pipeline, images: np.ndarray, prompts: Sequence[str]
) -> Int[np.ndarray, "P h w"]:
  """Tokens of the pictures; UsageError unless there is a prompt for each."""
  if len(images) != len(prompts) or not len(images):
    raise UsageError(f"{len(images)} pictures with {len(prompts)} prompts: must be one for each.")
  tokens = pipeline.encode(images)
  if pipeline.prior is not None and tokens.shape[1:] != pipeline.prior.grid:
    side = pipeline.tokenizer.encoder.downsample
    h, w = pipeline.prior.grid
    expected = h * side, w * side // pipeline.tokenizer.quantizer.tokens_per_position
    raise UsageError(
      f"pictures are {list(images.shape[1:3])}: must be {list(expected)}, as in training."
    )
  return tokens


def _overlap(shift: int, size: int) -> tuple[slice, slice]:
  """Where the part that stays in view goes to, and where it comes from."""
  return slice(max(shift, 0), size + min(shift, 0)), slice(max(-shift, 0), size - max(shift, 0))
