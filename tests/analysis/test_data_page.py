"""The page about a data set: complete, alone, and safe whatever the captions say."""

import html.parser
import json
import re
import shutil

import pytest
from PIL import Image

from jaxt2i.analysis import data_examples, data_figures, data_page, data_text, exploration
from jaxt2i.cli import main
from jaxt2i.data import splits
from jaxt2i.errors import UserError
from tests.analysis import sets

HOSTILE = '<script>alert("1")</script> & <img src=x onerror="y">'
RIGHT_TO_LEFT = "קבוצת אנשים ליד הים"
EMOJI = "👩🏼‍🌾 😀"
PHOTOS = {
  "a<b>.png": (100, 50, [HOSTILE, RIGHT_TO_LEFT]),
  **{f"{i}.png": (100, 50 + i, [EMOJI, f"a dog {i}", "x" * 5000]) for i in range(7)},
}
VOID = {"meta", "img", "br"}


class Parsed(html.parser.HTMLParser):
  """Tags with their attributes, what is written, and whether every tag is closed in its place."""

  def __init__(self, page: str):
    super().__init__(convert_charrefs=True)
    self.tags: list[tuple[str, dict]] = []
    self.text = ""
    self._open: list[str] = []
    self.feed(page)
    self.close()
    assert self._open == []

  def handle_starttag(self, tag, attrs):
    assert len(dict(attrs)) == len(attrs), f"attribute given twice in {tag}"
    self.tags.append((tag, dict(attrs)))
    if tag not in VOID:
      self._open.append(tag)

  def handle_endtag(self, tag):
    assert self._open.pop() == tag

  def handle_data(self, data):
    self.text += data

  def named(self, tag: str) -> list[dict]:
    return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """Photos as they were and as they were prepared."""
  folder = tmp_path_factory.mktemp("page")
  src = sets.save_photos(folder / "my photos", PHOTOS)
  return src, sets.prepare(src, folder / "data")


@pytest.fixture(scope="module")
def data(made):
  return made[1]


@pytest.fixture(scope="module")
def out(data):
  """What `jaxt2i data explore` writes: with figures, so once for all tests that read it."""
  assert main(["data", "explore", f"--data={data}"]) == 0
  return data / "explore"


@pytest.fixture
def page(out):
  return Parsed((out / "index.html").read_text(encoding="utf-8"))


@pytest.fixture
def own(tmp_path):
  """Photos that a test may change."""
  return sets.save_photos(tmp_path / "my photos", PHOTOS)


def rendered(data, protocol="") -> Parsed:
  """The page without figures."""
  found = exploration.explore(data, protocol)
  chosen = data_examples.choose(found, data)
  return Parsed(data_page.render(found, chosen, data_page.findings(found, data), {}))


def test_prints_where_the_page_is(data, monkeypatch, tmp_path, capsys):
  monkeypatch.setattr(data_figures, "draw", lambda *_: {})
  assert main(["data", "explore", f"--data={data}", f"--out={tmp_path / 'out'}"]) == 0
  assert capsys.readouterr().out == f"page: {tmp_path / 'out' / 'index.html'}\n"


