import itertools
import json
import pickle
import subprocess
import sys
import unicodedata

import numpy as np
import pytest

from jaxt2i.data.text import KINDS, PAD, UNK, TextTokenizer
from jaxt2i.errors import UserError
from jaxt2i.text import load

CAPTIONS = [
  "red heart",
  "Blue heart",
  "large red star left of small blue heart",
  "niña con corazón",
  "the woman's hat",
] * 3


ODD = [
  " ",
  "\n\t",
  "\u200b",
  "\ud800",
  "\x00",
  "a\x00b",
  "👩‍🚀🏽 lands",
  "לב אדום \u202eשלום",
  "كوكب أحمر",
  "e\u0301" * 20,
  "a" * 100_000,
]


def train(captions=CAPTIONS, vocab_size=80, max_length=8, kind="bpe"):
  return TextTokenizer.train(captions, vocab_size=vocab_size, max_length=max_length, kind=kind)


def train_kind(kind, captions=CAPTIONS, **options):
  return train(captions, kind=kind, **{"vocab_size": 258 if kind == "byte" else 80} | options)


@pytest.fixture(scope="module")
def tokenizer():
  return train()


@pytest.fixture(scope="module", params=KINDS)
def each_kind(request):
  """A tokenizer of every kind in turn."""
  return train_kind(request.param)


def test_shape_padding_and_range(tokenizer):
  ids = tokenizer(["red heart", "", "red"])
  assert ids.shape == (3, 8)
  assert ids.dtype == np.int32
  num = tokenizer.num_tokens("red heart")
  assert (ids[0, :num] != PAD).all()
  assert (ids[0, num:] == PAD).all()
  assert (ids[1] == PAD).all()
  assert ids.max() < tokenizer.vocab_size <= 80
  assert tokenizer([]).shape == (0, 8)


def test_frequent_words_are_one_token(tokenizer):
  assert tokenizer.num_tokens("heart") == 1
  assert tokenizer.num_tokens("red heart") == 2


def test_long_captions_are_cut(tokenizer):
  caption = "red heart " * 1000
  assert tokenizer.num_tokens(caption) == 2000
  ids = tokenizer([caption])[0]
  np.testing.assert_array_equal(ids, tokenizer(["red heart red heart red heart red heart"])[0])


def test_case_width_and_composition_do_not_matter(tokenizer):
  spellings = ["corazón", "CORAZÓN", "corazo\u0301n", "ｃｏｒａｚón"]
  ids = tokenizer(spellings)
  for row in ids[1:]:
    np.testing.assert_array_equal(row, ids[0])


def test_unknown_characters(tokenizer):
  ids = tokenizer(["心", "red 心"])
  assert ids[0, 0] == UNK
  assert list(ids[1, :2]) == [tokenizer(["red"])[0, 0], UNK]


def test_ids_are_all_and_the_vocabulary_names_them(each_kind):
  caption = "large red star left of small blue heart"
  assert each_kind([caption])[0].tolist() == (each_kind.ids(caption) + [PAD] * 8)[:8]
  assert len(each_kind.ids(caption)) == each_kind.num_tokens(caption)
  assert len(each_kind.vocabulary) == each_kind.vocab_size
  assert each_kind.vocabulary[:2] == ("[PAD]", "[UNK]")
  letters = "".join(each_kind.vocabulary[i] for i in each_kind.ids(caption))
  # Ġ: the space among bytes.
  assert letters.replace("Ġ", "").replace(" ", "") == caption.replace(" ", "")


def test_names_of_special_tokens_are_text(tokenizer, tmp_path):
  tokenizer.save(tmp_path / "text.json")
  for each in (tokenizer, TextTokenizer.load(tmp_path / "text.json")):
    num = each.num_tokens("[PAD] red")
    assert num > 2
    assert PAD not in each(["[PAD] red"])[0, : min(num, 8)]


@pytest.mark.parametrize("caption", ODD, ids=ascii)
def test_odd_captions_do_no_harm(each_kind, caption):
  ids = each_kind([caption])
  assert ids.shape == (1, 8)
  assert (ids[0, : each_kind.num_tokens(caption)] != PAD).all()
  assert ids.max() < each_kind.vocab_size
  assert set(each_kind.unknown_words(caption)) <= set(each_kind.words(caption))


