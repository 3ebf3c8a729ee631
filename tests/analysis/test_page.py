"""What pages share: nothing but their own script runs, text stays text, folders are their own."""

import base64
import hashlib

import pytest
from matplotlib.figure import Figure

from jaxt2i.analysis import page
from jaxt2i.errors import UserError


def test_only_the_given_script_may_run():
  script = 'console.log("<é>");'
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
  assert f"script-src 'sha256-{digest}'" in page.document("t", "<p></p>", script=script)
  assert "script-src" not in page.document("t", "<p></p>")
  assert "default-src 'none'" in page.document("t", "<p></p>")


def test_text_is_no_html():
  hostile = '</title><script>"&'
  safe = "&lt;/title&gt;&lt;script&gt;&quot;&amp;"
  assert f"<title>{safe}</title>" in page.document(hostile, "")
  assert page.facts({hostile: hostile}).count(safe) == 2


def test_figures_are_shown_with_letters_of_one_size():
  small, large = (page.encoded(Figure(figsize=(2, 1)), "png", dpi) for dpi in (50, 200))
  for png, dpi in ((small, 50), (large, 200)):
    html = page.shown(png, dpi, 'a "b"', "<b>c</b>")
    assert 'width="200"' in html
    assert 'alt="a &quot;b&quot;"' in html
    assert "<figcaption><b>c</b></figcaption>" in html
    assert base64.b64encode(png).decode() in html


def test_a_folder_is_the_pages_if_its_numbers_lie_there(tmp_path):
  page.require_own(tmp_path / "none", "numbers.json")
  page.require_own(tmp_path, "numbers.json")  # empty
  (tmp_path / "notes.txt").write_text("mine")
  with pytest.raises(UserError, match="has other files in it"):
    page.require_own(tmp_path, "numbers.json")
  (tmp_path / "numbers.json").write_text("{}")
  page.require_own(tmp_path, "numbers.json")


def test_figures_of_an_earlier_page_go(tmp_path):
  (tmp_path / "figures").mkdir()
  (tmp_path / "figures" / "old.pdf").write_text("old")
  assert list(page.fresh_figures(tmp_path).iterdir()) == []
