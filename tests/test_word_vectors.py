"""Word vectors: neighbours against a loop, files to the bit, bad files by line, embeddings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i.data.text import TextTokenizer
from jaxt2i.errors import UserError
from jaxt2i.models.text import RecurrentTextEncoder, TextEncoder
from jaxt2i.word_vectors import WordVectors, into_encoder
from tests.arrays import random_params

CAPTIONS = ["a red heart", "a blue heart", "a blue star"]


def random_vectors(words, dim, seed=0):
  rows = np.random.default_rng(seed).normal(size=(len(words), dim))
  return WordVectors(tuple(words), rows.astype(np.float32))


# --- neighbours ---


def test_neighbours_are_those_of_the_smallest_angle():
  vectors = random_vectors("abcdefghij", 3)
  rows = dict(zip(vectors.words, vectors.vectors.astype(np.float64), strict=True))

  def cosine(a, b):
    return rows[a] @ rows[b] / np.sqrt(rows[a] @ rows[a] * (rows[b] @ rows[b]))

  for word in vectors.words:
    expected = sorted((w for w in rows if w != word), key=lambda w: -cosine(word, w))
    found = vectors.neighbours(word, 4)
    assert [w for w, _ in found] == expected[:4]
    np.testing.assert_allclose([c for _, c in found], [cosine(word, w) for w in expected[:4]], 1e-5)
  assert len(vectors.neighbours("a", 100)) == 9


def test_length_does_not_matter_and_zeros_have_no_direction():
  rows = np.array([[1, 0], [50, 1], [0.1, 0.1], [0, 0], [-1, 0]], np.float32)
  vectors = WordVectors(("one", "long", "short", "nothing", "opposite"), rows)
  assert [word for word, _ in vectors.neighbours("one", 9)] == ["long", "short", "opposite"]
  with pytest.raises(UserError, match="no vector of 'nothing' among 5 words; choose another"):
    vectors.neighbours("nothing", 1)


def test_of_equally_near_words_the_more_frequent_comes_first():
  vectors = WordVectors(("a", "b", "c"), np.ones((3, 2), np.float32))
  assert [word for word, _ in vectors.neighbours("c", 2)] == ["a", "b"]


def test_unknown_words_are_named_with_what_was_meant():
  vectors = random_vectors(["heart", "star"], 2)
  with pytest.raises(UserError, match="no vector of 'haert' among 2 words; did you mean 'heart'"):
    vectors.neighbours("haert", 1)


# --- files ---


def test_a_file_gives_back_the_same_bits(tmp_path):
  vectors = random_vectors(["a", "niña", "心", "'s", "3"], 7)
  vectors.vectors[0, :3] = 1e-38, -3e38, 0.1
  vectors.save(tmp_path / "v.txt")
  assert (tmp_path / "v.txt").read_text(encoding="utf-8").splitlines()[0] == "5 7"
  loaded = WordVectors.load(tmp_path / "v.txt")
  assert loaded.words == vectors.words
  np.testing.assert_array_equal(loaded.vectors, vectors.vectors)


@pytest.mark.parametrize(
  "text",
  [
    "2 2\nred 1 -2.5\nblue 0.5 1e-3\n",
    "2 2\nred 1 -2.5 \nblue 0.5 1e-3 \n",  # as the authors' program writes it
    "2 2\r\nred 1 -2.5\r\nblue 0.5 1e-3",
    "red 1 -2.5\nblue 0.5 1e-3\n",  # GloVe
  ],
)
def test_formats_that_differ_by_a_line_or_a_space(tmp_path, text):
  (tmp_path / "v.txt").write_text(text, newline="")
  loaded = WordVectors.load(tmp_path / "v.txt")
  assert loaded.words == ("red", "blue")
  np.testing.assert_array_equal(loaded.vectors, np.array([[1, -2.5], [0.5, 1e-3]], np.float32))


def test_words_with_spaces_and_words_that_are_numbers(tmp_path):
  (tmp_path / "v.txt").write_text("the 1 2\n. . . 3 4\n7 5 6\nat\u00a0home 7 8\n", encoding="utf-8")
  loaded = WordVectors.load(tmp_path / "v.txt")
  assert loaded.words == ("the", ". . .", "7", "at\u00a0home")
  assert loaded.vectors.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (b"", "line 1: no word vectors"),
    (b"red\n", "line 1: no word vectors"),
    (b"2 0\nred\nblue\n", "line 1: no word vectors"),
    (b"3 2\nred 1 2\nblue 3 4\n", "2 words follow, expected 1 or more, and 3 by line 1"),
    (b"0 2\n", "0 words follow, expected 1 or more, and 0 by line 1"),
    (b"2 2\nred 1 2\nblue 3\n", "line 3: 'blue 3', expected a word and 2 finite numbers"),
    (b"red 1 2\nblue 3 x\n", "line 2: 'blue 3 x', expected a word and 2"),
    (b"red 1 2\nblue 3 nan\n", "line 2: 'blue 3 nan', expected a word and 2"),
    (b"red 1 2\nblue 3 1e39\n", "line 2: 'blue 3 1e39', expected a word and 2"),
    (b"red 1 2\n 3 4\n", "line 2: ' 3 4', expected a word and 2"),
    (b"red 1 2\n\n", "line 2: '', expected a word and 2"),
    (b"red 1 2\nblue 3 4\nred 5 6\n", r"line 3: the word 'red' again, .*\(line 1\)"),
    (b"2 2\nred 1 2\nred 5 6\n", r"line 3: the word 'red' again, .*\(line 2\)"),
    (b"red 1 2\n\xff\xfe 3 4\n", "line 2: not UTF-8"),
  ],
)
def test_bad_files_are_refused_by_line(tmp_path, data, message):
  (tmp_path / "v.txt").write_bytes(data)
  with pytest.raises(UserError, match=f"v.txt:? ?{message}") as caught:
    WordVectors.load(tmp_path / "v.txt")
  assert "\n" not in str(caught.value)


def test_missing_and_unwritable_files(tmp_path):
  with pytest.raises(UserError, match=r"cannot read word vectors .*No such file"):
    WordVectors.load(tmp_path / "absent.txt")
  with pytest.raises(UserError, match="cannot write word vectors"):
    random_vectors("ab", 2).save(tmp_path / "absent" / "v.txt")


# --- into an encoder ---


def tokenizer(kind="word"):
  return TextTokenizer.train(CAPTIONS, vocab_size=20, max_length=4, kind=kind)


def recurrent(embed_dim=3):
  size = tokenizer().vocab_size
  return RecurrentTextEncoder(size, 4, layers=1, cell="gru", embed_dim=embed_dim)


def initial(encoder):
  return random_params(encoder, jnp.asarray(tokenizer()(CAPTIONS)))


def test_known_words_get_their_vectors_and_nothing_else_changes():
  encoder, text = recurrent(), tokenizer()
  vectors = random_vectors(["heart", "zebra", "[PAD]", "[UNK]", "blue"], 3)
  before = initial(encoder)
  after = into_encoder(before, vectors, text)
  table = np.asarray(after["embed"]["embedding"])
  ids = {word: text([word])[0, 0] for word in ("a", "red", "heart", "blue", "star")}
  expected = np.array(before["embed"]["embedding"])
  at, rows = [ids["heart"], ids["blue"]], vectors.vectors[[0, 4]]
  expected[at] = rows * np.sqrt(np.mean(expected[at] ** 2) / np.mean(rows**2))
  np.testing.assert_allclose(table, expected, rtol=1e-5)
  assert table.dtype == np.float32
  others = lambda params: {**params, "embed": None}
  jax.tree.map(np.testing.assert_array_equal, others(after), others(before))
  # The encoder reads them: a caption of a word without a vector is encoded as before.
  encode = lambda params, caption: (
    encoder.apply({"params": params}, jnp.asarray(text([caption]))).features
  )
  np.testing.assert_array_equal(encode(after, "red star"), encode(before, "red star"))
  assert np.abs(encode(after, "heart") - encode(before, "heart")).max() > 1e-3


def test_the_transformer_takes_them_too():
  text = tokenizer()
  encoder = TextEncoder(text.vocab_size, 4, layers=1, heads=2)
  vectors = random_vectors(["star"], 4)
  table = into_encoder(initial(encoder), vectors, text)["embed"]["embedding"]
  row = table[text(["star"])[0, 0]]
  np.testing.assert_allclose(row / row[0], vectors.vectors[0] / vectors.vectors[0, 0], rtol=1e-5)


@pytest.mark.parametrize(
  ("kind", "words", "dim", "message"),
  [
    ("bpe", ["heart"], 3, "word vectors need a text of kind 'word'"),
    ("word", ["heart"], 5, r"embeddings are \[7, 3\], expected \[7, 5\]"),
    ("word", ["zebra", "Heart"], 3, "none of the tokenizer's 5 words is among the 2 word vectors"),
  ],
)
def test_vectors_that_do_not_fit_are_refused(kind, words, dim, message):
  params = initial(recurrent())
  with pytest.raises(UserError, match=message) as caught:
    into_encoder(params, random_vectors(words, dim), tokenizer(kind))
  assert "\n" not in str(caught.value)


def test_embeddings_of_another_tokenizer_are_refused():
  other = TextTokenizer.train([*CAPTIONS, "zebra"], vocab_size=20, max_length=4, kind="word")
  with pytest.raises(UserError, match=r"embeddings are \[7, 3\], expected \[8, 3\]"):
    into_encoder(initial(recurrent()), random_vectors(["heart"], 3), other)
