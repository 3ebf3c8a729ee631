"""Maps: safe data, whole sprites, the same every time; figures that draw."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from jaxt2i.analysis import latent_maps, latent_sheets
from jaxt2i.analysis.latent_maps import Map
from tests.analysis.latent_sets import PATCH, latent_set

RNG = np.random.default_rng
HOSTILE = '</script><script>alert("1")</script> & <img onerror=1>'


def some_set(images=30, **options):
  tokens = RNG(0).integers(20, size=(images, 3, 3))
  colours = RNG(1).integers(0, 256, (20, 3))
  return latent_set(tokens, RNG(2).normal(size=(20, 4)), colours=colours, **options)


def picture(uri):
  return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_neighbours_of_clusters_stay_neighbours_and_maps_are_repeatable():
  truth = np.repeat([0, 1, 2], 20)
  rows = (30 * np.eye(3)[truth] + RNG(0).normal(size=(60, 3))).astype(np.float32)
  points, trust = latent_maps.tsne(rows)
  assert trust > 0.9
  gaps = np.linalg.norm(points[:, None] - points, axis=2) + 1e9 * np.eye(60)
  np.testing.assert_array_equal(truth[gaps.argmin(axis=1)], truth)
  np.testing.assert_array_equal(latent_maps.tsne(rows)[0], points)


@pytest.mark.parametrize("shape", [(3, 5), (11, 1), (1, 4)])
def test_few_points_are_put_along_their_principal_axes(shape):
  points, trust = latent_maps.tsne(RNG(0).normal(size=shape).astype(np.float32))
  assert points.shape == (shape[0], 2)
  assert np.isnan(trust)


def test_equal_points_and_a_single_axis_have_maps_too():
  points, trust = latent_maps.tsne(np.ones((30, 4), np.float32))
  assert not points.any()
  assert np.isnan(trust)
  assert np.isfinite(latent_maps.tsne(np.arange(40, dtype=np.float32)[:, None])[0]).all()


def test_map_of_images_has_their_captions_and_numbers():
  found = latent_maps.of_images(some_set(captions=[HOSTILE] + ["x" * 500] * 29))
  assert found.texts[0] == f"image 0: {HOSTILE}"
  assert len(found.texts[1]) < 150
  assert found.points.shape == (30, 2)


def test_map_of_codes_has_their_real_patches():
  found = some_set()
  alone = RNG(3).integers(0, 256, (20, PATCH, PATCH, 3)).astype(np.uint8)
  of = latent_maps.of_codes(found, alone)
  for place, code in enumerate(found.used[:5]):
    np.testing.assert_array_equal(of.pictures[place], alone[code])
    patch = of.more[place, :, :PATCH]
    y, x = np.argwhere(found.tokens == code)[0][1:] * PATCH
    image = np.argwhere(found.tokens == code)[0][0]
    np.testing.assert_array_equal(patch, found.images[image, y : y + PATCH, x : x + PATCH])


def test_data_for_the_page_is_whole_and_cannot_end_its_script():
  pictures = RNG(0).integers(0, 256, (7, 4, 4, 3)).astype(np.uint8)
  points = RNG(1).normal(size=(7, 2))
  text = latent_maps.script_data({"codes": Map(points, pictures, (HOSTILE,) * 7, 0.9)})
  assert not set("<>&") & set(text)
  data = json.loads(text)["codes"]
  assert data["texts"] == [HOSTILE] * 7
  assert data["columns"] == 3
  sheet = picture(data["sprite"])
  np.testing.assert_array_equal(sheet[4:8, 8:12], pictures[5])  # small ones without loss
  scaled = np.array(data["points"])
  assert scaled.min() == 0
  assert scaled.max() == 1
  ratio = np.ptp(scaled[:, 0]) / np.ptp(scaled[:, 1])
  assert ratio == pytest.approx(np.ptp(points[:, 0]) / np.ptp(points[:, 1]), rel=1e-3)


def test_large_images_become_thumbnails():
  images = RNG(0).integers(0, 256, (2, 96, 96, 3)).astype(np.uint8)
  assert latent_maps.thumbnails(images).shape == (2, 48, 48, 3)
  assert latent_maps.thumbnails(images[:, :32, :32]) is not None


def test_patches_of_a_code_are_all_where_it_stands():
  found = some_set()
  code = int(found.used[0])
  patches = latent_sheets.patches_of(found, code, 5)
  assert patches.shape == (5, PATCH, PATCH, 3)
  assert len({patch.tobytes() for patch in patches}) == 1  # painted in the code's colour


def test_pictures_that_would_cover_each_other_become_dots():
  pictures = np.zeros((3, 8, 8, 3), np.uint8)
  figure = latent_sheets.scattered(np.array([[0, 0], [0.001, 0], [1, 1]]), pictures, "Here")
  (ax,) = figure.axes
  assert len(ax.artists) == 2
  assert ax.get_title() == "Here (1 of 3 as dots)"