def test_page_figures_and_numbers(out, page):
  figures = ["sizes", "bars", "captions_per_image", "caption_length", "growth", "words", "unseen"]
  stored = sorted(path.name for path in (out / "figures").iterdir())
  assert stored == sorted(f"{n}.{form}" for n in [*figures, "examples"] for form in ("png", "pdf"))
  for name in figures:
    with Image.open(out / "figures" / f"{name}.png") as image:
      assert image.width > 500
    assert (out / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
  linked = {attrs["href"] for attrs in page.named("a")}
  assert linked == {"exploration.json", *(f"figures/{name}" for name in stored)}
  numbers = json.loads((out / "exploration.json").read_text(encoding="utf-8"))
  assert (numbers["images"], numbers["captions"]) == (8, 23)
  assert numbers["about"]["Licence or terms"] == "Ask first"


def test_needs_nothing_beside_it(out, page):
  assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
  for tag, attrs in page.tags:
    assert not [name for name in attrs if name.startswith("on")]
    source = attrs.get("src")
    assert source is None or (tag == "img" and source.startswith("data:image/png;base64,"))
  images = page.named("img")
  assert len(images) == 7 + 2 * 8
  assert all(image["alt"] for image in images)
  assert "url(" not in (out / "index.html").read_text(encoding="utf-8")


def test_says_what_the_data_is(data, page):
  assert page.text.strip().startswith("my photos: 8 images with 23 captions")
  found = exploration.explore(data)
  for name in ("sizes", "bars", "captions_per_image", "caption_length", "growth", "words"):
    assert getattr(data_text, name)(found) in page.text
  assert "Ask first" in page.text
  for split in found.splits:
    row = f"{split.name}{split.images}{split.captions}{split.running_words}{split.distinct_words}"
    assert row in page.text


def test_captions_and_names_are_shown_and_never_run(page):
  for text in (HOSTILE, RIGHT_TO_LEFT, EMOJI, "a<b>.png"):
    assert text in page.text
  assert "x" * 399 + "…" in page.text
  assert "x" * 400 not in page.text
  assert all(attrs.get("dir") == "auto" for attrs in page.named("li") if "dir" in attrs)
  assert len([attrs for attrs in page.named("li") if "dir" in attrs]) == 23


def test_findings_tell_what_was_left_out(own, tmp_path):
  (own / "0.png").write_bytes((own / "1.png").read_bytes())
  (own / "extra.png").write_bytes((own / "2.png").read_bytes())
  (own / "6.png").unlink()
  page = rendered(sets.prepare(own, tmp_path / "data"))
  assert "photos are named by 3 captions but absent; left out" in page.text
  assert "images without a caption; left out" in page.text
  assert "equal byte for byte" in page.text
  assert "0.png = 1.png" in page.text


def test_nothing_left_out_is_said(tmp_path):
  whole = sets.generated(tmp_path / "whole", {"train": {"a": ["a dog"]}, "val": {"b": ["a cat"]}})
  assert "Nothing was left out" in rendered(whole).text


def test_one_image_with_one_caption(tmp_path):
  toy = sets.generated(tmp_path / "toy", {"train": {"a": ["a dog"]}})
  page = rendered(toy)
  assert "no images are in the split 'val'" in page.text
  assert "1 image with 1 caption" in page.text
  assert "The only image is 16 × 16 pixels." in page.text
  assert "The only caption has 2 words, 2 of them different" in page.text
  assert "The most frequent word is “dog”: once, 50% of the text." in page.text
  assert "there is only “train”" in page.text
  assert "Squares by nobody" in page.text
  assert "CC0" in page.text
  assert "drawn by the program" in page.text


def test_covers_the_protocol_asked_for(own, tmp_path):
  data = sets.prepare(own, tmp_path / "data")
  splits.make(data, "caption")
  page = rendered(data, "caption")
  assert splits.SHARED_IMAGES in page.text
  assert page.text.count(splits.SHARED_IMAGES) == 1
  assert splits.SHARED_IMAGES not in rendered(data).text


def test_source_gone(own, tmp_path):
  data = sets.prepare(own, tmp_path / "data")
  shutil.rmtree(own)
  page = rendered(data)
  assert "The original photos cannot be read any more" in page.text
  assert len(page.named("img")) == 8


def test_the_same_data_gives_the_same_files(data, out, tmp_path):
  data_page.write(data, tmp_path / "again")
  for path in out.rglob("*.*"):
    assert path.read_bytes() == (tmp_path / "again" / path.relative_to(out)).read_bytes()


def test_replaces_an_earlier_page_but_no_other_files(data, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(data_figures, "draw", lambda *_: {})
  page = data_page.write(data, tmp_path / "out")
  page.write_text("old", encoding="utf-8")
  assert data_page.write(data, tmp_path / "out") == page
  assert page.read_text(encoding="utf-8") != "old"
  other = tmp_path / "other"
  other.mkdir()
  (other / "index.html").write_text("mine", encoding="utf-8")
  with pytest.raises(UserError, match="has other files in it: choose another --out"):
    data_page.write(data, other)
  assert (other / "index.html").read_text(encoding="utf-8") == "mine"
  with pytest.raises(UserError, match="cannot write to"):
    data_page.write(data, other / "index.html")
  assert main(["data", "explore", f"--data={data}", "--protocol=nope"]) == 1
  assert "no splits by the protocol 'nope'" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("share", "text"),
  [
    (0.0, "0%"),
    (0.0001, "<0.1%"),
    (0.031, "3.1%"),
    (0.0996, "10%"),
    (0.294, "29%"),
    (0.9999, ">99%"),
    (1.0, "100%"),
  ],
)
def test_shares_for_reading(share, text):
  assert data_text.percent(share) == text


def test_sentences_isolate_words_of_another_direction(data):
  found = exploration.explore(data)
  assert not re.search("“[\u0590-\u06ff]", data_text.unseen(found).replace("\u2068“", ""))
