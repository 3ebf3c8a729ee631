"""word2vec: examples by a loop, steps by the paper's formulas, the optimum in theory, groups."""

import collections
import dataclasses
import logging

import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i.data.text import PAD, UNK, TextTokenizer
from jaxt2i.errors import UsageError, UserError
from jaxt2i.word2vec import Corpus, Examples, Options, Tables, descend, epoch_steps, train
from tests.toy_captions import GROUPS, grouped_captions

OPTIONS = Options(kind="skipgram", dim=8, window=3, subsample=1.0, epochs=4, seed=3)
CAPTIONS = ["a b c d e f g", "h", "i j", "", "k l m zebra n o p"]


def corpus_of(captions, vocab_size=100):
  tokenizer = TextTokenizer.train(captions, vocab_size=vocab_size, max_length=1, kind="word")
  return Corpus.of(captions, tokenizer), tokenizer


def words_of(tokenizer, ids):
  return [tokenizer.vocabulary[i] for i in ids]


# --- examples ---


def test_a_corpus_is_the_known_words():
  captions = ["b a b", "rare a", "[PAD] b?", "c d e f " * 3]  # eight ids: six words are kept
  corpus, tokenizer = corpus_of(captions, vocab_size=8)
  assert tokenizer.vocabulary[2:] == ("b", "c", "d", "e", "f", "a")
  assert words_of(tokenizer, corpus.ids) == [*"baba", "b", *"cdefcdefcdef"]
  assert corpus.caption.tolist() == [0, 0, 0, 1, 2, *[3] * 12]
  assert corpus.counts.tolist() == [0, 0, 3, 3, 3, 3, 3, 2]


def contexts_found(examples, tokenizer, kind):
  """Word → the words it was an example with, in the order of the alphabet."""
  found = collections.defaultdict(list)
  for inputs, target in zip(examples.inputs, examples.targets, strict=True):
    names, name = words_of(tokenizer, inputs[inputs != PAD]), tokenizer.vocabulary[target]
    if kind == "skipgram":
      found[names[0]].append(name)
    else:
      assert names == sorted(names)  # from left to right
      found[name] += names
  return {word: "".join(sorted(context)) for word, context in found.items()}


