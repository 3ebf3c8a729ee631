"""Word vectors learnt from captions: skip-gram and CBOW with negative sampling.

Mikolov et al. 2013, arXiv 1310.4546 (negative sampling, subsampling) and arXiv 1301.3781 (the two
models, the windows).
"""

import dataclasses
import functools
import itertools
import logging
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Float, Float64, Int, Int32

from jaxt2i.data.text import PAD, UNK, TextTokenizer
from jaxt2i.errors import UsageError, UserError
from jaxt2i.metrics import Mean
from jaxt2i.types import Array
from jaxt2i.word_vectors import WordVectors

logger = logging.getLogger(__name__)

KINDS = ("skipgram", "cbow")
_MOST = 256  # examples a step
_SHARED = 64  # negatives a step
_CHUNK = 128  # steps a compiled scan: all of one length, so that there is one to compile


@dataclasses.dataclass(frozen=True)
class Options:
  """What to learn, and how.

  Attributes:
    kind: "skipgram", a word predicts each of its context; "cbow", their mean predicts the word.
    dim: D.
    vocab_size: upper bound of `TextTokenizer`, which keeps the most frequent words; 8 or more.
    window: words to either side that are context; as many as that, or fewer by chance.
    negatives: k of eq. 4.
    subsample: t of eq. 5, from above 0 (words are left out) to 1 (none is).
    epochs: times that all captions are read.
    learning_rate: of the first step; falls linearly to 0.
    seed: of all that is random.
  """

  kind: str = "skipgram"
  dim: int = 64
  vocab_size: int = 10_000
  window: int = 5
  negatives: int = 5
  subsample: float = 1e-3
  epochs: int = 20
  learning_rate: float = 0.025
  seed: int = 0

  def __post_init__(self) -> None:
    if self.kind not in KINDS:
      raise UsageError(f"kind is {self.kind!r}: must be {' or '.join(map(repr, KINDS))}.")
    for name in ("dim", "window", "negatives", "epochs"):
      if getattr(self, name) < 1:
        raise UsageError(f"{name} is {getattr(self, name)}: must be 1 or more.")
    if self.seed < 0:
      raise UsageError(f"seed is {self.seed}: must be 0 or more.")
    if not 0 < self.subsample <= 1:
      raise UsageError(f"subsample is {self.subsample}: must be above 0, and 1 at most.")
    if not 0 < self.learning_rate < float("inf"):
      raise UsageError(f"learning_rate is {self.learning_rate}: must be above 0.")


class Tables(struct.PyTreeNode):
  """The two vectors of each id; those of padding and of the unknown word are not learnt."""

  inputs: Array  # [V, D]; the word vectors
  outputs: Array  # [V, D]


