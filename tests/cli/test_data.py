"""`jaxt2i data`: prepare, split and check from the command line."""

import json
import subprocess
import sys

import pytest

from jaxt2i import cli
from jaxt2i.data import load, preparing, split_files
from jaxt2i.lock import WorkdirLock
from tests.photos import digests, encoded, photo


def make_photos(folder, num=12, *, spoilt=0):
  """Photos with a caption file, some of them no photos; one without captions, one missing."""
  folder.mkdir()
  for i in range(num):
    data = b"<html>" if i < spoilt else encoded(photo(i), "JPEG")
    (folder / f"{i:02d}.jpg").write_bytes(data)
  lines = [f"{i:02d}.jpg,caption {i}-{k}" for i in range(num) for k in range(3)]
  (folder / "alone.jpg").write_bytes(encoded(photo(99)))
  lines += ["missing.jpg,a photo that is not there", "00.jpg, "]
  (folder / "captions.txt").write_text("\n".join(["image,caption", *lines]) + "\n")
  return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  return make_photos(tmp_path_factory.mktemp("source") / "photos")


def data(*arguments) -> int:
  return cli.main(["data", *map(str, arguments)])


def prepare(photos, out, *more) -> int:
  arguments = ["--format=captions", f"--src={photos}", f"--out={out}"]
  return data("prepare", *arguments, "--sizes=16,8", "--workers=1", *more)


@pytest.fixture(scope="module")
def prepared(photos, tmp_path_factory):
  """Data that a test must not change."""
  out = tmp_path_factory.mktemp("prepared") / "data"
  assert prepare(photos, out) == 0
  return out


def one_error_line(capsys) -> str:
  captured = capsys.readouterr()
  lines = [line for line in captured.err.splitlines() if line]
  (line,) = [line for line in lines if not line.startswith("preparing:")]
  assert line.startswith("jaxt2i: error: ")
  return line


def test_prepare_split_check(photos, tmp_path, capsys):
  out = tmp_path / "new" / "folder"
  assert prepare(photos, out, "--fit=crop") == 0
  captured = capsys.readouterr()
  assert "12/12" in captured.err  # the progress bar
  assert "warning: 1 images without a caption; left out: alone.jpg\n" in captured.out
  assert "warning: 1 photos are named by 1 captions but absent; left out: missing.jpg" in (
    captured.out
  )
  assert "warning: 1 captions or files left out: empty\n" in captured.out
  assert captured.out.endswith(f"sound: training on it is fine\nreport: {out}/check.json\n")
  assert json.loads((out / "check.json").read_text())["sound"] is True
  assert not (out / "lock").exists()
  info = json.loads((out / "manifest.json").read_text())["info"]
  options = {"src": str(photos)}
  assert info == {"name": "captions", "options": options, "terms": "", "fit": "crop"}
  sizes = [
    len(load(name, name="prepared", path=str(out), image_size=8, protocol="image"))
    for name in ("train", "val", "test")
  ]
  assert sum(sizes) == 12
  assert min(sizes) > 0

  assert data("split", f"--data={out}", "--protocol=caption") == 0
  text = capsys.readouterr().out
  assert text.startswith("split by caption: train 12 (")
  assert "test 12 (12 captions)" in text
  assert "share their images" in text
  assert data("check", f"--data={out}", f"--json={tmp_path / 'report.json'}") == 0
  assert f"report: {tmp_path / 'report.json'}\n" in capsys.readouterr().out
  report = json.loads((tmp_path / "report.json").read_text())
  assert report["counts"]["caption: test"] == "12 images, 12 captions"
  assert [f["level"] for f in report["findings"]] == ["warning"] * 3 + ["note"]


def test_prepare_again_changes_nothing(photos, tmp_path):
  out = tmp_path / "data"
  assert prepare(photos, out) == 0
  assert data("split", f"--data={out}", "--protocol=kfold:0/2") == 0
  before = digests(out)
  assert prepare(photos, out) == 0
  assert split_files.protocols(out) == ["image", "kfold:0/2"]
  del before["check.json"]  # now it knows of another protocol
  assert before.items() <= digests(out).items()


def test_a_process_of_its_own(photos, prepared, tmp_path):
  out = tmp_path / "data"
  command = [sys.executable, "-m", "jaxt2i.cli", "data", "prepare", "--format=captions"]
  command += [f"--src={photos}", f"--out={out}", "--sizes=16,8", "--workers=2"]
  subprocess.run(command, check=True, capture_output=True)
  assert digests(out) == digests(prepared)
  failed = subprocess.run([*command, "--fit=stretch"], check=False, capture_output=True, text=True)
  assert failed.returncode == 1
  assert failed.stdout == ""
  assert failed.stderr.startswith("jaxt2i: error: ")
  assert failed.stderr.count("\n") == 1


def test_check_without_preparing(photos, tmp_path, capsys):
  before = digests(photos)
  report = tmp_path / "report.json"
  assert data("check", "--format=captions", f"--src={photos}", f"--json={report}") == 0
  assert "image sizes" in capsys.readouterr().out
  assert json.loads(report.read_text())["counts"]["images"] == 12
  assert digests(photos) == before


def test_unsound_data(tmp_path, capsys):
  photos = make_photos(tmp_path / "photos", spoilt=2)
  assert prepare(photos, tmp_path / "data") == 1
  line = one_error_line(capsys)
  assert "2 of the 12 images cannot be decoded" in line
  assert "00.jpg (no image of a known format; it begins with b'<html>'), 01.jpg (" in line
  assert data("check", "--format=captions", f"--src={photos}") == 1
  text = capsys.readouterr().out
  assert "error: 2 unreadable images left out: 00.jpg (no image" in text
  assert "NOT SOUND" in text
  assert prepare(photos, tmp_path / "data", "--max_bad=0.2") == 0  # who allows it has looked
  assert json.loads((tmp_path / "data" / "check.json").read_text())["sound"] is True
  assert data("check", f"--data={tmp_path / 'data'}") == 1


