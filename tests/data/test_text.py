import json
import subprocess
import sys

import numpy as np
import pytest

from jaxt2i.data.text import PAD, UNK, TextTokenizer
from jaxt2i.errors import UserError

CAPTIONS = [
  "red heart",
  "Blue heart",
  "large red star left of small blue heart",
  "niña con corazón",
  "the woman's hat",
] * 3


def train(captions=CAPTIONS, vocab_size=80, max_length=8):
  return TextTokenizer.train(captions, vocab_size=vocab_size, max_length=max_length)


@pytest.fixture(scope="module")
def tokenizer():
  return train()


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


def test_names_of_special_tokens_are_text(tokenizer, tmp_path):
  tokenizer.save(tmp_path / "text.json")
  for each in (tokenizer, TextTokenizer.load(tmp_path / "text.json")):
    num = each.num_tokens("[PAD] red")
    assert num > 2
    assert PAD not in each(["[PAD] red"])[0, : min(num, 8)]


@pytest.mark.parametrize("caption", [" ", "\n\t", "\u200b", "\ud800", "\x00", "a" * 100_000])
def test_odd_captions_do_no_harm(tokenizer, caption):
  assert tokenizer([caption]).shape == (1, 8)
  assert isinstance(tokenizer.unknown_words(caption), list)


def test_unknown_words(tokenizer):
  caption = "A RED zebra's heart, zebra! 心 star-left"
  assert tokenizer.words(caption) == ["a", "red", "zebra", "s", "heart", "心", "star", "left"]
  assert tokenizer.unknown_words(caption) == ["a", "zebra", "心"]
  assert tokenizer.unknown_words("the woman's hat") == []


def test_same_captions_same_vocabulary(tokenizer):
  shuffled = list(np.random.default_rng(0).permutation(CAPTIONS))
  again = train([str(caption) for caption in shuffled])
  assert again.fingerprint == tokenizer.fingerprint
  np.testing.assert_array_equal(again(CAPTIONS), tokenizer(CAPTIONS))
  assert train(CAPTIONS[:3]).fingerprint != tokenizer.fingerprint
  assert train(max_length=9).fingerprint != tokenizer.fingerprint


def test_same_vocabulary_in_another_process(tokenizer):
  program = f"""
from jaxt2i.data.text import TextTokenizer
captions = {CAPTIONS!r}
print(TextTokenizer.train(captions, vocab_size=80, max_length=8).fingerprint)
"""
  run = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
  )
  assert run.stdout.strip() == tokenizer.fingerprint
  assert run.stderr == ""


def test_rare_characters_make_room_for_words():
  many = ["".join(map(chr, range(0x4E00, 0x4E00 + 100))), *["red heart"] * 5]
  tokenizer = train(many, vocab_size=40)
  assert tokenizer.vocab_size <= 40
  assert tokenizer.num_tokens("red heart") == 2


def test_save_and_load(tokenizer, tmp_path):
  path = tmp_path / "text.json"
  tokenizer.save(path)
  loaded = TextTokenizer.load(path)
  assert loaded.fingerprint == tokenizer.fingerprint
  assert (loaded.vocab_size, loaded.max_length) == (tokenizer.vocab_size, tokenizer.max_length)
  np.testing.assert_array_equal(loaded(CAPTIONS), tokenizer(CAPTIONS))
  assert loaded.unknown_words("red zebra") == ["zebra"]


def edit(content, what):
  if what == "format":
    content["format"] = 99
  elif what == "bpe":
    content["bpe"]["model"]["merges"] = [["never", "seen"]]
  elif what == "words":
    content["words"].append("zebra")
  elif what == "missing":
    del content["max_length"]
  elif what == "length":
    content["max_length"] = "8"
  return json.dumps(content)


@pytest.mark.parametrize("what", ["format", "bpe", "words", "missing", "length"])
def test_damaged_files_are_refused(tokenizer, tmp_path, what):
  path = tmp_path / "text.json"
  tokenizer.save(path)
  path.write_text(edit(json.loads(path.read_text()), what))
  with pytest.raises(UserError, match="damaged") as caught:
    TextTokenizer.load(path)
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
  ("captions", "vocab_size", "max_length", "message"),
  [
    ([], 80, 8, "no captions"),
    (["", "!!"], 80, 8, "no captions"),
    (CAPTIONS, 7, 8, "vocab_size 7"),
    (CAPTIONS, 80, 0, "max_length 0"),
  ],
)
def test_nothing_to_learn_from(captions, vocab_size, max_length, message):
  with pytest.raises(UserError, match=message):
    train(captions, vocab_size, max_length)
