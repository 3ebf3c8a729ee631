"""What the `emoji` package says about an emoji: captions in several languages, parts of the name.

English names are built from parts ("woman cook dark skin tone", "large blue diamond"). The parts
give paraphrases, and let whole combinations be kept out of training (`openmoji_splits`).
"""

import dataclasses
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import emoji

_TONE_WORDS = ("light", "medium-light", "medium", "medium-dark", "dark")  # U+1F3FB to U+1F3FF
_TONES = {chr(0x1F3FB + i): word for i, word in enumerate(_TONE_WORDS)}
_TONE = re.compile(r" (?:light|medium-light|medium|medium-dark|dark) skin tone(?= |$)")
_SIZE = r"(?:(?P<size{}>large|medium|medium-small|small) )?"
_COLOUR = re.compile(
  rf"{_SIZE.format(1)}(?P<colour>red|orange|yellow|green|light blue|blue|purple|brown|black|white"
  rf"|grey|pink) {_SIZE.format(2)}(?P<object>.+)"
)
_GENDER_FIRST = re.compile(
  r"(?P<gender>woman and man|woman|women|man|men|person|people)(?: (?P<role>.+))?"
)
_GENDER_LAST = re.compile(
  r"(?P<role>kiss|couple with heart|deaf|pregnant|older|old)"
  r" (?P<gender>(?:woman|man|person)(?: (?:woman|man|person))?)"
)
# Names in which gender and role are one word; each is a concept of its own.
_OWN_WORD = {
  "woman": ("woman", "adult"),
  "man": ("man", "adult"),
  "person": ("person", "adult"),
  "girl": ("woman", "child"),
  "boy": ("man", "child"),
  "child": ("person", "child"),
  "mermaid": ("woman", "merperson"),
  "merman": ("man", "merperson"),
  "merperson": ("person", "merperson"),
  "princess": ("woman", "prince"),
  "prince": ("man", "prince"),
  "Mrs. Claus": ("woman", "Claus"),
  "Santa Claus": ("man", "Claus"),
  "Mx Claus": ("person", "Claus"),
}
_HAIR = {
  "red hair": "red haired",
  "curly hair": "curly haired",
  "white hair": "white haired",
  "blond hair": "blond haired",
  "bald": "bald",
  "beard": "bearded",
}
_PLURAL = ("people", "women", "men", "woman and man")


@dataclasses.dataclass(frozen=True)
class Drawing:
  """An emoji by name: everything about a drawing but its pixels."""

  image_id: str  # name of the SVG file without its ending: code points in hexadecimal
  emoji: str
  name: str  # English, with the skin tones
  base: str  # English, without them
  captions: tuple[str, ...]
  parts: Mapping[str, str]  # role, gender, tone; or object, colour; or neither


def without_selectors(text: str) -> str:
  """The emoji without U+FE0F, which file names and tables use differently."""
  return text.replace("\ufe0f", "")


def clean(name: str) -> str:
  """':woman’s_hat:' -> "woman's hat"."""
  text = unicodedata.normalize("NFC", name).strip(":").replace("_", " ")
  return " ".join(re.sub("[‘’ʼ]", "'", text).split())


def drawings(image_ids: Sequence[str], languages: Sequence[str]) -> tuple[list[Drawing], Counter]:
  """Drawings that have a name, in the order given, and what is missing.

  Args:
    image_ids: names of SVG files without their ending, such as "1F469-1F3FF-200D-1F373".
    languages: of the captions; "en" gives a name and a paraphrase, others a name each.

  Returns:
    The drawings; and counts: "no name", and for each language its missing translations, which
    are left out of the captions. A drawing without any caption counts as "no name".
  """
  for language in languages:
    emoji.config.load_language(language)
  emoji.config.load_language("en")
  table: dict[str, Mapping] = {}
  for spelling, data in emoji.EMOJI_DATA.items():
    # Spellings of one emoji differ in selectors only; the fully qualified one has all names.
    text = without_selectors(spelling)
    if text not in table or data["status"] == emoji.STATUS["fully_qualified"]:
      table[text] = data
  aliases = _unique_aliases(table.values())
  named: list[tuple[str, str, Mapping]] = []
  missing: Counter[str] = Counter()
  for image_id in image_ids:
    text = "".join(chr(int(point, 16)) for point in image_id.split("-"))
    if without_selectors(text) in table:
      named.append((image_id, text, table[without_selectors(text)]))
  roles = {_gendered(_base(clean(entry["en"])))[1] for _, _, entry in named}
  found = []
  for image_id, text, entry in named:
    name = f"flag of {clean(entry['en'])}" if is_national_flag(text) else clean(entry["en"])
    parts = _parts(name, text, roles)
    captions: list[str] = []
    for language in languages:
      if language not in entry:
        missing[language] += 1
        continue
      if language == "en":
        captions += [name, paraphrase(name, parts, aliases.get(entry["en"], ()))]
      else:
        captions.append(clean(entry[language]))
    if captions:
      found.append(Drawing(image_id, text, name, _base(name), tuple(captions), parts))
  missing["no name"] = len(image_ids) - len(found)
  return found, missing


