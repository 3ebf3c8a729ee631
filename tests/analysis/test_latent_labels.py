"""Labels: which there are, clusters and probes against planted truths and chance."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from jaxt2i.analysis import latent_clusters, latent_labels
from jaxt2i.analysis.latent_goals import LatentGoals, judge
from jaxt2i.analysis.latent_set import labels
from jaxt2i.analysis.measures import intervals, values
from jaxt2i.data.records import Record
from tests.analysis.latent_sets import latent_set

RNG = np.random.default_rng


def value(section, name):
  return next(m.value for m in section.measures if m.name == name)


def records(*attributes):
  return [Record(str(i), np.zeros((1, 1, 3), np.uint8), ("",), a) for i, a in enumerate(attributes)]


def planted(seed, images=90):
  """The first token of an image is its class; "coin" is in nothing."""
  rng = RNG(seed)
  classes = rng.integers(3, size=images)
  tokens = rng.integers(3, 12, size=(images, 3, 3))
  tokens[:, 0, 0] = classes
  attributes = [{"class": "abc"[c], "coin": int(rng.integers(2))} for c in classes]
  codes = RNG(0).normal(size=(12, 4))
  return latent_set(tokens, codes, attributes=attributes)


def test_labels_are_attributes_with_a_few_classes():
  rows = [
    {
      "kind": "cat" if i % 2 else "dog",
      "first": {"colour": ["red", "blue"][i % 2], "centre": [1.0, 2.0]},
      "rare": "often" if i else "once",
      "number": i,
      "flag": i % 4 == 0,
      "same": "same",
      "share": i / 7,
      **({"some": "ab"[i % 2]} if i < 12 else {}),
    }
    for i in range(40)
  ]
  found = labels(records(*rows))
  assert list(found) == ["first.colour", "flag", "kind", "some"]
  assert found["kind"] == ("dog", "cat") * 20
  assert found["some"] == ("a", "b") * 6 + ("",) * 28
  assert set(found["flag"]) == {"True", "False"}


def test_rare_classes_count_as_lacking():
  rows = [{"kind": kind} for kind in ["a"] * 6 + ["b"] * 5 + ["c"] * 4]
  assert labels(records(*rows))["kind"] == ("a",) * 6 + ("b",) * 5 + ("",) * 4


def test_a_planted_label_is_read_and_chance_is_not():
  section = latent_labels.measure(planted(1), planted(2, 400))
  assert value(section, "probe.class") > 0.9
  assert value(section, "probe_chance.class") == pytest.approx(1 / 3, abs=0.12)
  # The pictures are black: pixels tell nothing.
  assert value(section, "probe_pixels.class") == value(section, "probe_chance.class")
  low, high = next(m.interval for m in section.measures if m.name == "probe.coin")
  assert low < 0.5 < high
  probes = section.tables["probes"]
  skills = [(p["right"] - p["chance"]) / (1 - p["chance"]) for p in probes.values()]
  assert value(section, "organised") == pytest.approx(np.mean(skills))
  low, high = next(m.interval for m in section.measures if m.name == "organised")
  assert low < value(section, "organised") < high
  assert "“class”" in section.answer
  assert probes["class"]["images"] == 90


def test_clusters_of_separate_classes_are_the_classes():
  rng = RNG(0)
  truth = rng.integers(3, size=60)
  rows = 10 * np.eye(3)[truth] + rng.normal(size=(60, 3))
  assert adjusted_rand_score(truth, latent_clusters.clusters(rows, 3)) == 1


def test_agreement_by_chance_is_told_beside_it():
  section = latent_labels.measure(planted(1), planted(2))
  measure = next(m for m in section.measures if m.name == "nmi.coin")
  assert measure.value < 0.05
  assert "by chance 0.0" in measure.means
  assert abs(value(section, "ari.coin")) < 0.05


def test_images_without_the_label_are_left_out():
  found, train = planted(1), planted(2, 400)
  rows = [dict(record.attributes) for record in found.records]
  for row in rows[:30]:
    del row["class"]
  some = latent_set(found.tokens, found.codes, attributes=rows)
  assert latent_labels.measure(some, train).tables["probes"]["class"]["images"] == 60


def test_a_label_that_training_lacks_has_no_probe():
  found = planted(1)
  train = latent_set(found.tokens, found.codes)
  section = latent_labels.measure(found, train)
  assert not [m for m in section.measures if m.name.startswith(("probe", "organised"))]
  assert "no class of them is common enough in training" in section.answer


def captioned_set(rng, classes, words):
  """Grids of nine random tokens but the first three, which tell the class."""
  tokens = rng.integers(3, 12, size=(len(classes), 3, 3))
  tokens[:, 0] = classes[:, None]
  codes = np.concatenate([8 * np.eye(3, 4), RNG(0).normal(size=(9, 4))])
  return latent_set(tokens, codes, captions=[f"a {word}" for word in words])


def test_without_labels_clusters_are_compared_with_words():
  rng = RNG(5)
  classes = rng.integers(3, size=90)
  found = captioned_set(rng, classes, np.array(["cat", "dog", "boat"])[classes])
  section = latent_labels.measure(found, found)
  assert "the data has no labels" in section.answer
  assert "100% of 3 words" in section.answer
  assert "100% of which have “" in section.answer
  assert value(section, "cluster_words") == 1
  # No clusters tell more of a word than there is to know.
  most = max(_entropy(np.mean(classes == k)) for k in range(3))
  assert value(section, "cluster_floor_bits") < value(section, "cluster_largest_bits") <= most
  assert "Do codes mean what words say?" in section.notes[0]
  assert not [m for m in section.measures if m.name == "organised"]
  (verdict,) = judge(LatentGoals(organised=0.5), values([section]), intervals([section]))
  assert (verdict.measured, verdict.reached) == (None, None)


def _entropy(p):
  return float(-p * np.log2(p) - (1 - p) * np.log2(1 - p))


@pytest.mark.parametrize("seed", range(5))
def test_clusters_tell_nothing_of_unrelated_words(seed):
  rng = RNG(seed)
  some = rng.choice(["cat", "dog", "tree", "house", "boat"], 80)
  section = latent_labels.measure(*[captioned_set(rng, rng.integers(3, size=80), some)] * 2)
  # By chance one word in one of 20 such reports.
  assert value(section, "cluster_words") <= 1 / 5
  assert value(section, "cluster_largest_bits") < 1.5 * value(section, "cluster_floor_bits")


def test_without_labels_and_words_the_section_says_so():
  plain = latent_set(np.zeros((20, 2, 2), int), np.eye(2))
  section = latent_labels.measure(plain, plain)
  assert section.measures == ()
  assert "no labels" in section.answer
  assert "In their place: nothing, as no word of captions" in section.answer


def test_equal_latents_have_no_clusters():
  words = ["a cat", "a dog"] * 10
  same = latent_set(np.zeros((20, 2, 2), int), np.eye(2), captions=words)
  section = latent_labels.measure(same, same)
  assert section.measures == ()
  assert "all images have the same latents" in section.answer


def test_coarse_pictures_are_means_of_squares():
  images = RNG(0).integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
  found = latent_labels.coarse(images, 4).reshape(2, 2, 2, 3)
  np.testing.assert_allclose(found[1, 0, 1], images[1, :4, 4:].mean(axis=(0, 1)) / 255)