@pytest.mark.parametrize("caption", ["red heart", "[PAD] [UNK]", "niña 心", *ODD], ids=ascii)
def test_bytes_are_the_text(caption):
  # Even though no training caption has these letters: nothing is unknown.
  tokenizer = train_kind("byte", max_length=100_000)
  assert tokenizer.vocab_size == 258
  num = tokenizer.num_tokens(caption)
  ids = tokenizer([caption])[0, :num]
  assert UNK not in ids
  expected = caption.encode("utf-8", "replace").decode("utf-8")
  expected = unicodedata.normalize("NFKC", expected).lower()
  assert bytes(int(i) - 2 for i in ids).decode("utf-8") == expected


def test_bytes_have_ids_of_their_own():
  tokenizer = train_kind("byte")
  texts = [chr(code) for code in (*range(0x20), 0x7F)]  # no letters of their own in the library
  assert [list(ids[:2]) for ids in tokenizer(texts)] == [[2 + ord(t), PAD] for t in texts]
  assert list(tokenizer(["red"])[0, :4]) == [2 + ord("r"), 2 + ord("e"), 2 + ord("d"), PAD]


def test_words_are_the_most_frequent():
  # "heart" nine times, "blue" and "red" six times; of those seen three times "'", "con", "corazón".
  tokenizer = train_kind("word", vocab_size=8)
  assert tokenizer.vocab_size == 8
  ids = tokenizer(["heart red blue corazón hat woman"])[0]
  assert list(ids) == [2, 4, 3, 7, UNK, UNK, PAD, PAD]
  assert tokenizer.num_tokens("red zebra heart") == 3
  # Seen, but not kept: the model knows no more of it than of a word never seen.
  assert tokenizer.unknown_words("a red hat on a blue heart") == ["a", "hat", "on"]


def test_unknown_words_become_one_id():
  tokenizer = train_kind("word")
  assert list(tokenizer(["red zebra heart [PAD]"])[0, :3]) == [
    tokenizer(["red"])[0, 0],
    UNK,
    tokenizer(["heart"])[0, 0],
  ]
  assert PAD not in tokenizer(["red [PAD]"])[0, : tokenizer.num_tokens("red [PAD]")]


def test_unknown_words_of_a_split(each_kind):
  captions = ["A RED zebra", "zebra and heart", "", "!"]
  assert each_kind.unknown_among(captions) == (["a", "and", "zebra"], 5)
  assert each_kind.unknown_among(CAPTIONS)[0] == []
  assert each_kind.unknown_among([]) == ([], 0)


def test_unknown_words(tokenizer):
  caption = "A RED zebra's heart, zebra! 心 star-left"
  assert tokenizer.words(caption) == ["a", "red", "zebra", "s", "heart", "心", "star", "left"]
  assert tokenizer.unknown_words(caption) == ["a", "zebra", "心"]
  assert tokenizer.unknown_words("the woman's hat") == []


def test_same_captions_same_vocabulary(each_kind):
  kind = each_kind.kind
  shuffled = list(np.random.default_rng(0).permutation(CAPTIONS))
  again = train_kind(kind, [str(caption) for caption in shuffled])
  assert again.fingerprint == each_kind.fingerprint
  np.testing.assert_array_equal(again(CAPTIONS), each_kind(CAPTIONS))
  assert train_kind(kind, CAPTIONS[:3]).fingerprint != each_kind.fingerprint
  assert train_kind(kind, max_length=9).fingerprint != each_kind.fingerprint


def test_words_of_one_count_are_kept_in_alphabetical_order():
  captions = ["delta echo", "alpha foxtrot", "charlie bravo golf"]
  for order in itertools.permutations(captions):
    tokenizer = train_kind("word", list(order), vocab_size=8)
    assert list(tokenizer(["alpha bravo charlie delta echo foxtrot golf"])[0, :7]) == [
      *range(2, 8),
      UNK,
    ]


def test_kinds_differ():
  assert len({train_kind(kind, vocab_size=258).fingerprint for kind in KINDS}) == len(KINDS)
  assert train().kind == "bpe"


def test_same_vocabulary_in_another_process():
  program = f"""
from jaxt2i.data.text import TextTokenizer
captions = {CAPTIONS!r}
for kind in {KINDS!r}:
  print(TextTokenizer.train(captions, vocab_size=258, max_length=8, kind=kind).fingerprint)
"""
  run = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
  )
  assert run.stdout.split() == [train_kind(kind, vocab_size=258).fingerprint for kind in KINDS]
  assert run.stderr == ""


def test_pickled_as_it_is(each_kind):
  # Worker processes get it so. "[PAD]" stays text there, too.
  copy = pickle.loads(pickle.dumps(each_kind))
  assert copy.fingerprint == each_kind.fingerprint
  captions = [*CAPTIONS, "[PAD] red [UNK]", "zebra"]
  np.testing.assert_array_equal(copy(captions), each_kind(captions))
  assert copy.unknown_words("red zebra") == ["zebra"]


