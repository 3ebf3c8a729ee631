"""Near-duplicates: photos that were scaled, re-encoded or slightly retouched.

A perceptual hash finds candidates, the pixels decide: hashes of flat or very regular images
collide.
"""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Int64, UInt8, UInt64
from PIL import Image

from jaxt2i.data.images import averaged

_SIDE = 32  # pixels of the grey image that is hashed
_KEPT = 8  # lowest frequencies along each axis
_NOISE = 64.0  # of a frequency: a quarter of a grey level; rounding alone makes less
_MAX_BITS = 4  # in which the hashes of near-duplicates may differ, of 64
_MAX_DIFFERENCE = 8.0  # mean over pixels and channels, in levels of 0 to 255
_MAX_LEADERS = 64  # different images of one hash that another is compared with

Pixels = Callable[[int], UInt8[np.ndarray, "H W 3"]]


# Cosine transform (DCT-II) of the lowest frequencies. SciPy's takes longer to import than it takes
# a worker to prepare fifty photos.
_COSINES = np.cos(np.pi * np.outer(np.arange(_KEPT), np.arange(_SIDE) + 0.5) / _SIDE)


def perceptual_hash(image: UInt8[np.ndarray, "H W 3"]) -> int:
  """64 bits: which of the lowest 8×8 frequencies of the grey image lie above their median.

  By a quarter of a grey level or more: of flat and of symmetric images most frequencies are zero,
  but for noise that no bit may depend on.
  """
  grey = averaged(Image.fromarray(image).convert("L"), _SIDE)
  low = _COSINES @ np.asarray(grey, np.float64) @ _COSINES.T
  return int.from_bytes(np.packbits(low > np.median(low) + _NOISE).tobytes(), "big")


def groups(hashes: UInt64[np.ndarray, "n"], pixels: Pixels) -> Int64[np.ndarray, "n"]:
  """The first index of the group of near-duplicates that each image belongs to, often its own.

  Args:
    hashes: perceptual hashes.
    pixels: the image of an index; all of one shape. It is called for candidates only.
  """
  first = np.arange(len(hashes), dtype=np.int64)

  def root(i: int) -> int:
    while first[i] != i:
      i = int(first[i])
    return i

  # Equal hashes first: of a thousand copies, every one is compared with one image and not with all.
  leaders = []
  for members in _equal(hashes):
    if len(members) == 1:
      leaders.append(int(members[0]))
      continue
    own: dict[int, np.ndarray] = {}
    for i in map(int, members):
      image = pixels(i)
      like = next((j for j, other in own.items() if _alike(image, other)), None)
      if like is not None:
        first[i] = like
      elif len(own) < _MAX_LEADERS:
        own[i] = image
    leaders += own
  leaders.sort()
  for i, j in sorted(set(_close_pairs(np.asarray(leaders, np.int64), hashes))):
    one, other = sorted((root(i), root(j)))
    if one != other and _alike(pixels(i), pixels(j)):
      first[other] = one
  return np.asarray([root(i) for i in range(len(first))], np.int64)


def _alike(one: UInt8[np.ndarray, "H W 3"], other: UInt8[np.ndarray, "H W 3"]) -> bool:
  difference = np.abs(one.astype(np.int16) - other.astype(np.int16))
  return float(difference.mean()) <= _MAX_DIFFERENCE


def _equal(values: UInt64[np.ndarray, "n"]) -> Iterator[Int64[np.ndarray, "m"]]:
  """Indices of each distinct value, ascending."""
  order = np.argsort(values, kind="stable")
  starts = np.flatnonzero(values[order][1:] != values[order][:-1]) + 1
  yield from np.split(order, starts)


def _close_pairs(
  indices: Int64[np.ndarray, "m"], hashes: UInt64[np.ndarray, "n"]
) -> Iterator[tuple[int, int]]:
  """Pairs of different hashes that differ in few bits; some come more than once.

  Cut into one more band than those bits, two such hashes agree in at least one band.
  """
  edges = np.linspace(0, 64, _MAX_BITS + 2).astype(int)
  for low, high in itertools.pairwise(map(int, edges)):
    band = (hashes[indices] >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
    for places in _equal(band):
      members = indices[places]
      values = hashes[members]
      for place in range(len(members) - 1):
        bits = np.bitwise_count(values[place] ^ values[place + 1 :])
        for other in np.flatnonzero((bits > 0) & (bits <= _MAX_BITS)):
          yield int(members[place]), int(members[place + 1 + other])