class Examples(struct.PyTreeNode):
  """What predicts what: the mean of the inputs the target. Ids; an example of PAD alone is none."""

  inputs: Int[Array | np.ndarray, "*n C"]
  targets: Int[Array | np.ndarray, "*n"]


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
  """The words of all captions that are in the vocabulary, one after the other."""

  ids: Int32[np.ndarray, "w"]
  caption: Int32[np.ndarray, "w"]  # which one a word stands in
  counts: Int[np.ndarray, "V"]  # of each id

  @classmethod
  def of(cls, captions: Iterable[str], tokenizer: TextTokenizer) -> "Corpus":
    """Reads captions. Unknown words are left out: what they stood between becomes adjacent."""
    rows = [tokenizer.ids(caption) for caption in captions]
    ids = np.fromiter(itertools.chain.from_iterable(rows), np.int32)
    caption = np.repeat(np.arange(len(rows), dtype=np.int32), [len(row) for row in rows])
    known = ids > UNK
    counts = np.bincount(ids[known], minlength=tokenizer.vocab_size)
    return cls(ids[known], caption[known], counts)

  def kept(self, subsample: float) -> Float64[np.ndarray, "V"]:
    """Probability that an occurrence of each id is read.

    √(t/f) + t/f, from the authors' code, which reads somewhat more than eq. 5: √(t/f).
    """
    ratio = subsample * len(self.ids) / np.maximum(self.counts, 1)
    return np.minimum(1.0, np.sqrt(ratio) + ratio)

  @property
  def noise(self) -> Float64[np.ndarray, "V"]:
    """Probability of each id as a negative: in proportion to its count to the power of 3/4."""
    weight = self.counts**0.75
    return weight / weight.sum()

  def batch_size(self, options: Options) -> int:
    """Examples a step: a power of two, so few that no word moves too far in one.

    The authors' code learns from one example after the other. A step adds up the gradients of
    many, each as large, at where the vectors were before: the more of them share a word, the
    nearer to divergence. So the learning rate times the gradients that the most frequent word gets,
    as a target and as a negative, is 1 at most.
    """
    read = self.counts * self.kept(options.subsample)
    hits = (read / read.sum()).max() + options.negatives * self.noise.max()
    most = min(_MOST, max(1.0, 1 / (options.learning_rate * hits)))
    return 2 ** int(np.log2(most))

  def examples(self, options: Options, rng: np.random.Generator) -> Examples:
    """Those of one epoch, in an order of chance: inputs [n, 1] (skip-gram) or [n, 2 window]."""
    kept = rng.random(len(self.ids)) < self.kept(options.subsample)[self.ids]
    ids, caption = self.ids[kept], self.caption[kept]
    reach = rng.integers(1, options.window + 1, len(ids))  # nearer words count more
    contexts = np.full((len(ids), 2 * options.window), PAD, np.int32)
    offsets = [o for o in range(-options.window, options.window + 1) if o]
    for column, offset in enumerate(offsets):
      near = np.flatnonzero(reach >= abs(offset))
      near = near[(near + offset >= 0) & (near + offset < len(ids))]
      near = near[caption[near] == caption[near + offset]]
      contexts[near, column] = ids[near + offset]
    if options.kind == "skipgram":
      row, place = np.nonzero(contexts)
      inputs, targets = ids[row, None], contexts[row, place]
    else:
      row = np.flatnonzero(contexts.any(axis=1))
      inputs, targets = contexts[row], ids[row]
    order = rng.permutation(len(targets))
    return Examples(inputs[order], targets[order])


def train(captions: Iterable[str], options: Options) -> WordVectors:
  """Learns a vector of every word of the vocabulary; the same arguments give the same vectors.

  Args:
    captions: of the training split only.
    options: see there.

  Raises:
    UserError: no two words of the vocabulary ever stand in one caption, or the vectors grow
      beyond all bounds.
  """
  captions = sorted(captions)  # like the vocabulary: their order does not matter
  tokenizer = TextTokenizer.train(
    captions, vocab_size=options.vocab_size, max_length=1, kind="word"
  )
  corpus = Corpus.of(captions, tokenizer)
  if not np.any(corpus.caption[1:] == corpus.caption[:-1]):
    raise UserError("no caption has two words: word vectors need words beside each other")
  rng = np.random.default_rng(options.seed)
  shape = (tokenizer.vocab_size, options.dim)
  # As in the authors' code: at first the outputs are 0, so every probability is a half.
  start = (rng.random(shape, np.float32) - 0.5) / options.dim
  tables = Tables(jnp.asarray(start), jnp.zeros(shape, jnp.float32))
  for epoch in range(options.epochs):
    mean = Mean.of(jnp.zeros(0))
    for steps in epoch_steps(corpus, epoch, options, rng):
      tables, part = descend(tables, *steps, options.negatives)
      mean += part
    if mean.weight:  # else subsampling left no two words side by side
      logger.info(f"epoch {epoch + 1}/{options.epochs}  loss {float(mean.compute()):.4f}")
  vectors = np.asarray(tables.inputs)[UNK + 1 :]
  if not np.isfinite(vectors).all():
    raise UserError(
      f"the word vectors are not finite at learning_rate {options.learning_rate}: lower it"
    )
  return WordVectors(tokenizer.vocabulary[UNK + 1 :], vectors)


