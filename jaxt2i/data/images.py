"""Image files of any origin as square RGB arrays."""

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

# Only these decoders ever see a file: Pillow has others, little used and less hardened.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_MAX_PIXELS = 50_000_000  # a small file can unpack to gigabytes


class BadImageError(Exception):
  """A file that cannot be decoded; says why."""


def read_square(path: Path, image_size: int) -> UInt8[np.ndarray, "H W 3"]:
  """Decodes an image, turned as its EXIF says, and letterboxes it into a black square.

  Greyscale, palettes, CMYK and 16 bits become 8-bit RGB; what is transparent becomes white; of an
  animation the first frame is taken.

  Args:
    path: of the file.
    image_size: pixels of the square's side, H and W.

  Raises:
    BadImageError: not an image of a known format, truncated, damaged, or above 50 megapixels.
  """
  try:
    with warnings.catch_warnings():
      # Odd metadata does not matter as long as the pixels are there.
      warnings.simplefilter("ignore")
      with Image.open(path, formats=_FORMATS) as image:
        if image.width * image.height > _MAX_PIXELS:
          raise BadImageError(f"{image.width} x {image.height} pixels, above {_MAX_PIXELS:,}")
        image.load()
        return np.asarray(_letterbox(_to_rgb(ImageOps.exif_transpose(image)), image_size))
  except BadImageError:
    raise
  except Exception as error:  # damaged files make Pillow raise almost anything
    reason = " ".join(str(error).split()) or type(error).__name__
    raise BadImageError(reason.replace(str(path), path.name)) from error


def _to_rgb(image: Image.Image) -> Image.Image:
  if image.mode.startswith("I"):  # 16 bits a pixel, also when held in 32
    values = np.asarray(image).astype(np.int64)
    return Image.fromarray((values.clip(0, 65535) // 256).astype(np.uint8)).convert("RGB")
  if image.mode == "F":
    raise BadImageError("floating-point pixels, whose range is unknown")
  if image.has_transparency_data:
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
  return image.convert("RGB")


def _letterbox(image: Image.Image, image_size: int) -> Image.Image:
  scale = image_size / max(image.size)
  width, height = (max(1, round(side * scale)) for side in image.size)
  square = Image.new("RGB", (image_size, image_size), "black")
  resized = image.resize((width, height), Image.Resampling.LANCZOS)
  square.paste(resized, ((image_size - width) // 2, (image_size - height) // 2))
  return square
