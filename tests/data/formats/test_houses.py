import pytest

from jaxt2i.data.formats import make
from jaxt2i.errors import UserError

ROOMS = ("bathroom", "bedroom", "frontal", "kitchen")


def write(folder, info, names):
  (folder / "HousesInfo.txt").write_text(info)
  for name in names:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def read(folder):
  return make("houses", src=str(folder)).listing()


def photos(*houses):
  return [f"Houses Dataset/{house}_{room}.jpg" for house in houses for room in ROOMS]


def test_photos_with_the_facts_of_their_house(tmp_path):
  write(tmp_path, "4 4 4053 85255 869500\r\n1 2.5 900 01234 100000\r\n\r\n", photos(1, 2))
  listing = read(tmp_path)
  assert len(listing.entries) == 8
  kitchen = listing.entries[3]
  assert kitchen.image_id == "1_kitchen.jpg"
  assert kitchen.captions == (
    "the kitchen of a house with 4 bedrooms and 4 bathrooms",
    "a photo of a kitchen of a 4 bedroom, 4 bathroom house",
  )
  front = listing.entries[6]
  assert front.captions == (
    "the front of a house with 1 bedroom and 2.5 bathrooms",
    "a photo of the outside of a 1 bedroom, 2.5 bathroom house",
  )
  facts = {"bedrooms": 1, "bathrooms": 2.5, "area": 900, "zipcode": "01234", "price": 100_000}
  assert front.attributes == {"room": "frontal", "house": 2, **facts}
  assert {entry.split for entry in listing.entries} == {""}
  assert (listing.missing, listing.uncaptioned) == ({}, ())


def test_photos_without_a_house_and_houses_without_photos(tmp_path):
  write(tmp_path, "4 4 4053 85255 869500\n" * 2, [*photos(1), "12_kitchen.jpg", "plan.jpg"])
  listing = read(tmp_path)
  assert len(listing.entries) == 4
  assert listing.missing == {f"2_{room}.jpg": 2 for room in ROOMS}
  assert listing.uncaptioned == ("12_kitchen.jpg", "plan.jpg")


@pytest.mark.parametrize(
  "line", ["4 4 4053 85255", "4 4 x 85255 1", "", "4 4 1 1 1 1", "-1 1 1 1 1"]
)
def test_malformed_lines_are_named(tmp_path, line):
  write(tmp_path, f"4 4 4053 85255 869500\n{line}\n4 4 4053 85255 869500\n", photos(1))
  with pytest.raises(UserError, match=r"HousesInfo\.txt line 2: .*expected five numbers"):
    read(tmp_path)


def test_files_that_are_missing(tmp_path):
  write(tmp_path, "4 4 4053 85255 869500\n", [])
  with pytest.raises(UserError, match=r"none of the 4 photos .*'1_bathroom\.jpg'"):
    read(tmp_path)
  (tmp_path / "HousesInfo.txt").write_text("\n")
  with pytest.raises(UserError, match="has no captions"):
    read(tmp_path)
  (tmp_path / "HousesInfo.txt").unlink()
  with pytest.raises(UserError, match=r"no HousesInfo\.txt in"):
    read(tmp_path)


def test_two_photos_of_one_room(tmp_path):
  write(tmp_path, "4 4 4053 85255 869500\n", [*photos(1), "old/1_kitchen.png"])
  with pytest.raises(UserError, match=r"'Houses Dataset/1_kitchen\.jpg' and 'old/1_kitchen\.png'"):
    read(tmp_path)


def test_real_houses(shared_data):
  if not (shared_data / "houses").is_dir():
    pytest.skip("no houses beside this checkout")
  listing = read(shared_data / "houses")
  assert len(listing.entries) == 2_140
  assert {len(entry.captions) for entry in listing.entries} == {2}
  assert (listing.missing, listing.uncaptioned, listing.dropped) == ({}, (), {})
