import pytest

from jaxt2i.data.folder_captions import read_captions
from jaxt2i.errors import UserError


def read(tmp_path, data):
  path = tmp_path / "captions.txt"
  path.write_bytes(data.encode() if isinstance(data, str) else data)
  return read_captions(path)


def test_captions_in_the_order_of_their_numbers(tmp_path):
  text = "b.jpg#1\tsecond\na.jpg#0\tone\nb.jpg#0\tfirst\nb.jpg#10\tlast\n"
  assert read(tmp_path, text) == {"b.jpg": ("first", "second", "last"), "a.jpg": ("one",)}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["", "\n\n"])
def test_spellings_of_a_file(tmp_path, newline, mark, end):
  text = mark + newline.join(["a.jpg#0\tun corazón", "b.jpg#0\ttwo  words "]) + end
  assert read(tmp_path, text) == {"a.jpg": ("un corazón",), "b.jpg": ("two words",)}


def test_empty_and_repeated_captions_are_left_out(tmp_path):
  text = "a.jpg#0\tone\na.jpg#1\t\na.jpg#2\tone\na.jpg#0\tone\nb.jpg#0\t  \nc.jpg#0\tone\n"
  assert read(tmp_path, text) == {"a.jpg": ("one",), "c.jpg": ("one",)}


def test_odd_names(tmp_path):
  text = "sub/a b#1.jpg#0\tone\nfoto-ñ.jpg#0\ttwo\ttabs\u2028inside\n"
  assert read(tmp_path, text) == {
    "sub/a b#1.jpg": ("one",),
    "foto-ñ.jpg": ("two tabs inside",),
  }


@pytest.mark.parametrize(
  "line", ["a.jpg\tno number", "a.jpg#0 no tab", "a.jpg#x\tcaption", "#0\tno name", "words"]
)
def test_another_format_names_the_line(tmp_path, line):
  with pytest.raises(UserError, match=r"line 3.*expected name\.jpg#k<TAB>caption"):
    read(tmp_path, f"a.jpg#0\tone\n\n{line}\n")


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/a.jpg", "x/../../a.jpg", "a\0.jpg"])
def test_names_that_lead_elsewhere(tmp_path, name):
  with pytest.raises(UserError, match=r"line 1.*inside the image folder"):
    read(tmp_path, f"{name}#0\tone\n")


def test_another_encoding_names_the_line(tmp_path):
  with pytest.raises(UserError, match="line 2: not UTF-8"):
    read(tmp_path, "a.jpg#0\tone\nb.jpg#0\tcorazón\n".encode("latin-1"))


@pytest.mark.parametrize("text", ["", "\n\n", "a.jpg#0\t\n"])
def test_no_captions(tmp_path, text):
  with pytest.raises(UserError, match="no captions"):
    read(tmp_path, text)


def test_missing_file(tmp_path):
  with pytest.raises(UserError, match="cannot read"):
    read_captions(tmp_path / "absent.txt")
