"""Which drawing is for training, for validation, or tests combinations never seen in training."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from jaxt2i.data.openmoji_names import Drawing, has_gender_of_its_own, is_national_flag
from jaxt2i.data.records import share_of_hash

SPLITS = ("train", "val", "compositional")
_VAL_SHARE = 0.1
# There are about 2,300 people and hands, but only some 45 things of one shape in several colours.
_HELD_OUT_SHARE = {"role": 0.08, "object": 0.25}
_NEUTRAL = ("person", "people", "")

# Signs that are writing, or one of many alike; inclusive ranges of code points.
_NOT_CONCEPTS = (
  (0xA9, 0xAE),  # copyright, registered
  (0x2122, 0x2139),  # trade mark, information
  (0x24C2, 0x24C2),  # circled M
  (0x3297, 0x3299),  # circled ideographs
  (0x1F100, 0x1F2FF),  # enclosed letters and ideographs; regional indicators, so flags too
  (0x1F3FB, 0x1F3FF),  # skin tones
  (0x1F519, 0x1F51D),  # arrows with words
  (0x1F51F, 0x1F524),  # keycap 10, input of letters
  (0x1F550, 0x1F567),  # clock faces
  (0x20E3, 0x20E3),  # keycaps
)

_BASICS = (
  (0x2600, 0x27BF),  # Miscellaneous Symbols, Dingbats
  (0x1F300, 0x1F43F),  # Miscellaneous Symbols and Pictographs, up to the animals
  (0x1F680, 0x1F6FF),  # Transport and Map Symbols
)


def combination(drawing: Drawing) -> tuple[str, ...]:
  """What is held out as a whole: (role, gender, tone) or (object, colour); () if neither."""
  names = ("role", "gender", "tone") if "role" in drawing.parts else ("object", "colour")
  return tuple(drawing.parts[name] for name in names) if drawing.parts else ()


def assign(drawings: Sequence[Drawing]) -> dict[str, str]:
  """The split of each drawing by image id, from hashes of names: adding a drawing moves few.

  A combination goes to "compositional" with all its drawings, and only if training shows each
  part in another combination: the role or object, and the gender with the tone or the colour.
  """
  split = {}
  for drawing in drawings:
    whole = combination(drawing)
    share = _HELD_OUT_SHARE["role" if "role" in drawing.parts else "object"] if whole else 0.0
    if share_of_hash("|".join(whole)) < share:
      split[drawing.image_id] = "compositional"
    else:
      is_val = share_of_hash(drawing.image_id) < _VAL_SHARE
      split[drawing.image_id] = "val" if is_val else "train"
  # What training does not cover goes back to training, which then covers no less.
  train = [d for d in drawings if split[d.image_id] == "train"]
  covers = parts_covered(train)
  for drawing in drawings:
    if split[drawing.image_id] == "compositional" and not covers(drawing):
      split[drawing.image_id] = "train"
  return split


def parts_covered(train: Iterable[Drawing]) -> Callable[[Drawing], bool]:
  """A function that says whether all parts of a drawing occur in `train`, in other company."""
  things: Counter[str] = Counter()  # role or object
  looks: Counter[tuple[str, ...]] = Counter()  # gender and tone, or colour
  wholes: Counter[tuple[str, ...]] = Counter()
  for whole in filter(None, map(combination, train)):
    things[whole[0]] += 1
    looks[whole[1:]] += 1
    wholes[whole] += 1

  def covers(drawing: Drawing) -> bool:
    whole = combination(drawing)
    return things[whole[0]] > wholes[whole] and looks[whole[1:]] > wholes[whole]

  return covers


def concepts(drawings: Sequence[Drawing]) -> list[Drawing]:
  """One drawing a concept, in the order given.

  Left out: skin tones, national flags, writing, keycaps, clock faces, people who face the other
  way, kinds of families, and of a role with several genders all but the neutral drawing (or the
  first). Words that are a gender themselves ("woman", "mermaid") stay.
  """
  kept = [d for d in drawings if not _is_left_out(d)]
  chosen: dict[str, Drawing] = {}  # by role
  for drawing in sorted(kept, key=lambda d: d.parts.get("gender") not in _NEUTRAL):
    if "role" in drawing.parts and not has_gender_of_its_own(drawing.base):
      chosen.setdefault(drawing.parts["role"], drawing)
  chosen_ids = {d.image_id for d in chosen.values()}
  return [
    d
    for d in kept
    if "role" not in d.parts or has_gender_of_its_own(d.base) or d.image_id in chosen_ids
  ]


def basics(drawings: Sequence[Drawing]) -> list[Drawing]:
  """Of the concepts the oldest blocks: sky, plants, food, animals, vehicles, signs; no people."""
  return [
    d
    for d in concepts(drawings)
    if "role" not in d.parts and any(low <= ord(d.emoji[0]) <= high for low, high in _BASICS)
  ]


def _is_left_out(drawing: Drawing) -> bool:
  if any(low <= ord(char) <= high for char in drawing.emoji for low, high in _NOT_CONCEPTS):
    return True
  if is_national_flag(drawing.emoji) or drawing.base.startswith("family "):
    return True
  return drawing.base.endswith(" facing right")
