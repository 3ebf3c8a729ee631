"""Decoding and squaring: every kind of file, every kind of damage."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxt2i.data.images import FITS, BadImageError, decode, squares
from tests.photos import encoded, photo

RED = (220, 40, 30)


def square(data: bytes, size: int, fit: str = "letterbox") -> np.ndarray:
  return squares(decode(data), [size], fit)[size]


def averaged(image: np.ndarray, factor: int) -> np.ndarray:
  side = len(image) // factor
  return image.reshape(side, factor, side, factor, 3).mean((1, 3))


def noise(*shape: int) -> np.ndarray:
  return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_letterboxed_into_a_black_square():
  image = square(encoded(Image.new("RGB", (40, 20), RED)), 16)
  assert image.shape == (16, 16, 3)
  assert image.dtype == np.uint8
  assert (image[:4] == 0).all()
  assert (image[12:] == 0).all()
  assert (image[4:12] == RED).all()
  tall = square(encoded(Image.new("RGB", (20, 40), RED)), 16)
  np.testing.assert_array_equal(tall, image.transpose(1, 0, 2))


@pytest.mark.parametrize("fit", FITS)
def test_a_square_that_fits_stays_as_it_is(fit):
  pixels = noise(16, 16, 3)
  np.testing.assert_array_equal(square(encoded(Image.fromarray(pixels)), 16, fit), pixels)


def test_crop_takes_the_middle():
  pixels = noise(16, 48, 3)
  for stored, middle in ((pixels, pixels[:, 16:32]), (pixels.transpose(1, 0, 2), None)):
    image = square(encoded(Image.fromarray(stored)), 16, "crop")
    np.testing.assert_array_equal(image, stored[16:32] if middle is None else middle)


def test_crop_is_that_of_the_square_in_the_middle():
  wide = photo(0, 300, 40)
  middle = wide.crop((130, 0, 170, 40))
  for size in (16, 64, 256):  # shrunk, enlarged, and enlarged much, which looks past the edge
    cropped = squares(wide, [size], "crop")[size].astype(int)
    difference = abs(cropped - squares(middle, [size], "stretch")[size])
    assert difference.max() <= (0 if size == 16 else 12)
    assert difference[:, 16:-16].max(initial=0) <= (0 if size == 64 else 1)


def test_stretch_fills_the_square():
  pixels = noise(16, 32, 3)
  expected = pixels.reshape(16, 16, 2, 3).mean(2)
  assert abs(square(encoded(Image.fromarray(pixels)), 16, "stretch") - expected).max() <= 0.5


@pytest.mark.parametrize("fit", FITS)
def test_small_squares_are_area_averages_of_the_large_one(fit):
  wide = photo(1, 700, 500)
  both = squares(wide, [256, 64], fit)
  assert abs(both[64] - averaged(both[256], 4)).max() <= 1
  np.testing.assert_array_equal(squares(wide, [64], fit)[64], both[64])
  np.testing.assert_array_equal(squares(wide, [256], fit)[256], both[256])


def test_large_squares_are_smooth():
  image = Image.fromarray(noise(700, 700, 3))
  expected = image.resize((256, 256), Image.Resampling.LANCZOS)
  np.testing.assert_array_equal(squares(image, [256], "stretch")[256], expected)


def test_small_photos_are_averaged_directly():
  pixels = noise(128, 128, 3)
  image = square(encoded(Image.fromarray(pixels)), 64)
  assert abs(image - averaged(pixels, 2)).max() <= 1


def test_lines_survive():
  line = square(encoded(Image.new("RGB", (1000, 1), RED)), 16)
  assert (line.sum((1, 2)) > 0).sum() == 1


@pytest.mark.parametrize("fit", FITS)
def test_one_pixel_fills_any_square(fit):
  made = squares(decode(encoded(Image.new("RGB", (1, 1), RED))), [256, 64, 8], fit)
  assert list(made) == [256, 64, 8]
  assert all((image == RED).all() and len(image) == size for size, image in made.items())


# What a camera stores for a picture that is to be seen as `upright`, by EXIF orientation.
STORED = {
  1: lambda upright: upright,
  2: lambda upright: upright[:, ::-1],
  3: lambda upright: upright[::-1, ::-1],
  4: lambda upright: upright[::-1],
  5: lambda upright: upright.transpose(1, 0, 2),
  6: lambda upright: np.rot90(upright),
  7: lambda upright: np.rot90(upright.transpose(1, 0, 2), 2),
  8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation(orientation, kind):
  upright = np.asarray(photo(2, 24, 16))
  exif = Image.Exif()
  exif[0x0112] = orientation
  picture = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
  options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
  seen = np.asarray(decode(encoded(picture, kind, exif=exif, **options)))
  assert seen.shape == upright.shape
  assert abs(seen.astype(int) - upright).max() <= (12 if kind == "JPEG" else 0)


def test_damaged_exif_does_not_matter():
  data = encoded(Image.new("RGB", (8, 8), RED), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
  assert decode(data).size == (8, 8)


@pytest.mark.parametrize("mode", ["L", "1", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_modes_become_rgb(mode):
  picture = Image.new("RGB", (8, 8), "white").convert(mode)
  decoded = decode(encoded(picture, "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"))
  assert decoded.mode == "RGB"
  assert np.asarray(decoded).shape == (8, 8, 3)
  assert np.asarray(decoded).min() > 250


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits(kind):
  values = np.full((8, 8), 0x8000, np.uint16)
  values[0, 0] = 0xFFFF
  image = np.asarray(decode(encoded(Image.fromarray(values), kind)))
  assert (image[0, 0] == 255).all()
  assert (image[4, 4] == 128).all()


def test_transparency_becomes_white():
  pixels = noise(8, 8, 4)
  alpha = pixels[..., 3:] / 255
  expected = pixels[..., :3] * alpha + 255 * (1 - alpha)
  assert abs(np.asarray(decode(encoded(Image.fromarray(pixels)))) - expected).max() <= 1
  palette = Image.new("P", (8, 8), 1)
  palette.putpalette([0, 0, 0, *RED])
  palette.putpixel((2, 3), 0)
  shown = np.asarray(decode(encoded(palette, transparency=1)))
  assert (shown[3, 2] == 0).all()
  assert (shown.sum((0, 1)) == 63 * 255).all()


def test_an_animation_gives_its_first_frame():
  frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
  data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
  assert (square(data, 8) == (255, 0, 0)).all()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_jpeg(share):
  data = encoded(Image.fromarray(noise(64, 64, 3)), "JPEG")
  with pytest.raises(BadImageError, match=r"(?i)truncated"):
    decode(data[: int(len(data) * share)])


@pytest.mark.parametrize(
  ("data", "why"),
  [
    (b"", "empty file"),
    (b"<!DOCTYPE html><p>404", r"no image of a known format; it begins with b'<!DOCTYPE html>"),
    (b"\xff\xd8\xff\xe0 but no more", "Truncated File Read"),
    (encoded(Image.new("RGB", (8, 8)), "PPM"), "no image"),  # a decoder that is not listed
    (encoded(Image.fromarray(np.zeros((8, 8), np.float32)), "TIFF"), "floating-point"),
    (encoded(Image.fromarray(noise(64, 64, 3)))[:5000] + bytes(5000), "."),
  ],
)
def test_what_is_no_image(data, why):
  with pytest.raises(BadImageError, match=why) as caught:
    decode(data)
  assert "\n" not in str(caught.value)


def png_header(width: int, height: int) -> bytes:
  header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
  return (
    b"\x89PNG\r\n\x1a\n\0\0\0\r"
    + header
    + struct.pack(">I", zlib.crc32(header))
    + encoded(Image.new("1", (1, 1)))[33:]
  )


# Below and above the size at which Pillow itself refuses; a long line, too, takes gigabytes.
@pytest.mark.parametrize(
  "size", [(7_072, 7_072), (10_000, 10_000), (20_000, 20_000), (65_536, 1), (1, 65_536)]
)
def test_bombs_are_refused_before_they_are_unpacked(size):
  with pytest.raises(BadImageError, match="pixels"):
    decode(png_header(*size))


@pytest.mark.parametrize("size", [(10_000, 5_000), (65_535, 700), (700, 65_535)])
def test_the_limits_themselves_are_no_bombs(size):
  with pytest.raises(BadImageError, match="truncated"):  # the pixels are not there
    decode(png_header(*size))
