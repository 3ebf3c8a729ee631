"""What a caption becomes when its image is mirrored: left is right, in English and Spanish.

Where "left" and "right" may mean something else, or stand in another language, the flip is not
made: a flip too few costs a little variety, a wrong one teaches the wrong thing.
"""

import re
import unicodedata
from collections.abc import Sequence

_TOKEN = re.compile(r"\w+(?:[-'’]\w+)*|[^\w\s]")
_DIRECTION = "<direction>"  # stands for either: what is decided for one is decided for the other


def _words(text: str) -> frozenset[str]:
  return frozenset(text.split())


def _both_ways(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
  return {**dict(pairs), **{there: here for here, there in pairs}}


_ENGLISH = {"left": "right", "right": "left"}
_SPANISH = _both_ways([("izquierd" + end, "derech" + end) for end in ("a", "o", "as", "os")])
# Words that mean a direction wherever they stand.
_CLEAR = _both_ways(
  [("left" + end, "right" + end) for end in ("most", "ward", "wards", "hand", "handed", "hander")]
)
_SWAP = {**_ENGLISH, **_SPANISH, **_CLEAR}
# Between hyphens with "left" or "right": left-hand, upper-right, left-to-right; not right-angled.
_COMPOUND = _words(
  "hand handed hander handers most ward wards sided facing leaning turning pointing foot footed"
  " top bottom upper lower far center centre mid middle up down back front rear to and or of"
)
_HARMLESS = re.compile(
  r"bright\w*|\w*fright\w*|upright\w*|clefts?|(?:play|ship|wheel|cart|mill)?wrights?"
)
_PART = re.compile(r"left|right|clockwise|izquierd|derech")
_OTHER_LANGUAGES = _words(
  "gauche gauches droit droite droits droites"  # French
  " esquerda esquerdas esquerdo esquerdos direita direitas direito direitos"  # Portuguese
  " links rechts linke linken linker linkes linkem rechte rechten rechter rechtes rechtem"  # German
  " sinistra sinistre sinistro sinistri destra destre destro destri"  # Italian; "destra" is poetic
  " siniestra diestra trái phải"  # Spanish, rare; Vietnamese
)
# Written words stay as they are in a mirror, or cannot be read any more.
_WRITTEN = _words('" “ ” „ « » sign signs word words says saying written letters lettering labeled')

_BEFORE_NOUN = _words("the his her its their my your our hers one's")
_PREPOSITIONS = _words("on to at from toward towards")
_BARE = _words(
  "on to at from toward towards far upper lower top bottom extreme center centre front rear back"
  " middle facing pointing tilted"
)
_LOOKING = _words(
  "look looks looking looked turn turns turning turned face faces facing faced point points"
  " pointing pointed glance glances glancing gaze gazes gazing stare stares staring lean leans"
  " leaning leaned head heads heading swerve swerves swerving veer veers veering curving tilted"
  " arrow arrows"
)
_CLAUSE_ENDS = _words(". , ; : ! ? ) and while as with or then but from")
# After "on the right": no noun, so none that "right" could describe.
_NO_NOUN = _CLAUSE_ENDS | _words(
  "a an the there is are was were has have had who that which in on at near by next beside behind"
  " inside outside under above below between against along across around into onto"
)
_NOUNS = _words(
  "hand hands arm arms leg legs foot feet side sides eye eyes ear ears shoulder shoulders knee"
  " knees wrist wrists elbow elbows ankle ankles thigh cheek hip finger fingers thumb fist palm"
  " heel toe forearm bicep breast chest paw paws wing wings glove mitt shoe boot sleeve corner half"
  " edge lane turn kick hook punch margin arrow arrows wheel"
)
_ADJECTIVES = _words(
  "front rear back hind upper lower inner outer middle index pointer pointing pinky ring big bottom"
)
_MARKS = _words("print prints mark marks track tracks made")  # a dog left paw prints
_NOT_BEFORE_NOUN = _words(
  "has have had having is are was were be been being just gets get got who that which he she they"
)
_REST = _words(
  "what what's whats is are was were be been being little nothing most much all lot bit something"
  " anything some none any half rest only piece pieces has have had having"
)

_ARTICLES = _words("la su mi tu nuestra vuestra")
_QUALIFIERS = _words("superior inferior trasera trasero delantera delantero")
_SPANISH_NOUNS = {
  "a": _words("mano pierna oreja rodilla parte esquina ala mejilla muñeca pata zona mitad flecha"),
  "o": _words("lado brazo pie ojo hombro codo tobillo puño dedo oído muslo borde margen extremo"),
  "as": _words("manos piernas patas"),
  "os": _words("lados brazos pies ojos hombros"),
}


def mirrored(caption: str) -> str | None:
  """The caption of the mirrored image, or None where it cannot be told for sure.

  A caption without directions is its own mirror image. Mirrored twice, a caption is as it was.

  Args:
    caption: in any language; other than English and Spanish directions give None.
  """
  text = unicodedata.normalize("NFC", caption)
  tokens = [match.group() for match in _TOKEN.finditer(text)]
  lower = [token.lower() for token in tokens]
  swapped = [_swapped(token) for token in tokens]
  if None in swapped:
    return None
  if swapped == tokens:
    return caption
  words = [
    word if token == swap else _DIRECTION
    for word, token, swap in zip(lower, tokens, swapped, strict=True)
  ]
  directions = [i for i, word in enumerate(words) if word == _DIRECTION]
  # Decomposed accents would come back composed.
  if text != caption or _WRITTEN & set(words):
    return None
  if not all(_means_direction(words, i, lower[i]) for i in directions):
    return None
  replacements = map(str, swapped)
  return _TOKEN.sub(lambda match: next(replacements), text)


def _swapped(token: str) -> str | None:
  """The token in a mirror: itself unless it is a direction; None if it may be one."""
  word = token.lower()
  if word in _OTHER_LANGUAGES:
    return None
  parts = token.split("-")
  if all(_HARMLESS.fullmatch(part) or not _PART.search(part) for part in word.split("-")):
    return token
  mirrored_parts = [_swapped_part(part) for part in parts]
  return None if None in mirrored_parts else "-".join(filter(None, mirrored_parts))


def _swapped_part(part: str) -> str | None:
  """Part of a compound, or the whole word; None if it is nothing known."""
  word = part.lower()
  if word in _SWAP:
    return _cased(_SWAP[word], part)
  return part if word in _COMPOUND else None


def _cased(word: str, like: str) -> str | None:
  """The word in lower case, Title Case or CAPITALS, like another; None if that mixes them."""
  for case in (str.lower, str.capitalize, str.upper):
    if like == case(like):
      return case(word)
  return None


def _means_direction(words: Sequence[str], i: int, word: str) -> bool:
  """Whether the direction at a place, `word`, is one beyond doubt."""
  second, before, _, after, later = ("", "", *words, "", "")[i : i + 5]
  if word in _ENGLISH:
    return _means_direction_in_english(second, before, after, later)
  if word in _SPANISH:
    ending = word.removeprefix("izquierd").removeprefix("derech")
    return _means_direction_in_spanish(second, before, after, later, ending)
  return True  # leftmost, right-hand


def _means_direction_in_english(second: str, before: str, after: str, later: str) -> bool:
  """Judges by the two words before and the two after; what is not listed is in doubt."""
  if before == "all":  # all right
    return False
  if (second == _DIRECTION and before in ("and", "or", "to")) or (
    later == _DIRECTION and after in ("and", "or", "to")
  ):
    return True  # from left to right
  if after in _NOUNS or (after in _ADJECTIVES and later in _NOUNS):
    right_side_up = after == "side" and later in ("up", "out")
    return not (before in _NOT_BEFORE_NOUN or later in _MARKS or right_side_up)
  if after == "of":
    return before not in _REST and later != "way"
  if before in _BEFORE_NOUN and second in _PREPOSITIONS:  # to the right
    from_to = second == "from" and after == "to"
    return from_to or not after or after in _NO_NOUN or after.endswith("ing")
  return (before in _BARE or before in _LOOKING) and (not after or after in _CLAUSE_ENDS)


def _means_direction_in_spanish(
  second: str, before: str, after: str, later: str, ending: str
) -> bool:
  """Judges by the two words before, the one after, and whether it is feminine or plural."""
  if before in ("y", "e") or (after in ("y", "e") and later == _DIRECTION):
    return False  # "y derecha" would have to become "e izquierda"
  if (second == _DIRECTION and before in ("a", "o")) or (
    later == _DIRECTION and after in ("a", "o")
  ):
    return True  # de izquierda a derecha
  if before in _SPANISH_NOUNS[ending]:
    return True
  if before in _QUALIFIERS and second in _SPANISH_NOUNS[ending]:
    return True
  return ending == "a" and before in _ARTICLES