@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_contexts_are_the_words_within_a_reach_of_chance_in_one_caption(kind):
  captions = [caption.replace(" zebra", "") for caption in CAPTIONS]  # each word once
  corpus, tokenizer = corpus_of(captions)
  options = dataclasses.replace(OPTIONS, kind=kind)
  reaches = collections.Counter()
  for seed in range(200):
    examples = corpus.examples(options, np.random.default_rng(seed))
    assert examples.inputs.shape == (len(examples.targets), 1 if kind == "skipgram" else 6)
    found = contexts_found(examples, tokenizer, kind)
    assert set(found) == set("abcdefgijklmnop")  # "h" stands alone
    for caption in captions:
      line = caption.replace(" ", "")
      for i, word in enumerate(line):
        around = [line[max(0, i - r) : i] + line[i + 1 : i + 1 + r] for r in (1, 2, 3)]
        assert found.get(word, "") in around
    reaches[len(found["d"]) // 2] += 1  # which has three words to either side
  assert set(reaches) == {1, 2, 3}
  assert all(abs(count - 200 / 3) < 30 for count in reaches.values())  # 4.5 σ


def test_an_order_of_chance():
  corpus, _ = corpus_of(CAPTIONS)
  places = {int(word): place for place, word in enumerate(corpus.ids)}  # each occurs once
  first, again, other = (
    [places[int(word)] for (word,) in corpus.examples(OPTIONS, np.random.default_rng(seed)).inputs]
    for seed in (0, 0, 1)
  )
  assert first == again
  assert first != other
  assert first != sorted(first)


def test_frequent_words_are_read_less_often():
  corpus, tokenizer = corpus_of(["the the the the the the the the cat sat"] * 100)
  the, cat = (tokenizer.vocabulary.index(word) for word in ("the", "cat"))
  kept = corpus.kept(0.05)
  assert kept[the] == pytest.approx(np.sqrt(0.05 / 0.8) + 0.05 / 0.8)
  assert kept[cat] == 1.0  # √(1/2) + 1/2
  np.testing.assert_array_equal(corpus.kept(1.0), 1.0)
  # In pairs of neighbours, with every word kept with its probability.
  options = dataclasses.replace(OPTIONS, kind="cbow", window=1, subsample=0.05)
  targets = np.concatenate(
    [corpus.examples(options, np.random.default_rng(seed)).targets for seed in range(20)]
  )
  share = np.mean(targets == the)
  assert share == pytest.approx(8 * kept[the] / (8 * kept[the] + 2), abs=0.02)


# --- the steps of an epoch ---


def steps_of(corpus, options, epoch=0, seed=0):
  return list(epoch_steps(corpus, epoch, options, np.random.default_rng(seed)))


def test_every_example_is_in_one_step():
  corpus, _ = corpus_of(grouped_captions(8000))
  rng = np.random.default_rng(0)
  expected = corpus.examples(OPTIONS, rng)
  chunks = steps_of(corpus, OPTIONS)
  assert len(chunks) > 1
  assert len({chunk[0].inputs.shape for chunk in chunks}) == 1  # one compilation
  inputs = np.concatenate([chunk[0].inputs.reshape(-1, 1) for chunk in chunks])
  targets = np.concatenate([chunk[0].targets.reshape(-1) for chunk in chunks])
  n = len(expected.targets)
  np.testing.assert_array_equal(inputs[:n], expected.inputs)
  np.testing.assert_array_equal(targets[:n], expected.targets)
  assert not inputs[n:].any()
  assert not targets[n:].any()


def test_negatives_are_drawn_by_count_to_the_three_quarters():
  corpus, _ = corpus_of(["a a a a a a a a a a a a a a a a b c c [PAD]"] * 1500)
  drawn = np.concatenate([chunk[1].reshape(-1) for chunk in steps_of(corpus, OPTIONS)])
  expected = corpus.counts**0.75 / np.sum(corpus.counts**0.75)
  share = np.bincount(drawn, minlength=len(expected)) / len(drawn)
  assert share[PAD] == share[UNK] == 0
  np.testing.assert_allclose(share, expected, atol=5 / np.sqrt(len(drawn)) / 2)


def test_the_learning_rate_falls_to_nothing_over_all_epochs():
  corpus, _ = corpus_of(grouped_captions(2000))
  examples = len(corpus.examples(OPTIONS, np.random.default_rng(0)).targets)
  rates = []
  for epoch in range(OPTIONS.epochs):
    of_epoch = np.concatenate([chunk[2] for chunk in steps_of(corpus, OPTIONS, epoch)])
    rates.append(of_epoch[: -(-examples // corpus.batch_size(OPTIONS))])
  rates = np.concatenate(rates)
  expected = OPTIONS.learning_rate * np.linspace(1, 0, len(rates), endpoint=False)
  np.testing.assert_allclose(rates, expected, rtol=1e-3, atol=1e-7)


def test_fewer_examples_a_step_the_more_of_them_share_a_word():
  corpus, _ = corpus_of(["a a a a a a a a b c"])
  assert corpus.counts.tolist() == [0, 0, 8, 1, 1]
  a = 8**0.75 / (8**0.75 + 2)
  np.testing.assert_allclose(corpus.noise, [0, 0, a, (1 - a) / 2, (1 - a) / 2])
  hits = 0.8 + 5 * a  # of "a", for each example
  for rate, batch in ((0.001, 128), (0.025, 8), (0.05, 4), (0.5, 1), (1e-6, 256)):
    options = dataclasses.replace(OPTIONS, learning_rate=rate)
    assert corpus.batch_size(options) == batch
    assert rate * batch * hits <= 1 or batch == 1
    for examples, _, _ in steps_of(corpus, options):
      assert examples.inputs.shape[1:] == (batch, 1)


# --- a step ---


def numpy_steps(inputs, outputs, examples, negatives, rates, k):
  """Gradient descent on eq. 4, an example, an input and a negative at a time."""
  inputs, outputs = inputs.astype(np.float64), outputs.astype(np.float64)
  sigmoid = lambda x: 1 / (1 + np.exp(-x))
  total, number = 0.0, 0
  for bags, targets, drawn, rate in zip(*examples, negatives, rates, strict=True):
    of_inputs, of_outputs = np.zeros_like(inputs), np.zeros_like(outputs)
    for bag, target in zip(bags, targets, strict=True):
      bag = [i for i in bag if i != PAD]
      if not bag:
        continue
      hidden = np.mean([inputs[i] for i in bag], axis=0)
      weighted = [(target, 1.0, 1.0), *((w, 0.0, k / len(drawn)) for w in drawn)]
      of_hidden = np.zeros_like(hidden)
      for word, label, weight in weighted:
        p = sigmoid(outputs[word] @ hidden)
        total -= weight * np.log(p if label else 1 - p)
        of_hidden += weight * (p - label) * outputs[word]
        of_outputs[word] += weight * (p - label) * hidden
      for i in bag:
        of_inputs[i] += of_hidden / len(bag)
      number += 1
    inputs, outputs = inputs - rate * of_inputs, outputs - rate * of_outputs
  return inputs, outputs, total / number


@pytest.mark.parametrize("columns", [1, 4])
def test_steps_follow_the_gradient_of_the_paper(columns):
  rng = np.random.default_rng(columns)
  vocab, steps, batch, shared, k = 7, 3, 6, 4, 3
  tables = [rng.normal(size=(vocab, 5)).astype(np.float32) for _ in range(2)]
  inputs = rng.integers(2, vocab, (steps, batch, columns)).astype(np.int32)  # some occur twice
  inputs[rng.random(inputs.shape) < 0.3] = PAD
  inputs[:, -1] = PAD
  targets = rng.integers(2, vocab, (steps, batch)).astype(np.int32)
  negatives = rng.integers(2, vocab, (steps, shared)).astype(np.int32)
  rates = np.array([0.3, 0.2, 0.1], np.float32)
  *expected, expected_loss = numpy_steps(*tables, (inputs, targets), negatives, rates, k)
  found, loss = descend(
    Tables(*map(jnp.asarray, tables)), Examples(inputs, targets), negatives, rates, k
  )
  np.testing.assert_allclose(found.inputs, expected[0], atol=1e-5)
  np.testing.assert_allclose(found.outputs, expected[1], atol=1e-5)
  assert float(loss.compute()) == pytest.approx(expected_loss, rel=1e-5)
  np.testing.assert_array_equal(np.asarray(found.inputs)[:2], tables[0][:2])  # PAD, UNK


def test_steps_end_at_the_shifted_mutual_information():
  """The optimum of Levy & Goldberg 2014, eq. 7: u·v = log(n(w,c) / (n(w) k P(c)))."""
  pairs = np.array([[5, 1, 2], [1, 4, 3], [2, 3, 6]])  # n(w, c)
  share, k = np.array([4, 2, 2]) / 8, 2
  words, contexts = (
    np.repeat(grid, pairs.reshape(-1)) for grid in np.indices(pairs.shape).reshape(2, 9)
  )
  steps = 4000
  rng = np.random.default_rng(0)
  tables = Tables(*(jnp.asarray(rng.normal(size=(5, 6)) * 0.3, jnp.float32) for _ in range(2)))
  tables, _ = descend(
    tables,
    Examples(
      np.tile(words[:, None] + 2, (steps, 1, 1)).astype(np.int32),
      np.tile(contexts + 2, (steps, 1)).astype(np.int32),
    ),
    np.tile(np.repeat([2, 3, 4], [4, 2, 2]), (steps, 1)).astype(np.int32),
    np.full(steps, 0.05, np.float32),
    k,
  )
  found = np.asarray(tables.inputs)[2:] @ np.asarray(tables.outputs)[2:].T
  expected = np.log(pairs / (pairs.sum(axis=1, keepdims=True) * k * share))
  np.testing.assert_allclose(found, expected, atol=1e-3)


# --- learning ---

LEARNING = Options(dim=16, window=1, subsample=1.0, epochs=8, learning_rate=0.05, seed=1)


@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_interchangeable_words_are_nearest_neighbours(kind):
  vectors = train(grouped_captions(2000), dataclasses.replace(LEARNING, kind=kind))
  assert set(vectors.words) == {word for group in GROUPS for word in group}
  for group in GROUPS:
    for word in group:
      near = {other for other, _ in vectors.neighbours(word, len(group) - 1)}
      assert near == set(group) - {word}


def test_the_same_seed_gives_the_same_vectors_whatever_the_order():
  captions = grouped_captions(200)
  options = dataclasses.replace(LEARNING, epochs=2)
  first = train(captions, options)
  again = train(iter(captions[::-1]), options)
  other = train(captions, dataclasses.replace(options, seed=2))
  assert first.words == again.words == other.words
  np.testing.assert_array_equal(first.vectors, again.vectors)
  assert np.abs(first.vectors - other.vectors).max() > 1e-3
  assert first.vectors.dtype == np.float32
  assert first.vectors.shape == (len(first.words), 16)


def test_the_loss_is_logged_and_falls_from_what_chance_costs(caplog):
  logged = {}
  for rate in (1e-6, LEARNING.learning_rate):
    caplog.clear()
    with caplog.at_level(logging.INFO, "jaxt2i.word2vec"):
      train(grouped_captions(400), dataclasses.replace(LEARNING, learning_rate=rate))
    assert [message.split()[1] for message in caplog.messages] == [f"{i}/8" for i in range(1, 9)]
    logged[rate] = [float(message.split()[-1]) for message in caplog.messages]
  # One word and five negatives at even odds.
  np.testing.assert_allclose(logged.pop(1e-6), 6 * np.log(2), rtol=1e-3)
  losses = logged.popitem()[1]
  assert losses[-1] < losses[0] < 6 * np.log(2)


def test_a_small_vocabulary_and_a_large_rate_do_not_diverge():
  vectors = train(
    grouped_captions(1000), dataclasses.replace(LEARNING, window=1, learning_rate=0.2)
  )
  assert np.abs(vectors.vectors).max() < 10


def test_vectors_that_diverge_are_refused():
  with pytest.raises(UserError, match=r"not finite at learning_rate 1e\+30: lower it"):
    train(grouped_captions(20), dataclasses.replace(LEARNING, learning_rate=1e30))


def test_an_epoch_may_leave_out_everything():
  vectors = train(["a b"], Options(subsample=1e-9, epochs=2))
  assert np.isfinite(vectors.vectors).all()


@pytest.mark.parametrize(
  ("captions", "message"),
  [
    ([], "no captions with words"),
    (["red", "blue", ""], "no caption has two words"),
  ],
)
def test_captions_without_pairs_are_refused(captions, message):
  with pytest.raises(UserError, match=message) as caught:
    train(captions, LEARNING)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("option", "message"),
  [
    ({"kind": "glove"}, "kind is 'glove': must be 'skipgram' or 'cbow'"),
    ({"dim": 0}, "dim is 0: must be 1 or more"),
    ({"window": 0}, "window is 0: must be 1"),
    ({"negatives": 0}, "negatives is 0: must be 1"),
    ({"epochs": 0}, "epochs is 0: must be 1"),
    ({"seed": -1}, "seed is -1: must be 0"),
    ({"subsample": 0.0}, "subsample is 0.0: must be above 0, and 1 at most"),
    ({"subsample": 2.0}, "subsample is 2.0"),
    ({"learning_rate": 0.0}, "learning_rate is 0.0: must be above 0"),
    ({"learning_rate": float("nan")}, "learning_rate is nan"),
  ],
)
def test_impossible_options_are_named(option, message):
  with pytest.raises(UsageError, match=message):
    Options(**option)
