"""Near-duplicates: what is found, what is kept apart, and the groups against all pairs."""

import itertools

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from jaxt2i.data.duplicates import groups, perceptual_hash
from jaxt2i.data.images import decode, squares
from tests.photos import encoded, photo

SIZE = 64


def square(image: Image.Image) -> np.ndarray:
  return squares(image, [SIZE], "letterbox")[SIZE]


def grouped(images) -> list[int]:
  hashes = np.asarray([perceptual_hash(image) for image in images], np.uint64)
  return groups(hashes, images.__getitem__).tolist()


def test_the_hash_is_that_of_the_lowest_frequencies():
  # DCT-II by its definition, of 32 pixels a side.
  n, k = np.arange(32), np.arange(8)
  cosines = np.cos(np.pi * k[:, None] * (2 * n + 1) / 64)
  for seed in range(5):
    image = np.asarray(photo(seed, 32, 32))
    low = cosines @ np.asarray(Image.fromarray(image).convert("L"), float) @ cosines.T
    bits = "".join("1" if value > np.median(low) + 64 else "0" for value in low.flat)
    assert perceptual_hash(image) == int(bits, 2)
    assert 28 <= bits.count("1") <= 32


CHANGES = {
  "half the size": lambda image: image.resize((150, 112), Image.Resampling.BICUBIC),
  "twice the size": lambda image: image.resize((600, 450), Image.Resampling.LANCZOS),
  "JPEG, quality 30": lambda image: decode(encoded(image, "JPEG", quality=30)),
  "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.05),
  "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.95),
  "one row less": lambda image: image.crop((0, 1, 300, 225)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_near_duplicates_are_found(change):
  photos = [photo(seed, 300, 225) for seed in range(8)]
  images = [square(image) for image in (*photos, *map(CHANGES[change], photos))]
  assert grouped(images) == [*range(8), *range(8)]


def test_different_images_stay_apart():
  images = [square(photo(seed, 60, 45)) for seed in range(300)]
  assert grouped(images) == list(range(300))


def test_turned_mirrored_and_inverted_is_different():
  image = square(photo(0, 64, 64))
  assert grouped([image, image[::-1], image[:, ::-1], 255 - image]) == [0, 1, 2, 3]


@pytest.mark.parametrize("right", [0, 60, 200])
def test_noise_decides_no_bit_of_flat_and_symmetric_images(right):
  image = np.full((64, 64, 3), 60, np.uint8)
  image[:, 32:] = right
  noise = np.random.default_rng(0).integers(-2, 3, image.shape)
  noisy = (image.astype(int) + noise).clip(0, 255).astype(np.uint8)
  slightly = (image + (image > 0)).astype(np.uint8)
  assert perceptual_hash(image) == perceptual_hash(noisy) == perceptual_hash(slightly)


def test_flat_images_have_one_hash_but_their_colours_keep_them_apart():
  # More of them than an image of the same hash is compared with.
  colours = list(itertools.product((0, 60, 120, 180, 240), repeat=3))[:70]
  images = [np.full((8, 8, 3), colour, np.uint8) for colour in colours]
  assert grouped(images) == list(range(70))
  grey, similar = np.full((8, 8, 3), 100, np.uint8), np.full((8, 8, 3), 106, np.uint8)
  other = np.full((8, 8, 3), 112, np.uint8)
  assert grouped([grey, other, similar]) == [0, 1, 0]  # the first that is like it


def reference(hashes, colours) -> list[int]:
  """Connected components of all pairs of at most four different bits and one colour."""
  first = list(range(len(hashes)))
  for i, j in itertools.combinations(range(len(hashes)), 2):
    if (int(hashes[i]) ^ int(hashes[j])).bit_count() <= 4 and colours[i] == colours[j]:
      low, high = sorted((first[i], first[j]))
      first = [low if group == high else group for group in first]
  return first


@pytest.mark.parametrize("seed", range(6))
def test_groups_are_those_of_all_pairs(seed):
  rng = np.random.default_rng(seed)
  bases = rng.integers(0, 2**64, 40, np.uint64)
  hashes = bases[rng.integers(0, 40, 250)]
  for i, flips in enumerate(rng.integers(0, 4, 250)):  # so up to six bits apart
    for bit in rng.choice(64, flips, replace=False):
      hashes[i] ^= np.uint64(1) << np.uint64(bit)
  colours = rng.integers(0, 2, 250) * 200
  flat = {colour: np.full((2, 2, 3), colour, np.uint8) for colour in (0, 200)}
  found = groups(hashes, lambda i: flat[colours[i]])
  assert found.dtype == np.int64
  assert found.tolist() == reference(hashes, colours)
  assert 60 < len(set(found.tolist())) < 200  # neither all apart nor all one


def test_hashes_far_apart_are_not_looked_at():
  def pixels(i):
    raise AssertionError(i)

  hashes = np.asarray([0, 0b11111, 0b11111 << 5, 0b11111 << 58], np.uint64)  # five bits and ten
  assert groups(hashes, pixels).tolist() == [0, 1, 2, 3]
  assert groups(hashes[:1], pixels).tolist() == [0]
  assert groups(hashes[:0], pixels).tolist() == []


@pytest.mark.parametrize("kinds", [1, 20])
def test_images_of_one_hash_are_read_once(kinds):
  looked = []
  images = [np.full((2, 2, 3), 12 * kind, np.uint8) for kind in range(kinds)]
  found = groups(np.zeros(500, np.uint64), lambda i: looked.append(i) or images[i % kinds])
  assert found.tolist() == [i % kinds for i in range(500)]
  assert looked == list(range(500))
