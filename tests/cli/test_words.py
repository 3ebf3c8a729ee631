"""`jaxt2i words`: vectors from a text file and from prepared data, neighbours, mistakes."""

import numpy as np
import pytest

from jaxt2i import cli
from jaxt2i.word_vectors import WordVectors
from tests.analysis.sets import prepare, save_photos
from tests.toy_captions import GROUPS, grouped_captions

QUICK = ("--epochs=8", "--dim=16", "--window=1", "--subsample=1", "--learning_rate=0.05")


def words(*arguments: str) -> int:
  return cli.main(["words", *arguments])


def neighbours_shown(line: str) -> dict[str, float]:
  _, *near = line.split()
  return dict(zip(near[::2], map(float, near[1::2]), strict=True))


def one_error_line(capsys) -> str:
  captured = capsys.readouterr()
  assert captured.out == ""
  assert captured.err.startswith("jaxt2i: error: ")
  assert captured.err.count("\n") == 1
  return captured.err


def test_vectors_of_a_text_file_and_their_neighbours(tmp_path, capsys):
  captions, out = tmp_path / "captions.txt", tmp_path / "v.txt"
  captions.write_text("\n".join(grouped_captions(2000)), encoding="utf-8")
  assert words("train", f"--captions={captions}", f"--out={out}", "--n=3", *QUICK) == 0
  first, *lines = capsys.readouterr().out.splitlines()
  assert first == f"16 words of 2,000 captions: {out}"
  vectors = WordVectors.load(out)
  assert vectors.vectors.shape == (16, 16)
  assert [line.split()[0] for line in lines] == list(vectors.words[:10])

  assert words("neighbours", f"--vectors={out}", "--n=3", "dog", "red") == 0
  dog, red = capsys.readouterr().out.splitlines()
  assert neighbours_shown(dog).keys() == {"cat", "horse", "bird"}
  assert neighbours_shown(red).keys() == set(GROUPS[2]) - {"red"}
  expected = {word: round(cosine, 2) for word, cosine in vectors.neighbours("dog", 3)}
  assert neighbours_shown(dog) == pytest.approx(expected)


def test_captions_of_the_training_split_alone(tmp_path, capsys):
  photos = {f"{i}.png": (32, 32, [f"word{i} beside thing{i}"]) for i in range(30)}
  data = prepare(save_photos(tmp_path / "src", photos), tmp_path / "data")
  out = tmp_path / "v.txt"
  assert words("train", f"--data={data}", f"--out={out}", "--epochs=1") == 0
  from jaxt2i.data.prepared import PreparedSource

  source = PreparedSource(data, "train", image_size=32, protocol="image")
  trained = {word for record in source for word in record.captions[0].split()}
  assert 0 < len(trained) < 61
  assert set(WordVectors.load(out).words) == trained
  capsys.readouterr()
  assert words("train", f"--data={data}", "--protocol=caption", f"--out={out}") == 1
  assert "has no splits by the protocol 'caption', only by image" in one_error_line(capsys)


def test_the_most_frequent_words_are_shown_that_mean_something(tmp_path, capsys):
  names = ("the", ".", "a", "dog", "x", "3", "cat")
  WordVectors(names, np.ones((7, 2), np.float32)).save(tmp_path / "v.txt")
  assert words("neighbours", f"--vectors={tmp_path / 'v.txt'}", "--n=2") == 0
  assert capsys.readouterr().out.splitlines() == ["dog  the 1.00  . 1.00", "cat  the 1.00  . 1.00"]


@pytest.mark.parametrize(
  ("arguments", "code", "message"),
  [
    (["train", "--out=v.txt"], 2, "give either --data or --captions"),
    (["train", "--out=v.txt", "--data=a", "--captions=b"], 2, "give either --data or --captions"),
    (["train", "--out=v.txt", "--captions=absent.txt"], 1, "cannot read --captions absent.txt: No"),
    (["train", "--out=v.txt", "--captions=bytes.txt"], 1, "--captions bytes.txt is not UTF-8"),
    (["train", "--out=v.txt", "--captions=c.txt", "--kind=x"], 2, "kind is 'x': must be"),
    (["train", "--out=v.txt", "--data=absent"], 1, "no usable prepared data in absent"),
    (["neighbours", "--vectors=absent.txt"], 1, "cannot read word vectors absent.txt"),
    (["neighbours", "--vectors=v2.txt", "reed"], 1, "no vector of 'reed'"),
    (["neighbours", "--vectors=v2.txt", "--n=0"], 2, "--n is 0: must be 1 or more"),
    (["neighbors"], 2, "invalid choice: 'neighbors'"),
  ],
)
def test_mistakes_are_one_line(arguments, code, message, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "bytes.txt").write_bytes(b"red\xff\n")
  (tmp_path / "c.txt").write_text("red heart\n")
  (tmp_path / "v2.txt").write_text("red 1 2\nblue 3 4\n")
  assert words(*arguments) == code
  assert message in one_error_line(capsys)
