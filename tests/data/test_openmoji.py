import dataclasses
import logging
import re

import emoji
import numpy as np
import pytest

from jaxt2i.data import openmoji, openmoji_names
from jaxt2i.data.openmoji import OpenMoji
from jaxt2i.errors import UserError

COOK = "1F469-1F3FF-200D-1F373"
OPTIONS = {
  "image_size": 16,
  "background": "white",
  "languages": ("en", "es", "fr", "pt"),
  "subset": "all",
}


def generate(subset):
  dataset = OpenMoji(**{**OPTIONS, "subset": subset})
  return {name: list(records) for name, records in dataset.splits().items()}


@pytest.fixture(scope="module")
def everything():
  return generate("all")


@pytest.fixture(scope="module")
def concepts():
  return generate("concepts")


@pytest.fixture(params=["everything", "concepts"])
def splits(request):
  return request.getfixturevalue(request.param)


def parts(record):
  return {k: v for k, v in record.attributes.items() if k not in ("emoji", "codepoints")}


def test_sizes(everything, concepts):
  sizes = {name: len(records) for name, records in everything.items()}
  assert sum(sizes.values()) > 3500
  assert 0.08 < sizes["val"] / sum(sizes.values()) < 0.12
  assert sizes["compositional"] > 100
  assert 1200 < sum(map(len, concepts.values())) < 1800
  assert len(concepts["compositional"]) >= 8


def test_splits_share_neither_names_nor_drawings(splits):
  records = [record for rows in splits.values() for record in rows]
  assert len({record.image_id for record in records}) == len(records)
  assert len({record.image.tobytes() for record in records}) == len(records)


def test_records_are_in_the_order_of_file_names(splits):
  for records in splits.values():
    names = [record.image_id for record in records]
    assert names == sorted(names)


def test_five_clean_captions_an_image(splits):
  for record in (record for rows in splits.values() for record in rows):
    assert len(record.captions) == 5, record.captions
    for caption in record.captions:
      assert caption.strip() == caption != ""
      assert not re.search("[_‘’]|^:|:$", caption), caption
    name, paraphrase = record.captions[:2]
    assert name.casefold() != paraphrase.casefold()


def test_images(everything):
  for record in everything["val"]:
    assert record.image.shape == (16, 16, 3)
    assert record.image.dtype == np.uint8
    assert record.image.std() > 1, f"{record.captions[0]} is blank"


def test_held_out_combinations_are_new_but_their_parts_are_known(splits):
  train = [parts(record) for record in splits["train"] if parts(record)]
  for record in splits["compositional"]:
    held = parts(record)
    assert held not in train
    assert held not in [parts(other) for other in splits["val"]]
    if "role" in held:
      look = {key: held[key] for key in ("gender", "tone")}
      assert any(other.get("role") == held["role"] for other in train), held
      assert any(
        look.items() <= other.items() and other["role"] != held["role"] for other in train
      ), held
    else:
      known = [other for other in train if "object" in other]
      assert any(other["object"] == held["object"] for other in known), held
      assert any(other["colour"] == held["colour"] for other in known), held


def test_concepts_have_one_drawing_each(concepts):
  records = [record for rows in concepts.values() for record in rows]
  names = {record.captions[0] for record in records}
  # Two emoji of one name would be one concept twice.
  assert len(names) == len(records)
  for word in ("woman", "mermaid", "cook", "red heart", "rainbow flag", "pizza", "family"):
    assert word in names
  for word in ("woman cook", "flag of Brazil", "keycap 1", "three o'clock", "family man boy"):
    assert word not in names
  assert not any("skin tone" in name or "facing right" in name for name in names)
  assert not any("blood type" in name or name.startswith("input") for name in names)


def test_concepts_keep_the_neutral_form_wherever_its_file_name_sorts():
  # "man cook" and "woman cook" sort before "cook", "woman running" after "person running".
  ids = ["1F468-200D-1F373", "1F469-200D-1F373", "1F9D1-200D-1F373", "1F3C3"]
  ids += ["1F3C3-200D-2640-FE0F", "1F469", "1F3FB", "1F1E7-1F1F7"]
  drawings, _ = openmoji_names.drawings(ids, ("en",))
  kept = [drawing.name for drawing in openmoji.openmoji_splits.concepts(drawings)]
  assert kept == ["cook", "person running", "woman"]


def test_basics_are_concepts_of_the_oldest_blocks_without_people(everything, concepts):
  drawings, _ = openmoji_names.drawings(
    [record.image_id for rows in everything.values() for record in rows], ("en",)
  )
  kept = {drawing.name for drawing in openmoji.openmoji_splits.basics(drawings)}
  assert 400 < len(kept) < 600
  assert kept <= {record.captions[0] for rows in concepts.values() for record in rows}
  for name in ("red heart", "rocket", "penguin", "red apple", "guitar", "fish", "house", "cactus"):
    assert name in kept
  for name in ("cook", "woman", "person running", "grinning face", "yo-yo", "blue book"):
    assert name not in kept


def test_captions_of_one_drawing_in_the_order_of_languages():
  (cook,), _ = openmoji_names.drawings([COOK], ("fr", "en", "es"))
  assert cook.captions == (
    "cuisinière peau foncée",
    "woman cook dark skin tone",
    "dark skinned woman cook",
    "chef mujer tono de piel oscuro",
  )
  assert cook.emoji == "👩🏿‍🍳"
  assert cook.parts == {"role": "cook", "gender": "woman", "tone": "dark"}


