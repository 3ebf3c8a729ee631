"""Maps of a latent space: images and codes in a plane by t-SNE, still and for a page."""

import dataclasses
import io
import json
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, UInt8
from PIL import Image
from threadpoolctl import threadpool_limits

from jaxt2i.analysis import page
from jaxt2i.analysis.latent_set import LatentSet
from jaxt2i.analysis.latent_sheets import patches_of
from jaxt2i.analysis.words import shortened

_PERPLEXITY = 30.0
_NEIGHBOURS = 10
_AXES = 50
_SIDE = 48  # largest thumbnail, pixels
_CAPTION = 120  # characters
_PATCHES = 8


@dataclasses.dataclass(frozen=True, eq=False)
class Map:
  """Points with pictures.

  Attributes:
    points: where each lies; distances between far ones mean nothing.
    pictures: what each looks like.
    texts: what is said of each.
    trust: trustworthiness, 0 to 1: how far neighbours here are neighbours there.
    more: further pictures of each, side by side as one; None: none.
  """

  points: Float64[np.ndarray, "n 2"]
  pictures: UInt8[np.ndarray, "n p q 3"]
  texts: tuple[str, ...]
  trust: float
  more: UInt8[np.ndarray, "n p r 3"] | None = None


def of_images(found: LatentSet) -> Map:
  """The images, by the code vectors of their grids."""
  points, trust = tsne(found.flat)
  texts = [
    ": ".join((f"image {number}", *(shortened(text, _CAPTION) for text in record.captions[:1])))
    for number, record in zip(found.numbers, found.records, strict=True)
  ]
  return Map(points, thumbnails(found.images), tuple(texts), trust)


def of_codes(found: LatentSet, alone: UInt8[np.ndarray, "K p p 3"]) -> Map:
  """The codes that occur, by their vectors, with real patches that each stands for."""
  points, trust = tsne(found.codes[found.used])
  p = found.patch
  more = np.full((len(found.used), p, _PATCHES, p, 3), 255, np.uint8)
  for place, code in enumerate(found.used):
    patches = patches_of(found, int(code), _PATCHES)
    more[place, :, : len(patches)] = patches.swapaxes(0, 1)
  shares = found.counts[found.used] / found.counts.sum()
  texts = [
    f"code {code}: {share:.2%} of all tokens"
    for code, share in zip(found.used, shares, strict=True)
  ]
  strips = more.reshape(len(more), p, _PATCHES * p, 3)
  return Map(points, alone[found.used], tuple(texts), trust, strips)


def tsne(rows: Float[np.ndarray, "n F"]) -> tuple[Float64[np.ndarray, "n 2"], float]:
  """t-SNE (van der Maaten and Hinton, JMLR 9, 2008) from principal axes, and its trustworthiness.

  Of fewer than 12 rows their first two principal axes, and NaN.
  """
  from sklearn.decomposition import PCA
  from sklearn.manifold import TSNE, trustworthiness

  x = rows.astype(np.float64)
  if not np.ptp(x, axis=0).any():
    return np.zeros((len(x), 2)), float("nan")
  with threadpool_limits(1):
    axes = PCA(min(_AXES, *x.shape), svd_solver="full").fit_transform(x)
    if axes.shape[1] < 2:
      axes = np.pad(axes, ((0, 0), (0, 1)))
    if len(x) < _NEIGHBOURS + 2:
      return axes[:, :2], float("nan")
    perplexity = min(_PERPLEXITY, (len(x) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=0, n_jobs=1).fit_transform(axes)
    neighbours = min(_NEIGHBOURS, (len(x) - 1) // 2)
    return points.astype(np.float64), float(trustworthiness(axes, points, n_neighbors=neighbours))


def thumbnails(images: UInt8[np.ndarray, "n H W 3"]) -> UInt8[np.ndarray, "n p q 3"]:
  """Copies of at most `_SIDE` pixels a side."""
  if max(images.shape[1:3]) <= _SIDE:
    return images
  size = (_SIDE, _SIDE)
  small = [Image.fromarray(x).resize(size, Image.Resampling.LANCZOS) for x in images]
  return np.stack([np.asarray(x) for x in small])


def data(of: Map) -> dict[str, Any]:
  """What the page's script reads: points in 0 … 1, texts, and all pictures as one."""
  low, high = of.points.min(axis=0), of.points.max(axis=0)
  scaled = (of.points - (low + high) / 2) / max(float((high - low).max()), 1e-9) + 0.5
  columns = int(np.ceil(np.sqrt(len(of.pictures))))
  found: dict[str, Any] = {
    "points": np.round(scaled, 4).tolist(),
    "texts": of.texts,
    "sprite": _sprite(of.pictures, columns),
    "columns": columns,
    "size": list(of.pictures.shape[2:0:-1]),
  }
  if of.more is not None:
    wide = max(1, columns // 4)
    found |= {"more": _sprite(of.more, wide), "moreColumns": wide}
    found["moreSize"] = list(of.more.shape[2:0:-1])
  return found


def script_data(maps: dict[str, Map]) -> str:
  """JSON that is safe within a script element, whatever captions say."""
  text = json.dumps({name: data(of) for name, of in maps.items()}, ensure_ascii=False)
  for mark in "<>&\u2028\u2029":
    text = text.replace(mark, f"\\u{ord(mark):04x}")
  return text


def _sprite(pictures: UInt8[np.ndarray, "n p q 3"], columns: int) -> str:
  """All pictures as one, row by row, as a data URI; small ones without loss."""
  n, p, q, _ = pictures.shape
  rows = -(-n // columns)
  cells = np.full((rows * columns, p, q, 3), 255, np.uint8)
  cells[:n] = pictures
  sheet = cells.reshape(rows, columns, p, q, 3).swapaxes(1, 2).reshape(rows * p, columns * q, 3)
  file = io.BytesIO()
  form = "PNG" if p <= 16 else "JPEG"
  Image.fromarray(sheet).save(file, format=form, quality=88)
  return page.inline(file.getvalue(), form.lower())
