import unicodedata

import numpy as np
import pytest

from jaxt2i.data.mirror import mirrored


@pytest.mark.parametrize(
  ("caption", "expected"),
  [
    ("a cup left of a plate", "a cup right of a plate"),
    ("A red bench stands to the right.", "A red bench stands to the left."),
    ("on the left a goat, on the right a sheep", "on the right a goat, on the left a sheep"),
    ("a tree to the left of the barn", "a tree to the right of the barn"),
    ("the goat on the right is chewing", "the goat on the left is chewing"),
    ("the man on the left holding a spoon", "the man on the right holding a spoon"),
    ("she waves with her left hand", "she waves with her right hand"),
    ("his left index finger", "his right index finger"),
    ("a cat washes its left back paw", "a cat washes its right back paw"),
    ("a child leans to his left", "a child leans to his right"),
    ("two owls look left and right", "two owls look right and left"),
    ("ducks swim from left to right", "ducks swim from right to left"),
    ("ducks swim from the left to the right", "ducks swim from the right to the left"),
    ("a kite at top left, a cloud at far right", "a kite at top right, a cloud at far left"),
    ("a goose looking left, a duck facing right", "a goose looking right, a duck facing left"),
    ("an arrow pointing right", "an arrow pointing left"),
    ("the leftmost of three jugs", "the rightmost of three jugs"),
    ("a snail crawls leftward", "a snail crawls rightward"),
    ("snails crawl rightwards", "snails crawl leftwards"),
    ("a left-hand glove, an upper-right window", "a right-hand glove, an upper-left window"),
    ("a left-handed painter", "a right-handed painter"),
    ("a left-to-right script", "a right-to-left script"),
    ("Left of the well: a RIGHT arm. Right-Hand", "Right of the well: a LEFT arm. Left-Hand"),
    ("una taza a la izquierda del plato", "una taza a la derecha del plato"),
    ("Levanta la mano derecha", "Levanta la mano izquierda"),
    ("el brazo izquierdo y el pie derecho", "el brazo derecho y el pie izquierdo"),
    ("las manos izquierdas, los ojos derechos", "las manos derechas, los ojos izquierdos"),
    ("patos de izquierda a derecha", "patos de derecha a izquierda"),
    ("la esquina superior derecha", "la esquina superior izquierda"),
    ("una cabra a su izquierda", "una cabra a su derecha"),
  ],
)
def test_directions_are_swapped(caption, expected):
  assert mirrored(caption) == expected
  assert mirrored(expected) == caption


@pytest.mark.parametrize(
  "caption",
  [
    "",
    " \t\n",
    "a red star above a blue heart",
    "a bright lamp, brightly-lit, upright and frightened",
    "a playwright in a cleft of the rock",
    "ein roter Stern",
    "心 \x00 \ud800 👩‍🚀",
    "e\u0301te\u0301",
  ],
  ids=ascii,
)
def test_captions_without_directions_stay(caption):
  assert mirrored(caption) == caption


@pytest.mark.parametrize(
  "caption",
  [
    # Not a direction.
    "everything is all right",
    "alright",
    "a copyright line",
    "she is right now asleep",
    "right after the storm",
    "right before lunch",
    "a right angle",
    "a right-angled ruler",
    "the right way up",
    "a vase right side up",
    "a jumper right side out",
    "with the right tools",
    "in the right place",
    "the right to vote",
    "a cyclist has right of way",
    "animal rights",
    "she tries to right the boat",
    "a goat stares right at us",
    "a hen right next to a gate",
    "it hits her right in the face",
    "a right-wing poster",
    "righteous",
    # A verb, or what remains.
    "the ferry has left the harbour",
    "he left his coat",
    "the last plum left in the bowl",
    "leftover soup",
    "soup left over from lunch",
    "a mitten left behind",
    "a pram is left alone",
    "not much is left of the snowman",
    "a fox left paw prints in the mud",
    "a goat has left hand marks",  # hardly, but who knows
    # Beyond the words that are known.
    "left",
    "a lefty",
    "his left front tooth",
    "left_hand",
    "a clock hand turns clockwise",
    "the anticlockwise arrow",
    "counter-clockwise",
    # Written words.
    'a wall with "turn left" on it',
    "a sign with an arrow to the right",
    # Spanish: law, straight on, and a conjunction that would have to change.
    "derechos humanos",
    "todo derecho hasta la plaza",
    "un poste derecho",
    "el derecho a soñar",
    "sillas a izquierda y derecha",
    "a derecha e izquierda",
    # Other languages.
    "un arbre à gauche",
    "la main droite",
    "um gato à esquerda",
    "o braço direito",
    "links ein Baum",
    "die rechte Hand",
    "un albero a sinistra",
    "cây ở bên trái",
    "bàn tay phải",
    unicodedata.normalize("NFD", "cây ở bên phải"),
    # One sure, one unsure.
    "a dog on the left, right behind it a cat",
    # Swapped, its accents would be composed.
    "un cafe\u0301 a la derecha",
  ],
)
def test_flips_in_doubt_are_not_made(caption):
  assert mirrored(caption) is None
  assert mirrored(caption.capitalize()) is None


def test_odd_capitals_are_not_guessed():
  assert mirrored("LeFt hand") is None


WORDS = """left right Left RIGHT leftmost right-hand leftwards upper-left izquierda derecha derecho
izquierdos the a her his on to at from of and or y e la mano brazo all far hand side arm next up way
look turns has is bright dog , . what now in behind"""


def test_twice_is_once_undone():
  # Sentences of nonsense reach every rule; whatever they make of it, it must be undone.
  rng = np.random.default_rng(0)
  changed = 0
  for length in rng.integers(1, 7, 20_000):
    caption = " ".join(rng.choice(WORDS.split(), length))
    mirror = mirrored(caption)
    if mirror is not None:
      assert mirrored(mirror) == caption
      changed += mirror != caption
  assert changed > 500