def test_a_misspelt_option_of_an_action(capsys):
  assert data("prepare", "--format=captions", "--src=x", "--out=y", "--size=64") == 2
  line = one_error_line(capsys)
  assert "--size=64; did you mean '--sizes'?" in line
  assert "`jaxt2i data prepare --help`" in line


def test_damaged_data(photos, tmp_path, capsys):
  out = tmp_path / "data"
  assert prepare(photos, out) == 0
  path = out / "8" / "00000.array_record"
  content = bytearray(path.read_bytes())
  content[-100] ^= 4
  path.write_bytes(content)
  capsys.readouterr()
  assert data("check", f"--data={out}") == 1
  assert "error: 1 files are damaged or missing" in capsys.readouterr().out


def test_killed_between_the_data_and_the_split(photos, tmp_path):
  out = tmp_path / "data"
  assert prepare(photos, out) == 0
  before = digests(out)
  (out / "check.json").unlink()
  (out / "splits" / "image").rename(out / "splits" / "image.partial")
  assert prepare(photos, out) == 0
  assert digests(out) == before


def test_one_process_a_folder(photos, tmp_path, capsys):
  lock = WorkdirLock(tmp_path)
  lock.acquire()
  assert prepare(photos, tmp_path) == 1
  assert "is in use by process" in one_error_line(capsys)
  lock.release()
  assert list(tmp_path.iterdir()) == []


def test_interrupted_the_folder_is_free_again(photos, tmp_path, monkeypatch):
  def interrupted(*args, **kwargs):
    assert (tmp_path / "lock").exists()
    raise KeyboardInterrupt

  monkeypatch.setattr(preparing, "prepare", interrupted)
  assert prepare(photos, tmp_path) == 130
  assert not (tmp_path / "lock").exists()


SOURCE = ["--format=captions", "--src=SRC"]
PREPARE = ["prepare", *SOURCE, "--out=OUT", "--workers=1"]


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    ([], "required: prepare|split|check|explore"),
    (["prepair"], "'prepair'"),
    (["prepare", "--out=OUT"], "--format, --src"),
    (["prepare", *SOURCE], "--out"),
    ([*PREPARE, "--sizes=big"], "--sizes is 'big'"),
    ([*PREPARE, "--sizes=64,"], "--sizes is '64,'"),
    ([*PREPARE, "--sizes=4"], "from 8 to 1024"),
    ([*PREPARE, "--fit=squash"], "letterbox, crop, stretch"),
    ([*PREPARE, "--max_bad=2"], "a share from 0 to 1"),
    ([*PREPARE, "--max_bad=few"], "'few'"),
    ([*PREPARE, "--workers=0"], "--workers is 0"),
    ([*PREPARE, "--size=64"], "--size=64"),
    ([*PREPARE, "--template=a {}"], "has no option 'template'"),
    (["prepare", "--format=caption", "--src=SRC", "--out=OUT"], "did you mean 'captions'"),
    (["split", "--data=DATA"], "--protocol"),
    (["split", "--data=DATA", "--protocol=imgae"], "expected image, caption or kfold:k/n"),
    (["split", "--data=DATA", "--protocol=kfold:5/5"], "with k below n"),
    (["check"], "either --data, or --format and --src"),
    (["check", "--format=captions"], "either --data, or --format and --src"),
    (["check", "--data=DATA", *SOURCE], "either --data, or --format and --src"),
    (["check", "--data=DATA", "--src=SRC"], "either --data, or --format and --src"),
    (["check", "--data=DATA", "--template={}"], "either --data, or --format and --src"),
  ],
)
def test_usage(photos, prepared, tmp_path, capsys, arguments, words):
  before = digests(prepared)
  places = {"SRC": photos, "OUT": tmp_path / "out", "DATA": prepared}
  for place, path in places.items():
    arguments = [argument.replace(f"={place}", f"={path}") for argument in arguments]
  assert data(*arguments) == 2
  assert words in one_error_line(capsys)
  assert not (tmp_path / "out").exists()
  assert digests(prepared) == before


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["prepare", "--format=captions", "--src=NO", "--out=OUT"], "does not exist"),
    (["prepare", *SOURCE, "--out=SRC"], "has other files in it: choose another --out"),
    (["prepare", *SOURCE, "--out=SRC/captions.txt"], "choose another folder"),
    (["split", "--data=NO", "--protocol=image"], "no usable prepared data"),
    (["split", "--data=DATA", "--protocol=kfold:1/500"], "fold 1 of 500 is empty"),
    (["check", "--data=NO"], "no usable prepared data"),
    (["check", "--data=DATA", "--json=NO/report.json"], "cannot write"),
  ],
)
def test_failures(photos, prepared, tmp_path, capsys, arguments, words):
  before = digests(prepared), digests(photos)
  places = {"SRC": photos, "OUT": tmp_path / "out", "DATA": prepared, "NO": tmp_path / "no"}
  for place, path in places.items():
    arguments = [argument.replace(f"={place}", f"={path}") for argument in arguments]
  assert data(*arguments) == 1
  assert words in one_error_line(capsys)
  assert not (tmp_path / "out").exists()
  assert (digests(prepared), digests(photos)) == before
