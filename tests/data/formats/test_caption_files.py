import csv

import pytest

from jaxt2i.data.formats.caption_files import read_rows
from jaxt2i.errors import UserError


def read(text):
  return read_rows(text, "captions.txt")


def test_tokens_in_the_order_of_their_numbers():
  text = "b.jpg#1\tsecond\na.jpg#0\tone\nb.jpg#0\tfirst\nb.jpg#10\tlast\nb.jpg#1\tsecond too\n"
  assert read(text) == {"b.jpg": ["first", "second", "second too", "last"], "a.jpg": ["one"]}


def test_odd_names_of_tokens():
  text = "sub/a b#1.jpg#0\tone, two\nfoto-ñ.jpg#0\ttwo\ttabs\u2028inside\nc.jpg.1#0\tthree\n"
  assert read(text) == {
    "sub/a b#1.jpg": ["one, two"],
    "foto-ñ.jpg": ["two\ttabs\u2028inside"],
    "c.jpg.1": ["three"],
  }


@pytest.mark.parametrize(
  "header",
  [
    *("image,caption", "filename,caption", "file_name,text", "Image Name,Comment"),
    *("image_name,captions", "path,description", '"image","caption"', " image , sentence "),
  ],
)
def test_csv_with_a_header(header):
  text = f'{header}\na.jpg,A dog .\na.jpg,"A ""big"" dog , sitting"\nb.jpg,A 12" ruler\n'
  assert read(text) == {
    "a.jpg": ["A dog .", 'A "big" dog , sitting'],
    "b.jpg": ['A 12" ruler'],
  }


def test_commas_that_should_have_been_quoted():
  text = "image,caption\na.jpg,A dog , a cat,and a bird\na.jpg,\nb.jpg, spaced\n"
  assert read(text) == {"a.jpg": ["A dog , a cat,and a bird", ""], "b.jpg": ["spaced"]}


def test_quotes_after_a_space():
  text = 'image, caption\na.jpg, "A dog, a ""cat"""\nb.jpg, "Hello" he said\n'
  assert read(text) == {"a.jpg": ['A dog, a "cat"'], "b.jpg": ['"Hello" he said']}


def test_more_columns():
  text = "id,image_id,caption,file_name\n1,x,A dog,a.jpg\n2,y,A cat,b.jpg\n"
  assert read(text) == {"a.jpg": ["A dog"], "b.jpg": ["A cat"]}
  text = "file_name,caption_1,caption_2\na.jpg,one,two\nb.jpg,three,\n"
  assert read(text) == {"a.jpg": ["one", "two"], "b.jpg": ["three", ""]}


def test_a_caption_of_several_lines():
  text = 'image,caption\na.jpg,"one\ntwo"\nb.jpg,three\n'
  assert read(text) == {"a.jpg": ["one\ntwo"], "b.jpg": ["three"]}


def test_names_and_captions_without_a_header():
  text = '0000006.jpg, Trên sân, có nhóm .\nx/b.PNG,one\n"c.jpg","a, b"\nd.jpg, "Hi" he said\n'
  assert read(text) == {
    "0000006.jpg": ["Trên sân, có nhóm ."],
    "x/b.PNG": ["one"],
    "c.jpg": ["a, b"],
    "d.jpg": ['"Hi" he said'],
  }


def test_names_and_captions_with_tabs():
  assert read("a.jpg\tone, two\nb.jpg\tthree\tfour\n") == {
    "a.jpg": ["one, two"],
    "b.jpg": ["three\tfour"],
  }
  text = 'image\tcaption\na.jpg\tone "or" two\nb.jpg\t"say ""hi"""\n'
  assert read(text) == {"a.jpg": ['one "or" two'], "b.jpg": ['say "hi"']}


def test_flickr30k_with_bars_and_its_one_bad_row():
  text = (
    "image_name| comment_number| comment\n"
    "1000092795.jpg| 0| Two young guys with shaggy hair , chatting .\n"
    '1000092795.jpg| 1| A sign says " a | b " .\n'
    "2199200615.jpg| 4   A dog runs across the grass .\n"
  )
  assert read(text) == {
    "1000092795.jpg": ["Two young guys with shaggy hair , chatting .", 'A sign says " a | b " .'],
    "2199200615.jpg": ["A dog runs across the grass ."],
  }


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("begin", ["", "\n \n"])
@pytest.mark.parametrize("end", ["", "\n\n"])
@pytest.mark.parametrize(
  "lines",
  [
    ("a.jpg#0\tun corazón", "", "b.jpg#0\ttwo"),
    ("image,caption", "a.jpg,un corazón", " ", "b.jpg,two"),
    ("image| n| comment", "a.jpg|0|un corazón", "", "b.jpg|0|two"),
    ("a.jpg, un corazón", "", "b.jpg,two"),
    ("a.jpg\tun corazón", "", "b.jpg\ttwo"),
  ],
)
def test_spellings_of_lines(newline, begin, end, lines):
  text = (begin + "\n".join(lines) + end).replace("\n", newline)
  assert read(text) == {"a.jpg": ["un corazón"], "b.jpg": ["two"]}


