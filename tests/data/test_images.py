import numpy as np
import pytest
from PIL import Image

from jaxt2i.data.images import BadImageError, read_square

RED = (220, 40, 30)


def save(path, image, **options):
  image.save(path, **options)
  return path


def test_letterboxed_into_a_black_square(tmp_path):
  wide = save(tmp_path / "wide.png", Image.new("RGB", (40, 20), RED))
  image = read_square(wide, 16)
  assert image.shape == (16, 16, 3)
  assert image.dtype == np.uint8
  assert (image[:4] == 0).all()
  assert (image[12:] == 0).all()
  assert (image[4:12] == RED).all()
  tall = save(tmp_path / "tall.png", Image.new("RGB", (20, 40), RED))
  np.testing.assert_array_equal(read_square(tall, 16), image.transpose(1, 0, 2))


def test_nothing_is_cropped_and_nothing_turned(tmp_path):
  pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
  path = save(tmp_path / "a.png", Image.fromarray(pixels))
  np.testing.assert_array_equal(read_square(path, 16), pixels)


def test_small_images_are_enlarged_and_lines_survive(tmp_path):
  assert (read_square(save(tmp_path / "a.png", Image.new("RGB", (2, 2), RED)), 16) == RED).all()
  line = read_square(save(tmp_path / "b.png", Image.new("RGB", (1000, 1), RED)), 16)
  assert (line.sum((1, 2)) > 0).sum() == 1


# What a camera stores for a picture that shows red on top, turned by each EXIF orientation.
@pytest.mark.parametrize(
  ("orientation", "stored"),
  [
    (1, lambda top: top),
    (3, lambda top: top[::-1]),
    (6, lambda top: np.rot90(top)),
    (8, lambda top: np.rot90(top, -1)),
  ],
)
def test_exif_orientation(tmp_path, orientation, stored):
  upright = np.zeros((16, 16, 3), np.uint8)
  upright[:8] = RED
  exif = Image.Exif()
  exif[0x0112] = orientation
  picture = Image.fromarray(np.ascontiguousarray(stored(upright)))
  path = save(tmp_path / "a.jpg", picture, exif=exif, quality=95)
  image = read_square(path, 16).astype(int)
  assert image[:6, :, 0].min() > 180
  assert image[10:].max() < 40


@pytest.mark.parametrize("mode", ["L", "1", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_modes_become_rgb(tmp_path, mode):
  picture = Image.new("RGB", (8, 8), "white").convert(mode)
  name = "a.jpg" if mode in ("CMYK", "YCbCr") else "a.png"
  image = read_square(save(tmp_path / name, picture), 8)
  assert image.shape == (8, 8, 3)
  assert image.min() > 250


def test_sixteen_bits(tmp_path):
  values = np.full((8, 8), 0x8000, np.uint16)
  values[0, 0] = 0xFFFF
  for name in ("a.png", "a.tif"):
    image = read_square(save(tmp_path / name, Image.fromarray(values)), 8)
    assert (image[0, 0] == 255).all()
    assert (image[4, 4] == 128).all()


def test_transparency_becomes_white(tmp_path):
  picture = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
  picture.putpixel((0, 0), (*RED, 255))
  image = read_square(save(tmp_path / "a.png", picture), 8)
  assert tuple(image[0, 0]) == RED
  assert (image[4, 4] == 255).all()
  palette = picture.convert("P")
  palette.info["transparency"] = palette.getpixel((4, 4))
  path = save(tmp_path / "b.png", palette, transparency=palette.getpixel((4, 4)))
  assert (read_square(path, 8)[4, 4] == 255).all()


def test_an_animation_gives_its_first_frame(tmp_path):
  frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
  path = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
  assert (read_square(path, 8) == (255, 0, 0)).all()


def test_truncated_jpeg(tmp_path):
  noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
  path = save(tmp_path / "a.jpg", Image.fromarray(noise))
  path.write_bytes(path.read_bytes()[:1500])
  with pytest.raises(BadImageError, match="truncated"):
    read_square(path, 16)


@pytest.mark.parametrize("data", [b"", b"not an image", b"\xff\xd8\xff\xe0 but no more"])
def test_not_an_image(tmp_path, data):
  path = tmp_path / "a.jpg"
  path.write_bytes(data)
  with pytest.raises(BadImageError):
    read_square(path, 16)


def test_formats_that_are_not_listed_are_not_decoded(tmp_path):
  path = save(tmp_path / "a.png", Image.new("RGB", (8, 8)), format="PPM")
  with pytest.raises(BadImageError, match="cannot identify"):
    read_square(path, 8)


# Below and above the size at which Pillow itself warns.
@pytest.mark.parametrize("side", [8_000, 10_000])
def test_decompression_bombs_are_not_unpacked(tmp_path, side):
  path = save(tmp_path / "a.png", Image.new("1", (side, side)))
  with pytest.raises(BadImageError, match="pixels"):
    read_square(path, 8)


def test_floating_point_is_refused(tmp_path):
  path = save(tmp_path / "a.tif", Image.fromarray(np.zeros((8, 8), np.float32)))
  with pytest.raises(BadImageError, match="floating-point"):
    read_square(path, 8)