def is_national_flag(text: str) -> bool:
  """Whether an emoji is the flag of a country or of a part of one (England)."""
  return "\U0001f1e6" <= text[0] <= "\U0001f1ff" or "\U000e0067" in text


def _base(name: str) -> str:
  return _TONE.sub("", name)


def _gendered(base: str) -> tuple[str, str]:
  """(gender, role) of a name without tones, ("", "") unless it says a gender."""
  if base in _OWN_WORD:
    return _OWN_WORD[base]
  match = _GENDER_FIRST.fullmatch(base) or _GENDER_LAST.fullmatch(base)
  if not match:
    return "", ""
  role = match["role"] or "adult"
  return match["gender"], {"older": "old"}.get(role, role)


def has_gender_of_its_own(base: str) -> bool:
  """Whether gender and role are one word ("mermaid"), not a variant ("woman elf")."""
  return base in _OWN_WORD


def _parts(name: str, text: str, roles: Iterable[str]) -> dict[str, str]:
  base = _base(name)
  tones = [_TONES[char] for char in text if char in _TONES] if base != name else []
  gender, role = _gendered(base)
  # "cook" beside "woman cook" is the neutral form; "red hair" alone is a lock of hair.
  is_neutral = base in roles and base not in _HAIR
  if role or tones or is_neutral:
    neutral = "person" if is_neutral else ""
    return {"role": role or base, "gender": gender or neutral, "tone": " and ".join(tones)}
  if match := _COLOUR.fullmatch(base):
    size = match["size1"] or match["size2"]
    return {"object": " ".join(filter(None, (size, match["object"]))), "colour": match["colour"]}
  return {}


def _letters(text: str) -> str:
  """The letters alone, without accents: equal for spellings that do not really differ."""
  return "".join(char for char in unicodedata.normalize("NFKD", text.casefold()) if char.isalpha())


def _unique_aliases(entries: Iterable[Mapping]) -> dict[str, list[str]]:
  """For each English name, aliases made of words that name no other emoji as well."""
  cleaned: dict[str, list[str]] = {}
  for entry in entries:
    cleaned[entry["en"]] = [clean(alias) for alias in entry.get("alias", ())]
  names = {_letters(clean(name)) for name in cleaned}
  uses = Counter(letters for row in cleaned.values() for letters in set(map(_letters, row)))
  return {
    name: [
      alias
      for alias in row
      # Many aliases are short codes ("mouse2", "tm", "es"), not something one would write.
      if len(alias) >= 3
      and re.fullmatch(r"[^\W\d_][\w' -]*", alias)
      and not any(char.isdigit() for char in alias)
      and _letters(alias) not in names
      and uses[_letters(alias)] == 1
    ]
    for name, row in cleaned.items()
  }


def paraphrase(name: str, parts: Mapping[str, str], aliases: Sequence[str]) -> str:
  """The same thing in other English words: by its parts, else the wordiest alias, else a frame.

  Args:
    name: English, with the skin tones.
    parts: as in `Drawing`.
    aliases: other names of exactly this emoji, perhaps none.
  """
  if name.startswith("flag of "):
    return f"{name.removeprefix('flag of ')} flag"
  gender, role = parts.get("gender", ""), parts.get("role", "")
  body = f"{_HAIR[role]} {gender}" if role in _HAIR and gender else _base(name)
  if parts.get("tone"):
    # Two people may have one tone: it is said once.
    tones = dict.fromkeys(f"{tone} skinned" for tone in parts["tone"].split(" and "))
    return f"{' and '.join(tones)} {body}"
  if aliases:
    return max(aliases, key=lambda alias: len(alias.split()))  # the first of the longest
  if body != name:
    return body
  if role.split(" ")[0].endswith("ing") and _base(name).startswith(gender + " "):
    return f"{gender} who {'are' if gender in _PLURAL else 'is'} {role}"
  if gender in ("woman", "man") and name == f"{gender} {role}":
    if not role.startswith(("with ", "in ")):
      return f"{'female' if gender == 'woman' else 'male'} {role}"
  elif "colour" in parts:
    return f"{parts['object']} coloured {parts['colour']}"
  return f"drawing of {name}"