def loss(
  inputs: Float[Array, "B C D"],
  present: Float[Array, "B C"],
  targets: Float[Array, "B D"],
  negatives: Float[Array, "M D"],
  k: int,
) -> Float[Array, ""]:
  """The negative of eq. 4, summed over examples.

  Its k negatives of an example's own are here all M of the step at a weight of k/M: the same in
  expectation, but a matrix product (as in arXiv 1604.04661, which shares them within a window). As
  in eq. 4, and other than in the authors' code, one that happens to be the target counts as well.

  Args:
    inputs: input vectors of each example, whose mean predicts.
    present: 1 where there is an input, else 0; an example without any counts nothing.
    targets: output vectors of what is predicted.
    negatives: output vectors of words drawn by chance.
    k: negatives an example.
  """
  number = jnp.sum(present, axis=1)
  # The gradient of this mean reaches each input at 1/number, unlike in the authors' code
  # (arXiv 2012.15332).
  hidden = jnp.einsum("bcd,bc->bd", inputs, present) / jnp.maximum(number, 1)[:, None]
  positive = jax.nn.log_sigmoid(jnp.sum(hidden * targets, axis=1))
  negative = jax.nn.log_sigmoid(-hidden @ negatives.T)
  each = positive + k / negatives.shape[0] * jnp.sum(negative, axis=1)
  return -jnp.sum(jnp.where(number > 0, each, 0))


@functools.partial(jax.jit, static_argnames="k", donate_argnames="tables")
def descend(
  tables: Tables,
  examples: Examples,
  negatives: Int[Array | np.ndarray, "S M"],
  rates: Float[Array | np.ndarray, " S"],
  k: int,
) -> tuple[Tables, Mean]:
  """S steps of gradient descent; the new tables and the mean loss of the examples.

  Args:
    tables: their buffers are reused.
    examples: inputs [S, B, C], targets [S, B].
    negatives: ids.
    rates: learning rate of each step, of a gradient summed over examples.
    k: negatives an example.
  """

  def step(tables: Tables, given: tuple[Examples, Any, Any]) -> tuple[Tables, Array]:
    each, drawn, rate = given
    present = (each.inputs != PAD).astype(jnp.float32)
    rows = tables.inputs[each.inputs], tables.outputs[each.targets], tables.outputs[drawn]
    of_rows = lambda inputs, targets, drawn: loss(inputs, present, targets, drawn, k)
    value, (inputs, targets, shared) = jax.value_and_grad(of_rows, argnums=(0, 1, 2))(*rows)
    # Only rows that took part are touched; one that occurs twice gets both gradients.
    outputs = tables.outputs.at[each.targets].add(-rate * targets).at[drawn].add(-rate * shared)
    return Tables(tables.inputs.at[each.inputs].add(-rate * inputs), outputs), value

  tables, losses = jax.lax.scan(step, tables, (examples, negatives, rates))
  number = jnp.sum(jnp.any(examples.inputs != PAD, axis=-1), dtype=jnp.int32)
  return tables, Mean(total=jnp.sum(losses), weight=number.astype(jnp.float32))


def epoch_steps(
  corpus: Corpus, epoch: int, options: Options, rng: np.random.Generator
) -> Iterator[tuple[Examples, np.ndarray, np.ndarray]]:
  """An epoch's examples, negatives and learning rates, as many steps at a time as are compiled.

  The last steps are filled up with PAD.
  """
  examples = corpus.examples(options, rng)
  batch = corpus.batch_size(options)
  batches = -(-len(examples.targets) // batch)
  steps = -(-batches // _CHUNK) * _CHUNK
  missing = steps * batch - len(examples.targets)
  inputs = np.pad(examples.inputs, ((0, missing), (0, 0)), constant_values=PAD)
  targets = np.pad(examples.targets, (0, missing), constant_values=PAD)
  drawn = np.searchsorted(np.cumsum(corpus.noise), rng.random((steps, _SHARED)), side="right")
  negatives = np.minimum(drawn, len(corpus.noise) - 1).astype(np.int32)  # the sum is 1 but rounded
  done = (epoch + np.arange(steps) / max(1, batches)) / options.epochs
  rates = (options.learning_rate * np.maximum(0, 1 - done)).astype(np.float32)
  for start in range(0, steps, _CHUNK):
    part = slice(start, start + _CHUNK)
    cut = slice(start * batch, (start + _CHUNK) * batch)
    shaped = Examples(inputs[cut].reshape(_CHUNK, batch, -1), targets[cut].reshape(_CHUNK, batch))
    yield shaped, negatives[part], rates[part]
