import dataclasses
from types import SimpleNamespace

import pytest

from jaxt2i.data.formats import FORMATS, Format, make
from jaxt2i.data.formats.common import check_texts
from jaxt2i.errors import UserError

OWN = (
  *("captions", "classes", "coco", "flickr30k", "flickr8k", "houses", "imagefolder"),
  *("img2dataset", "karpathy", "webdataset"),
)


@pytest.mark.parametrize("name", OWN)
def test_formats_of_folders(tmp_path, name):
  made = make(name, src=str(tmp_path))
  assert isinstance(made, Format)
  fields = dataclasses.fields(FORMATS[name])
  assert fields[0].name == "src"
  assert all(isinstance(field.default, str) for field in fields[1:])
  with pytest.raises(dataclasses.FrozenInstanceError):
    made.src = "elsewhere"
  with pytest.raises(UserError) as caught:
    made.listing()  # of an empty folder
  assert str(tmp_path) in str(caught.value)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", OWN)
def test_folders_that_do_not_exist(name):
  with pytest.raises(UserError, match="'nowhere' does not exist"):
    make(name, src="nowhere").listing()


def test_options_that_are_no_texts():
  # By itself: while the tests run, annotations are checked first.
  check_texts(SimpleNamespace(src="x", captions=""), ("src", "captions"))
  with pytest.raises(UserError, match="captions 7: expected a text"):
    check_texts(SimpleNamespace(src="x", captions=7), ("src", "captions"))


def test_terms():
  assert "non-commercial" in FORMATS["flickr8k"].terms
  assert "Ahmed & Moustafa" in FORMATS["houses"].terms
  assert FORMATS["captions"].terms == ""
  assert all("\n" not in FORMATS[name].terms for name in OWN)


def test_unknown_names_and_options():
  with pytest.raises(UserError, match="did you mean 'flickr8k'"):
    make("flickr8", src="x")
  with pytest.raises(UserError, match=r"no option 'caption'; it has src, captions"):
    make("coco", src="x", caption="y")
  with pytest.raises(UserError, match="'coco' needs src"):
    make("coco")