def test_a_missing_translation_is_left_out_and_counted(monkeypatch):
  openmoji_names.drawings(["1F355"], ("es",))  # the language is loaded now
  entry = {key: value for key, value in emoji.EMOJI_DATA["🍕"].items() if key != "es"}
  monkeypatch.setitem(emoji.EMOJI_DATA, "🍕", entry)
  drawings, missing = openmoji_names.drawings(["1F355", "1F680", "E000"], ("en", "es"))
  assert [drawing.captions for drawing in drawings] == [
    ("pizza", "drawing of pizza"),
    ("rocket", "drawing of rocket", "cohete"),
  ]
  assert missing == {"es": 1, "no name": 1}


@pytest.mark.parametrize(
  ("image_id", "expected"),
  [
    (
      "1F468-1F3FB-200D-2764-FE0F-200D-1F48B-200D-1F468-1F3FD",
      ("kiss", "man man", "light and medium"),
    ),
    ("1F44D-1F3FF", ("thumbs up", "", "dark")),
    ("1F9D1-200D-1F373", ("cook", "person", "")),
    ("1F3C3-200D-2640-FE0F", ("running", "woman", "")),
    ("1F9DC-200D-2640-FE0F", ("merperson", "woman", "")),
    ("1F474", ("old", "man", "")),
    ("1F9D3", ("old", "person", "")),
    ("1F9B0", ("hair", "red")),
    ("1F499", ("heart", "blue")),
    ("1FA75", ("heart", "light blue")),
    ("1F536", ("large diamond", "orange")),
    ("2B1B", ("large square", "black")),
    ("1F355", ()),
    ("1F3FB", ()),
  ],
)
def test_parts(image_id, expected):
  company = ["1F469-200D-1F373", "1F3C3", "1F469-200D-1F9B0"]
  drawings, _ = openmoji_names.drawings([image_id, *company], ("en",))
  names = ("role", "gender", "tone") if len(expected) == 3 else ("object", "colour")
  assert drawings[0].parts == dict(zip(names, expected, strict=False))


@pytest.mark.parametrize(
  ("image_id", "expected"),
  [
    ("1F468-200D-1F373", "male cook"),
    ("1F9D7-200D-2640-FE0F", "climbing woman"),  # an alias
    ("1F93D-200D-2640-FE0F", "woman who is playing water polo"),
    ("1F469-1F3FC-200D-1F9B1", "medium-light skinned curly haired woman"),
    ("1F9D4-200D-2642-FE0F", "bearded man"),
    ("1F491-1F3FF", "dark skinned couple with heart"),
    ("1F468-1F3FB-200D-1F91D-200D-1F468-1F3FF", "light skinned and dark skinned men holding hands"),
    ("1F469-1F3FD-200D-2764-FE0F-200D-1F469-1F3FD", "medium skinned couple with heart woman woman"),
    ("1F1E7-1F1F7", "Brazil flag"),
    ("1F499", "heart coloured blue"),
    ("1F9A6", "drawing of otter"),
    ("1F52A", "hocho"),
    ("1F401", "drawing of mouse"),  # its alias is the code "mouse2"
    ("1F42B", "drawing of two-hump camel"),  # its aliases: another animal, another spelling
    ("1FA85", "drawing of piñata"),  # its alias lacks an accent only
  ],
)
def test_paraphrases(image_id, expected):
  drawings, _ = openmoji_names.drawings([image_id, "1F9D1-200D-1F373"], ("en",))
  assert drawings[0].captions[1] == expected


def test_equal_drawings_keep_the_shortest_name(everything):
  names = {record.captions[0] for rows in everything.values() for record in rows}
  assert {"flag of France", "cook"} <= names
  assert not {"flag of Clipperton Island", "man cook"} & names


def test_background_and_size():
  path = openmoji.svg_directory() / "1F7E5.svg"  # a red square
  for background, value in (("white", 255), ("black", 0)):
    dataset = OpenMoji(**{**OPTIONS, "background": background, "image_size": 24})
    png = dataset._render(path)
    assert png == dataset._render(path)
    image = openmoji.decode_png(png)
    assert image.shape == (24, 24, 3)
    assert (image[0, 0] == value).all()
    red, green, blue = image[12, 12]
    assert red > 180
    assert max(green, blue) < 80


def test_what_is_left_out_is_logged(caplog):
  with caplog.at_level(logging.INFO, logger="jaxt2i.data.openmoji"):
    OpenMoji(**{**OPTIONS, "subset": "concepts", "image_size": 8}).splits()
  assert re.search(r"\d+ without a name.*translations none.*equal to another", caplog.text)


@pytest.mark.parametrize(
  ("option", "value", "message"),
  [
    ("image_size", 4, "image_size 4"),
    ("image_size", True, "image_size True"),
    ("background", "blue", "'blue'.*white, black"),
    ("languages", ("en", "xx"), "'xx'.*pt"),
    ("languages", (), "one or more"),
    ("languages", ("en", "en"), "each once"),
    ("subset", "some", "'some'.*all, concepts"),
  ],
)
def test_useless_options_are_refused(option, value, message):
  with pytest.raises(UserError, match=message):
    OpenMoji(**{**OPTIONS, option: value})


def test_every_option_is_in_the_fingerprint():
  dataset = OpenMoji(**OPTIONS)
  changed = {"image_size": 17, "background": "black", "languages": ("en",), "subset": "concepts"}
  fingerprints = {dataset.fingerprint()}
  for name, value in changed.items():
    fingerprints.add(dataclasses.replace(dataset, **{name: value}).fingerprint())
  assert len(fingerprints) == 5
  assert OpenMoji(**OPTIONS).fingerprint() == dataset.fingerprint()


def test_attribution_names_the_licence():
  assert "CC BY-SA 4.0" in OpenMoji.attribution
  assert "openmoji.org" in OpenMoji.attribution