def test_rare_characters_make_room_for_words():
  many = ["".join(map(chr, range(0x4E00, 0x4E00 + 100))), *["red heart"] * 5]
  tokenizer = train(many, vocab_size=40)
  assert tokenizer.vocab_size <= 40
  assert tokenizer.num_tokens("red heart") == 2


def test_save_and_load(each_kind, tmp_path):
  path = tmp_path / "text.json"
  each_kind.save(path)
  loaded = TextTokenizer.load(path)
  assert loaded.fingerprint == each_kind.fingerprint
  assert (loaded.kind, loaded.vocab_size, loaded.max_length) == (
    each_kind.kind,
    each_kind.vocab_size,
    each_kind.max_length,
  )
  np.testing.assert_array_equal(loaded([*CAPTIONS, *ODD]), each_kind([*CAPTIONS, *ODD]))
  assert loaded.unknown_words("red zebra") == ["zebra"]


def edit(content, what):
  if what == "kind":
    content["kind"] = "letters"
  elif what == "vocabulary":
    content["tokenizer"]["model"]["vocab"]["never seen"] = 5
  elif what == "words":
    content["words"].append("zebra")
  elif what == "missing":
    del content["max_length"]
  elif what == "no format":
    del content["format"]
  elif what == "length":
    content["max_length"] = "8"
  return json.dumps(content)


@pytest.mark.parametrize("what", ["kind", "vocabulary", "words", "missing", "no format", "length"])
def test_damaged_files_are_refused(each_kind, tmp_path, what):
  path = tmp_path / "text.json"
  each_kind.save(path)
  path.write_text(edit(json.loads(path.read_text()), what))
  with pytest.raises(UserError, match="damaged") as caught:
    TextTokenizer.load(path)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [1, 99])
def test_other_formats_are_named(tmp_path, number):
  path = tmp_path / "text.json"
  path.write_text(json.dumps({"format": number, "bpe": {}, "max_length": 8, "words": []}))
  with pytest.raises(
    UserError, match=f"has format {number}, this version reads 2: train"
  ) as caught:
    load(path)  # as a run is read
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"[1, 2]", b'{"format": 1', b"\xff\xfe"])
def test_truncated_files_are_refused(tmp_path, data):
  path = tmp_path / "text.json"
  path.write_bytes(data)
  with pytest.raises(UserError, match="damaged"):
    TextTokenizer.load(path)


def test_missing_and_unwritable_files(tokenizer, tmp_path):
  with pytest.raises(UserError, match="No such file"):
    TextTokenizer.load(tmp_path / "absent.json")
  with pytest.raises(UserError, match="cannot write"):
    tokenizer.save(tmp_path / "absent" / "text.json")


@pytest.mark.parametrize(
  ("captions", "options", "message"),
  [
    ([], {}, "no captions"),
    (["", "!!"], {}, "no captions"),
    ([], {"kind": "byte", "vocab_size": 258}, "no captions"),
    (CAPTIONS, {"vocab_size": 7}, "vocab_size 7 and max_length 8: expected 8 or more"),
    (CAPTIONS, {"max_length": 0}, "max_length 0"),
    (CAPTIONS, {"kind": "byte"}, "vocab_size 80 and max_length 8: expected 258 or more"),
    (
      CAPTIONS,
      {"kind": "char"},
      "text kind 'char': expected one of 'bpe', 'word', 'label'",
    ),
  ],
)
def test_nothing_to_learn_from(captions, options, message):
  with pytest.raises(UserError, match=message) as caught:
    train(captions, **options)
  assert "\n" not in str(caught.value)


def test_a_label_is_the_whole_caption():
  labels = train(["red heart", "Red heart", "a  b", "blue"], kind="label", max_length=1)
  ids = labels(["red heart", "RED HEART", "blue", "red", "heart red", "a  b", ""])[:, 0]
  assert ids[0] == ids[1]
  assert len({*ids[[0, 2, 5]], UNK, PAD}) == 5
  np.testing.assert_array_equal(ids[[3, 4, 6]], [UNK, UNK, PAD])
  assert labels.vocab_size == 5
  assert labels.notes("red heart") == []
  assert labels.notes("red") == ["the prompt is none of the captions that the model knows."]


def test_the_rarest_labels_are_unknown():
  names = ["a b"] * 3 + ["c d"] * 2 + [f"e {i}" for i in range(9)]
  labels = train(names, kind="label", vocab_size=8, max_length=1)
  assert labels.vocab_size == 8
  assert UNK not in labels(["a b", "c d"])
