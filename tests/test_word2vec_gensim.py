"""Our word2vec against gensim's, which is as near to itself as two seeds let it be."""

import dataclasses
import gzip

import numpy as np
import pytest

from jaxt2i.data.text import UNK, TextTokenizer
from jaxt2i.word2vec import Options, train
from jaxt2i.word_vectors import WordVectors
from tests.toy_captions import GROUPS, grouped_captions

gensim_models = pytest.importorskip("gensim.models", reason="gensim is no dependency of any extra")

TOY = Options(dim=16, window=1, subsample=1.0, epochs=8, learning_rate=0.05)
NEAREST = 10


def gensim_train(captions, options):
  """The same words, options and order of words in the result."""
  tokenizer = TextTokenizer.train(
    captions, vocab_size=options.vocab_size, max_length=1, kind="word"
  )
  words = tokenizer.vocabulary
  model = gensim_models.Word2Vec(
    [[words[i] for i in tokenizer.ids(caption) if i > UNK] for caption in captions],
    vector_size=options.dim,
    window=options.window,
    negative=options.negatives,
    sample=options.subsample if options.subsample < 1 else 0,
    epochs=options.epochs,
    alpha=options.learning_rate,
    sg=int(options.kind == "skipgram"),
    seed=options.seed,
    min_count=1,
    workers=1,
  )
  kept = words[UNK + 1 :]
  return WordVectors(kept, np.stack([model.wv[word] for word in kept]))


def agreement(a, b, num):
  """Of the `num` most frequent words: correlation of all cosines, share of common neighbours."""
  assert a.words == b.words
  cosines, near = [], []
  for vectors in (a, b):
    rows = vectors.vectors[:num].astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    square = rows @ rows.T
    cosines.append(square[np.triu_indices(num, 1)])
    np.fill_diagonal(square, -2)
    near.append(np.argsort(-square, axis=1)[:, :NEAREST])
  overlap = [len(set(x) & set(y)) / NEAREST for x, y in zip(*near, strict=True)]
  return np.corrcoef(*cosines)[0, 1], np.mean(overlap)


@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_groups_of_words_are_found_by_both(kind):
  captions = grouped_captions(2000)
  options = dataclasses.replace(TOY, kind=kind)
  ours, theirs = train(captions, options), gensim_train(captions, options)
  for vectors in (ours, theirs):
    for group in GROUPS:
      for word in group:
        assert {other for other, _ in vectors.neighbours(word, 3)} == set(group) - {word}
  correlation, _ = agreement(ours, theirs, len(ours.words))
  assert correlation > 0.95


# gensim adds the whole gradient of a mean to each of its words, as the authors' code does; ours is
# shared among them (see `loss`), which is like a lower learning rate.
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "least"), [("skipgram", 0.95), ("cbow", 0.65)])
def test_words_of_photo_captions_have_the_same_neighbours(kind, least, shared_data):
  path = shared_data / "flickr8k" / "Flickr8k.token.all-but-heldout.txt.gz"
  with gzip.open(path, "rt", encoding="utf-8") as file:
    captions = [line.rstrip("\n").split("\t")[1] for line in file]
  options = Options(kind=kind, vocab_size=4000, epochs=8)
  theirs = gensim_train(captions, options)
  found = agreement(theirs, train(captions, options), 1000)
  ceiling = agreement(theirs, gensim_train(captions, dataclasses.replace(options, seed=1)), 1000)
  for ours, between_seeds in zip(found, ceiling, strict=True):
    assert ours > least * between_seeds
