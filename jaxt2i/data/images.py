"""Encoded images of any origin as square RGB arrays."""

import io
import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

# Only these decoders ever see a file: Pillow has others, little used and less hardened.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_MAX_PIXELS = 50_000_000  # a small file can unpack to gigabytes
_MAX_SIDE = 65_535  # JPEG's own limit; Pillow's filters take memory by the side
_MASTER = 256  # pixels; smaller squares are area averages of one of this size

FITS = ("letterbox", "crop", "stretch")


class BadImageError(Exception):
  """Bytes that cannot be decoded; says why."""


def decode(data: bytes) -> Image.Image:
  """Decodes an image to RGB, turned as its EXIF says.

  Greyscale, palettes, CMYK and 16 bits become 8-bit RGB; what is transparent becomes white; of an
  animation the first frame is taken.

  Raises:
    BadImageError: not an image of a known format, truncated, damaged, above 50 megapixels, or
      with a side above 65,535.
    MemoryError: there is not enough for this image.
  """
  if not data:
    raise BadImageError("empty file")
  try:
    with warnings.catch_warnings():
      # Odd metadata does not matter as long as the pixels are there.
      warnings.simplefilter("ignore")
      with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        if image.width * image.height > _MAX_PIXELS or max(image.size) > _MAX_SIDE:
          raise BadImageError(
            f"{image.width} x {image.height} pixels, above {_MAX_PIXELS:,} or {_MAX_SIDE:,} a side"
          )
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _to_rgb(image)
  except (BadImageError, MemoryError):  # the latter says nothing about the image
    raise
  except Image.UnidentifiedImageError as error:
    raise BadImageError(f"no image of a known format; it begins with {data[:16]!r}") from error
  except Exception as error:  # damaged files make Pillow raise almost anything
    raise BadImageError(" ".join(str(error).split()) or type(error).__name__) from error


def _to_rgb(image: Image.Image) -> Image.Image:
  if image.mode == "RGB" and not image.has_transparency_data:
    return image
  if image.mode.startswith("I"):  # 16 bits a pixel, also when held in 32
    values = np.asarray(image).clip(0, 65535) // 256
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")
  if image.mode == "F":
    raise BadImageError("floating-point pixels, whose range is unknown")
  if image.has_transparency_data:
    rgba = image.convert("RGBA")
    opaque = Image.new("RGB", rgba.size, "white")
    opaque.paste(rgba, mask=rgba)
    return opaque
  return image.convert("RGB")


def squares(
  photo: Image.Image, sizes: Sequence[int], fit: str
) -> dict[int, UInt8[np.ndarray, "H W 3"]]:
  """A photo as squares of several sizes, each independent of which others are asked for.

  A square below 256 pixels is the area average of the one of 256 pixels; a photo that is itself
  smaller than 256 is averaged directly, and enlarged only where it must be.

  Args:
    photo: RGB.
    sizes: pixels of a side.
    fit: "letterbox" into black, "crop" the middle, or "stretch".
  """
  made: dict[int, Image.Image] = {}
  side = min(photo.size) if fit == "crop" else max(photo.size)
  for size in sorted({*sizes, _MASTER}, reverse=True):
    if size >= _MASTER or side < _MASTER:
      shrinks = size < _MASTER and side >= size
      made[size] = _fitted(photo, size, fit, _AVERAGE if shrinks else _SMOOTH)
    else:
      made[size] = averaged(made[_MASTER], size)
  return {size: np.asarray(made[size]) for size in sizes}


_SMOOTH, _AVERAGE = Image.Resampling.LANCZOS, Image.Resampling.BOX


def averaged(square: Image.Image, size: int) -> Image.Image:
  """A square at another size by area averaging, three times as fast if its own is a multiple."""
  if square.width % size == 0:
    return square.reduce(square.width // size)
  return square.resize((size, size), _AVERAGE)


def _fitted(photo: Image.Image, size: int, fit: str, resampling: Image.Resampling) -> Image.Image:
  width, height = photo.size
  if fit == "stretch":
    return photo.resize((size, size), resampling)
  if fit == "crop":
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return photo.resize((size, size), resampling, (left, top, left + side, top + side))
  scale = size / max(width, height)
  width, height = (max(1, round(side * scale)) for side in photo.size)
  square = Image.new("RGB", (size, size), "black")
  square.paste(
    photo.resize((width, height), resampling), ((size - width) // 2, (size - height) // 2)
  )
  return square