def test_any_writing_and_any_character():
  text = "a.jpg#0\tكلب 🐕 צהוב\nb.jpg#0\tnul\0nul\rreturn\n"
  assert read(text) == {"a.jpg": ["كلب 🐕 צהוב"], "b.jpg": ["nul\0nul return"]}


@pytest.mark.parametrize(
  ("first", "line", "expected"),
  [
    ("a.jpg#0\tone", "a.jpg\tno number", "expected name.jpg#k<TAB>caption"),
    ("a.jpg#0\tone", "a.jpg#0 no tab", "expected name.jpg#k<TAB>caption"),
    ("a.jpg#0\tone", "a.jpg#x\tcaption", "expected name.jpg#k<TAB>caption"),
    ("a.jpg#0\tone", "#0\tno name", "expected name.jpg#k<TAB>caption"),
    ("a.jpg#0\tone", "a.jpg#" + "1" * 5000 + "\tcaption", "expected name.jpg#k<TAB>caption"),
    ("image,caption", "words", "expected 2 columns as in the header, got 1"),
    ("caption,image", "one,two,a.jpg", "expected 2 columns as in the header, got 3"),
    ("image,caption", ",one", "expected a name inside the folder"),
    ("a.jpg,one", "words", "expected name.jpg, caption"),
    ("a.jpg,one", ",words", "expected name.jpg, caption"),
    ("a.jpg\tone", "words", "expected name.jpg<TAB>caption"),
    ("image\tcaption", "words", "expected 2 columns"),
    ("image_name| comment_number| comment", "a.jpg| one", "expected 3 columns"),
    ("image_name| comment_number| comment", "a.jpg", "expected 3 columns"),
  ],
)
def test_malformed_lines_are_named(first, line, expected):
  with pytest.raises(UserError) as caught:
    read(f"{first}\n\n{line}\n")
  message = str(caught.value)
  assert message.startswith("captions.txt line 3: ")
  assert expected in message
  assert len(message) < 300
  assert "\n" not in message


@pytest.mark.parametrize("line", ["words", "name caption", "{}", "path,species", "wnid\twords"])
def test_first_lines_that_tell_nothing(line):
  with pytest.raises(UserError, match=r"line 2: .*expected .*caption"):
    read(f"\n{line}\n")


@pytest.mark.parametrize(
  "name", ["../a.jpg", "/etc/a.jpg", "x/../../a.jpg", "a\0.jpg", "C:\\a.jpg", "..\\a.jpg"]
)
@pytest.mark.parametrize(
  "line", ["{}#0\tone", "image,caption\n{},one", "{}, one", "{}\tone", "image|n|comment\n{}|0|one"]
)
def test_names_that_lead_elsewhere(name, line):
  with pytest.raises(UserError, match=r"line [12]: .*inside the folder") as caught:
    read(line.format(name) + "\n")
  assert "\0" not in str(caught.value)


@pytest.mark.parametrize(
  "rows",
  [
    'a.jpg,"one\nb.jpg,two\nc.jpg,"three"\n',
    'a.jpg,"one\nb.jpg,two\nc.jpg,three\n',
    'a.jpg,"one\nb.jpg,"\nc.jpg,three\n',
    'a.jpg,"one" two\nb.jpg,three\n',
    'a.jpg,"one\nb.jpg,"two"\n',
    'a.jpg,"one' + "\nwords" * 50_000 + '"\n',
    f"a.jpg,{'x' * (csv.field_size_limit() + 1)}\n",
  ],
)
def test_open_quotes_and_huge_cells_are_named(rows):
  with pytest.raises(UserError, match=r"line 3: .*expected quotes that are closed") as caught:
    read("image,caption\nz.jpg,zero\n" + rows)
  assert "\n" not in str(caught.value)
  assert len(str(caught.value)) < 400


def test_an_open_quote_where_the_name_comes_last():
  text = 'caption,image\n"one,a.jpg\ntwo,b.jpg\n"three",c.jpg\n'
  with pytest.raises(UserError, match=r"line 2: .*quotes"):
    read(text)


def test_an_open_quote_without_a_header_takes_in_nothing():
  assert read('a.jpg,"one\nb.jpg,two"\n') == {"a.jpg": ['"one'], "b.jpg": ['two"']}


@pytest.mark.parametrize("text", ["", "\n\n", "a.jpg#0\t\n", "image,caption\n", "a.jpg, \n"])
def test_no_captions(text):
  with pytest.raises(UserError, match="no captions"):
    read(text)
