"""CLIP's captions: ids as in the reference, from either kind of file; others are refused."""

import json

import numpy as np
import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, processors

from jaxt2i.data.clip_text import BOS, EOS, ClipText
from tests.supplied import CLIP, MERGES, clip_vocabulary, write_clip_words
from tests.test_supplied import refused

REFERENCE = json.loads(CLIP.read_text())
WORDS = len(clip_vocabulary())


def write_library(folder, vocabulary):
  """A `tokenizer.json` of words alone; it cuts, pads and frames captions by itself, if let."""
  library = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=EOS))
  library.pre_tokenizer = pre_tokenizers.Whitespace()
  library.add_special_tokens([BOS, EOS])
  ends = [(token, library.token_to_id(token)) for token in (EOS, BOS)]
  library.post_processor = processors.RobertaProcessing(*ends)
  library.enable_truncation(3)
  library.enable_padding(length=3)
  library.save(str(folder / "tokenizer.json"))


def test_ids_are_those_of_transformers(tmp_path):
  write_clip_words(tmp_path)
  text = ClipText.read(tmp_path, WORDS, 16)
  ids, ends = text(REFERENCE["captions"])
  np.testing.assert_array_equal(ids, REFERENCE["ids"])
  first = [row.index(text.eos) for row in REFERENCE["ids"]]
  np.testing.assert_array_equal(ends, first)
  assert len(MERGES) + 514 == WORDS


def test_a_library_s_file_goes_before_and_its_own_framing_is_not_used(tmp_path):
  write_clip_words(tmp_path)
  write_library(tmp_path, {"a": 0, "b": 1, BOS: 2, EOS: 3})
  ids, ends = ClipText.read(tmp_path, 4, 6)(["a b", "a a a a a b", ""])
  np.testing.assert_array_equal(ids, [[2, 0, 1, 3, 3, 3], [2, 0, 0, 0, 0, 3], [2] + 5 * [3]])
  np.testing.assert_array_equal(ends, [3, 5, 1])


def test_an_end_that_is_typed_ends_nothing(tmp_path):
  write_clip_words(tmp_path)
  ids, ends = ClipText.read(tmp_path, WORDS, 16)([f"a{EOS}"])
  assert list(ids[0]).index(WORDS - 1) == ends[0] > 3


def test_files_of_another_network_are_refused(tmp_path):
  write_library(tmp_path, {"a": 0, "b": 1, BOS: 2, EOS: 3})
  refused(lambda: ClipText.read(tmp_path, 3, 6), "tokenizer.json has 4 tokens up to id 3")
  (tmp_path / "tokenizer.json").unlink()
  (tmp_path / "vocab.json").write_text('{"a": 0}')
  (tmp_path / "merges.txt").write_text("")
  refused(lambda: ClipText.read(tmp_path, 9, 6), "vocab.json has 1 tokens", EOS)


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json", "merges.txt"])
@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"x y z\nx\n"])
def test_damaged_files_are_refused(tmp_path, name, content):
  write_clip_words(tmp_path)
  (tmp_path / name).write_bytes(content)
  refused(lambda: ClipText.read(tmp_path, WORDS, 16), "is damaged")


def test_without_files_there_is_none(tmp_path):
  assert ClipText.read(tmp_path, WORDS, 16) is None
  write_clip_words(tmp_path)
  (tmp_path / "merges.txt").unlink()
  assert ClipText.read(tmp_path, WORDS, 16) is None
