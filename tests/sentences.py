"""Sentence encoders for tests: the real one, and one whose weights are drawn at random."""

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from jaxt2i import pretrained_text
from jaxt2i.sentence import SentenceEncoder
from tests.models import numpy_minilm

PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "cat", "##s", "dog", "pad")
PIECES += ("mask", "[", "]", "?", "!", "black", "and", "on", "grass")


def library() -> str:
  """Word pieces in the library's JSON, which cuts and pads for itself, as that of the weights."""
  ids = {piece: i for i, piece in enumerate(PIECES)}
  pieces = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
  pieces.add_special_tokens(list(PIECES[:5]))
  pieces.normalizer = normalizers.BertNormalizer()
  pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  pieces.post_processor = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
  )
  pieces.enable_truncation(128)
  pieces.enable_padding(length=128)
  return pieces.to_str()


def random_encoder(monkeypatch: pytest.MonkeyPatch, max_length: int) -> SentenceEncoder:
  """An encoder that needs nothing installed: features without meaning, from PIECES."""
  params = pretrained_text.convert(numpy_minilm.random_weights())
  monkeypatch.setattr(pretrained_text, "minilm", lambda: params)
  monkeypatch.setattr(pretrained_text, "word_pieces", library)
  return SentenceEncoder(max_length)


def real_encoder(max_length: int) -> SentenceEncoder:
  """The encoder with the weights that are installed; skips the test where there are none."""
  if not pretrained_text.is_installed():
    pytest.skip("the weights are not installed")
  return SentenceEncoder(max_length)
