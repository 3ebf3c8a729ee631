"""Images without captions are refused wherever a caption is asked for, before it is used."""

import numpy as np
import pytest

from jaxt2i.errors import UserError
from jaxt2i.evaluators.captioned import Captioned, captioned
from jaxt2i.evaluators.drawn import Drawing
from jaxt2i.evaluators.recall import Recall
from tests.planted import OPTIONS, Planted
from tests.sources import Pictures, Recaptioned, pictures

SOURCE = Pictures(pictures(5))
NOTHING = [(), ("",), (" \n",), ("", "a second one")]


def unused(*args, **options):
  raise AssertionError("was asked for something before the captions were looked at")


def test_what_has_captions_is_given_as_it_is():
  source = Captioned(SOURCE)
  assert len(source) == 5
  assert (source.fingerprint, source.protocol) == (SOURCE.fingerprint, SOURCE.protocol)
  assert source[3].captions == ("picture 3", "any picture")
  np.testing.assert_array_equal(source[3].image, SOURCE.images[3])


@pytest.mark.parametrize("captions", NOTHING)
def test_what_has_none_is_named(captions):
  source = Recaptioned(SOURCE, captions)
  for get in (lambda: captioned(source[4]), lambda: Captioned(source)[4]):
    with pytest.raises(UserError, match="the image 4 has no caption, or an empty one") as error:
      get()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("captions", NOTHING)
@pytest.mark.parametrize(
  "measure",
  [
    lambda source: Recall(source, 3, OPTIONS)(Planted(unused, unused)),
    lambda source: Drawing(source, 3, OPTIONS)(Planted(unused, unused), []),
  ],
)
def test_nothing_is_drawn_for_an_empty_caption(measure, captions):
  with pytest.raises(UserError, match="the image 0 has no caption"):
    measure(Recaptioned(SOURCE, captions))
