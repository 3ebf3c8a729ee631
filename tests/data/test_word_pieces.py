"""Word pieces: what captions become, cut and padded, and that nothing typed upsets them."""

import numpy as np
import pytest

from jaxt2i.data.word_pieces import WordPieces
from tests.sentences import PIECES, library


def pieces(caption, max_length=8):
  ids = WordPieces(library(), max_length)([caption])
  assert ids.shape == (1, max_length)
  assert ids.dtype == np.int32
  return [PIECES[i] for i in ids[0]]


def test_words_become_pieces_between_two_marks():
  expected = ["[CLS]", "red", "cat", "##s", "!", "[SEP]", "[PAD]", "[PAD]"]
  assert pieces("Red  CATS!") == expected
  assert pieces("rèd cats!") == expected


@pytest.mark.parametrize("caption", ["", "  ", "\n\t", "\0", "\u200b"])
def test_without_words_there_is_padding_alone(caption):
  assert pieces(caption) == ["[PAD]"] * 8


def test_what_is_cut_keeps_its_end_mark():
  assert pieces("a red cat a red dog", 5) == ["[CLS]", "a", "red", "cat", "[SEP]"]
  assert pieces("a red cat", 5) == ["[CLS]", "a", "red", "cat", "[SEP]"]
  assert pieces("a red", 5) == ["[CLS]", "a", "red", "[SEP]", "[PAD]"]
  assert pieces("a red", 3) == ["[CLS]", "a", "[SEP]"]


@pytest.mark.parametrize("word", ["pad", "mask"])
def test_marks_that_are_typed_are_words(word):
  expected = ["[CLS]", "a", "[", word, "]", "cat", "[SEP]", "[PAD]"]
  assert pieces(f"a [{word.upper()}] cat") == expected


def test_a_lone_surrogate_is_a_question_mark():
  assert pieces("cat \udcff")[:4] == ["[CLS]", "cat", "?", "[SEP]"]


@pytest.mark.parametrize("caption", ["x" * 100_000, "🦊🏽\u200d🚀", "שלום 你好", "\ufffe\u202e"])
def test_words_that_are_not_known_are_unknown(caption):
  assert "[UNK]" in pieces(caption)


def test_captions_do_not_see_each_other():
  tokenize = WordPieces(library(), 6)
  captions = ["a red cat", "", "dogs"]
  np.testing.assert_array_equal(
    tokenize(captions), np.concatenate([tokenize([caption]) for caption in captions])
  )
  assert tokenize([]).shape == (0, 6)
