import pytest

from jaxt2i.data.files import FileBlob
from jaxt2i.data.listing import Captions, Entry, Listing, clean


def entry(name):
  return Entry(name, FileBlob(name), ("a caption",))


def test_a_listing_is_sorted():
  listing = Listing.of(
    [entry("b"), entry("a")],
    missing={"d": 1, "c": 2},
    uncaptioned=["f", "e"],
    dropped={"unread": 1, "empty": 0},
  )
  assert [e.image_id for e in listing.entries] == ["a", "b"]
  assert list(listing.missing) == ["c", "d"]
  assert listing.uncaptioned == ("e", "f")
  assert listing.dropped == {"unread": 1}
  assert listing.entries[0].attributes == {}
  assert listing.entries[0].split == ""


def test_ids_are_unique():
  with pytest.raises(ValueError, match="two images have the id 'a'"):
    Listing.of([entry("a"), entry("b"), entry("a")])


def test_captions_keep_their_order_and_are_counted():
  captions = Captions()
  for text in ("second", " first ", "", "second", "\0", "first"):
    captions.add("a", text)
  captions.add("b", " ")
  captions.add("c", "second")
  assert captions.by_image() == {"a": ("second", "first", "second", "first"), "c": ("second",)}
  assert captions.dropped == {"empty": 3}


@pytest.mark.parametrize(
  ("caption", "cleaned"),
  [
    (" a  red\tbus ", "a red bus"),
    ("one\r\ntwo\nthree\x0bfour\u2028five\u00a0six", "one two three four five six"),
    ("nul\0nul \x7f\x1b[0m", "nul nul [0m"),
    ("half \ud83d a dog \udc15", "half a dog"),
    ("a dog 🐕\u200d🦺 ", "a dog 🐕\u200d🦺"),
    ("\u202bשלום עולם\u202c", "\u202bשלום עולם\u202c"),
    ("người", "người"),
    ("\0 \n", ""),
  ],
)
def test_cleaned_captions(caption, cleaned):
  assert clean(caption) == cleaned
  clean(caption).encode()
