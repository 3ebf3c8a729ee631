"""Which codes tell of which caption words: mutual information against shuffled captions."""

import dataclasses
import math
from collections import Counter

import numpy as np
from jaxtyping import Bool, Float64

from jaxt2i.analysis.latent_set import LatentSet
from jaxt2i.analysis.measures import Measure, Section, shown
from jaxt2i.analysis.words import STOP_WORDS, split_words

LEAST_IMAGES = 5  # with the word or the code, and without
PAIRS, OF_A_WORD = 20, 3  # that are shown, at most
PATCHES = 8  # of each
SHUFFLES = 200


@dataclasses.dataclass(frozen=True)
class Pair:
  """A code and a word that go together."""

  code: int
  word: str
  bits: float  # mutual information of their presence in an image
  z: float  # standard deviations above its mean over shuffled captions
  images_with_word: int
  images_with_code: int
  images_with_both: int
  places: tuple[tuple[int, int, int], ...]  # image, row, column where the code stands by the word


def measure(found: LatentSet) -> Section:
  """Mutual information of “the code occurs in an image” and “its captions have the word”."""
  words, with_word = presence_of_words(found)
  codes, with_code = presence_of_codes(found)
  question = "Do codes mean what words say?"
  if not len(words) or not len(codes):
    note = (
      f"Not measured: no word and code that at least {LEAST_IMAGES} images have and {LEAST_IMAGES} "
      "lack."
    )
    return Section("words", question, note, ())
  bits = mutual_information(with_code, with_word)
  null = shuffled(with_code, with_word)
  above = bits > null.floor
  pairs = _top(found, bits, null, words, codes, with_word, with_code)
  where = (
    f"{found.where}; all captions of an image together, stop words left out; {len(codes):,} codes "
    f"and {len(words):,} words that {LEAST_IMAGES} images or more have and lack"
  )
  answer = (
    f"{int(above.sum()):,} of {bits.size:,} pairs tell more than chance ever does "
    f"({null.floor:.3f} bits); {float(above.any(axis=0).mean()):.0%} of the words have such a code."
  )
  if pairs:
    answer += (
      f" The most telling one: code {pairs[0].code} and “{pairs[0].word}”, "
      f"{shown(pairs[0].bits)} bits."
    )
  tables = {"pairs": [dataclasses.asdict(pair) for pair in pairs]}
  return Section("words", question, answer, _measures(bits, null, where), tables=tables)


def _measures(bits: Float64[np.ndarray, "A B"], null: "Null", where: str) -> tuple[Measure, ...]:
  # Above the largest of shuffled captions, not each pair above its own chance: there are many.
  above = bits > null.floor
  shuffles = f"{where}; {SHUFFLES} shuffles of the captions among the images"
  return (
    Measure(
      "pairs_above_floor",
      int(above.sum()),
      "Pairs of a code and a word above the floor; by chance none in 95 of 100 such reports.",
      shuffles,
    ),
    Measure(
      "words_above_floor",
      float(above.any(axis=0).mean()),
      "Words that have such a code, of those looked at.",
      shuffles,
    ),
    Measure("largest_bits", float(bits.max()), "The most telling pair.", where, unit="bits"),
    Measure(
      "floor_bits",
      null.floor,
      "What the most telling of all pairs has in 95 of 100 shuffles, where captions tell nothing.",
      shuffles,
      unit="bits",
    ),
    Measure(
      "mean_bits_above_shuffled",
      float((bits - null.mean).mean()),
      "A pair's mean information less that of shuffled captions, the bias of the estimate.",
      shuffles,
      unit="bits",
    ),
  )


def presence_of_words(found: LatentSet) -> tuple[tuple[str, ...], Bool[np.ndarray, "M V"]]:
  """Words that enough images have in their captions and enough lack, and which have them."""
  sets = [{w for text in r.captions for w in split_words(text)} for r in found.records]
  counts = Counter(word for words in sets for word in words - STOP_WORDS)
  most = len(found) - LEAST_IMAGES
  words = tuple(sorted(w for w, count in counts.items() if LEAST_IMAGES <= count <= most))
  table = np.array([[word in has for word in words] for has in sets], bool)
  return words, table.reshape(len(found), len(words))


