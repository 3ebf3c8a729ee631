"""Words of captions in any language, and those that say nothing of what a picture shows."""

import functools
import itertools
import re
import sys
import unicodedata
from collections.abc import Iterable

# Written without spaces between words: there each letter with its marks counts as one.
_NO_SPACES = (
  (0x0E00, 0x0EFF),  # Thai, Lao
  (0x1000, 0x109F),  # Burmese
  (0x1780, 0x17FF),  # Khmer
  (0x3040, 0x30FF),  # Japanese kana
  (0x3400, 0x4DBF),  # Chinese characters, here and below
  (0x4E00, 0x9FFF),
  (0xF900, 0xFAFF),
  (0x20000, 0x3FFFF),
)
_FIRST_SYMBOL = 0x2190  # arrows and up, emoji among them; below are ©, ° and their like
_JOINERS = ((0x200C, 0x200D),)  # invisible, within words of Persian and of Indian languages

# A list of our own: articles, pronouns, prepositions, conjunctions and auxiliaries, in the
# languages that the captions of openmoji are in by default. What is a noun or a verb in another of
# them ("sin", "pour", "son", "main") is none.
_STOP_WORDS = """
  a about above across after against all along also am among an and another any are around as at
  away be because been before behind being below beneath beside besides between both but by can
  could did do does doing don down during each either for from had has have having he her here hers
  him his how i if in inside into is it its itself me more most my near no nor not of off on onto
  or other our out outside over own s she so some such t than that the their them themselves then
  there these they this those through to too toward towards under until up upon us very was we
  were what when where which while who whom whose why will with within without would you your

  al como con contra de del desde donde el ella en entre es esta este estos estas está están ha
  hacia hasta la las le lo los más muy ni o para pero por que se sobre su sus también tiene un una
  unas unos y

  à au aux avec c ce ces cet cette chez d dans des du elle elles est et il ils j l les leur leurs
  mais n ne ou où par pas qu que qui sa sans se ses sont sous très un une vers

  ao aos da das do e ela ele eles em entre esse essa estão foi isso já mas mais na nas não nos num
  numa os ou pela pelas pelo pelos por quando seu seus sua suas são também tem um uma umas uns
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
STOP_LANGUAGES = "English, French, Portuguese and Spanish"


def split_words(caption: str) -> list[str]:
  """The words of a caption in lower case: letters and digits with their marks, and emoji.

  Whatever else there is ends a word: "man's" is "man" and "s". An emoji is a word with all of its
  parts. In scripts without spaces between words each letter is one.
  """
  return _pattern().findall(unicodedata.normalize("NFC", caption).lower())


def shortened(word: str, most: int) -> str:
  """The word, or its beginning if it has more than `most` characters."""
  return word if len(word) <= most else word[: most - 1] + "…"


@functools.cache
def _pattern() -> re.Pattern[str]:
  category = [unicodedata.category(chr(code)) for code in range(sys.maxunicode + 1)]
  marks = [code for code, name in enumerate(category) if name.startswith("M")]
  symbols = [c for c, name in enumerate(category) if name == "So" and c >= _FIRST_SYMBOL]
  mark = f"[{_ranges(marks)}{_span(_JOINERS)}]"
  single = f"[{_span(_NO_SPACES)}]"
  flag = "[\U0001f1e6-\U0001f1ff]"
  tone = "[\U0001f3fb-\U0001f3ff]"
  symbol = f"[{_ranges(symbols)}]{tone}?{mark}*"  # a joiner counts as a mark
  return re.compile(
    f"{flag}{{2}}"
    f"|(?:{symbol})(?:(?<=\u200d){symbol})*"
    rf"|(?:(?={single})[^\W_]{mark}*)"
    rf"|(?:(?!{single})[^\W_]{mark}*)+"
  )


def _ranges(codes: Iterable[int]) -> str:
  """Sorted code points as what stands in a character class."""
  runs = []
  for _, group in itertools.groupby(enumerate(codes), lambda pair: pair[1] - pair[0]):
    run = [code for _, code in group]
    runs.append((run[0], run[-1]))
  return _span(runs)


def _span(runs: Iterable[tuple[int, int]]) -> str:
  return "".join(f"{re.escape(chr(first))}-{re.escape(chr(last))}" for first, last in runs)
