"""Words in many languages and scripts."""

import pytest

from jaxt2i.analysis.words import STOP_WORDS, split_words


@pytest.mark.parametrize(
  ("caption", "words"),
  [
    (
      "A man's dog_house, don't! 3 Dogs",
      ["a", "man", "s", "dog", "house", "don", "t", "3", "dogs"],
    ),
    ("naïve e\u0301te\u0301", ["naïve", "été"]),  # composed, whichever way it was written
    ("L'HOMME à Œuvre", ["l", "homme", "à", "œuvre"]),
    ("Một người đàn ông .", ["một", "người", "đàn", "ông"]),
    ("हिन्दी में चित्र", ["हिन्दी", "में", "चित्र"]),  # vowel signs are marks, not letters
    ("می\u200cروم خانه", ["می\u200cروم", "خانه"]),  # an invisible joiner within a word
    ("שָׁלוֹם עולם", ["שָׁלוֹם", "עולם"]),
    ("两只猫, ねこ", ["两", "只", "猫", "ね", "こ"]),
    ("สวัสดี", ["ส", "วั", "ส", "ดี"]),
    (
      "👩🏼\u200d🌾 woman 🇩🇪🇫🇷❤️\u200d🔥😀😀",
      ["👩🏼\u200d🌾", "woman", "🇩🇪", "🇫🇷", "❤️\u200d🔥", "😀", "😀"],
    ),
    ("👍🏽👍", ["👍🏽", "👍"]),
    ("90° © — … !", ["90"]),
    ("", []),
  ],
)
def test_words_of(caption, words):
  assert split_words(caption) == words


def test_stop_words_are_words_that_a_caption_can_have():
  assert {"the", "with", "s", "de", "não", "está", "où"} <= STOP_WORDS
  assert all(split_words(word) == [word] for word in STOP_WORDS)
  # Nouns and verbs of one language that are stop words of another.
  assert not STOP_WORDS & {"main", "sin", "pour", "son", "plus", "dos", "pendant", "ton", "sur"}