def presence_of_codes(found: LatentSet) -> tuple[tuple[int, ...], Bool[np.ndarray, "M C"]]:
  """Codes that enough images have and enough lack, and which have them."""
  has = found.counts_by_image > 0
  images = has.sum(axis=0)
  chosen = np.flatnonzero((images >= LEAST_IMAGES) & (images <= len(found) - LEAST_IMAGES))
  return tuple(chosen.tolist()), has[:, chosen]


def mutual_information(
  a: Bool[np.ndarray, "M A"], b: Bool[np.ndarray, "M B"]
) -> Float64[np.ndarray, "A B"]:
  """Of the presence of each a and each b, in bits, as their frequencies in M images say (plug-in).

  Too high by about 1 / (2 M ln 2) where there is none: see what shuffling gives.
  """
  m = len(a)
  both = a.T.astype(np.float32) @ b.astype(np.float32)  # whole numbers: exact
  of_a, of_b = a.sum(axis=0)[:, None], b.sum(axis=0)[None, :]
  total = np.zeros(both.shape)
  for joint, one, other in (
    (both, of_a, of_b),
    (of_a - both, of_a, m - of_b),
    (of_b - both, m - of_a, of_b),
    (m - of_a - of_b + both, m - of_a, m - of_b),
  ):
    p = joint.astype(np.float64) / m
    expected = one.astype(np.float64) * other / m**2
    total += np.where(p > 0, p * np.log2(np.where(p > 0, p, 1) / expected.clip(1e-300)), 0)
  return total.clip(0)


@dataclasses.dataclass(frozen=True, eq=False)
class Null:
  """Mutual information with shuffled captions."""

  mean: Float64[np.ndarray, "A B"]
  deviation: Float64[np.ndarray, "A B"]
  largest: Float64[np.ndarray, " R"]  # of all pairs, for each shuffle

  @property
  def floor(self) -> float:
    """What the largest of all pairs has in 95 of 100 shuffles: of all pairs at once."""
    return float(np.quantile(self.largest, 0.95))


def shuffled(a: Bool[np.ndarray, "M A"], b: Bool[np.ndarray, "M B"]) -> Null:
  """Of `SHUFFLES` shuffles of the rows of b."""
  rng = np.random.default_rng(0)
  total, squares, largest = np.zeros(()), np.zeros(()), []
  for _ in range(SHUFFLES):
    bits = mutual_information(a, b[rng.permutation(len(b))])
    total, squares = total + bits, squares + np.square(bits)
    largest.append(bits.max())
  mean = total / SHUFFLES
  return Null(mean, np.sqrt((squares / SHUFFLES - np.square(mean)).clip(0)), np.array(largest))


def _top(found, bits, null, words, codes, with_word, with_code) -> list[Pair]:
  """The most telling pairs above the floor that go together rather than exclude each other."""
  m = len(found)
  both = with_code.T.astype(np.float32) @ with_word.astype(np.float32)
  expected = with_code.sum(axis=0)[:, None] * with_word.sum(axis=0)[None, :] / m
  score = np.where((both > expected) & (bits > null.floor), bits, -1.0)
  pairs: list[Pair] = []
  shown_of: Counter[int] = Counter()
  for flat in np.argsort(-score, axis=None, kind="stable"):
    i, j = (int(place) for place in np.unravel_index(flat, score.shape))
    if score[i, j] <= 0 or len(pairs) == PAIRS:
      break
    if shown_of[j] == OF_A_WORD:
      continue
    shown_of[j] += 1
    deviation = float(null.deviation[i, j])
    z = (float(bits[i, j]) - float(null.mean[i, j])) / deviation if deviation > 0 else math.inf
    shared = np.flatnonzero(with_code[:, i] & with_word[:, j])
    pairs.append(
      Pair(
        code=codes[i],
        word=words[j],
        bits=float(bits[i, j]),
        z=z,
        images_with_word=int(with_word[:, j].sum()),
        images_with_code=int(with_code[:, i].sum()),
        images_with_both=len(shared),
        places=_places(found, codes[i], shared),
      )
    )
  return pairs


def _places(found: LatentSet, code: int, images: np.ndarray) -> tuple[tuple[int, int, int], ...]:
  """Where the code first stands in some of the images, evenly spread over them."""
  chosen = images[np.linspace(0, len(images) - 1, min(PATCHES, len(images))).astype(int)]
  first = [np.argwhere(found.tokens[image] == code)[0] for image in chosen]
  return tuple((int(i), int(y), int(x)) for i, (y, x) in zip(chosen, first, strict=True))
