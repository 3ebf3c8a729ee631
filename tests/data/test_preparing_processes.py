"""Preparing in processes: the same bytes however many there are and whoever is killed."""

import logging
import os
import resource
import signal
import subprocess
import sys
import time
import zlib
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from jaxt2i.data import prepared, preparing, processes, shards
from jaxt2i.data.listing import Entry, Listing
from jaxt2i.errors import UserError
from tests.photos import Deadly, digests, encoded, entries, photo, prepare_here

OPTIONS = preparing.Options((16, 8))


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
  monkeypatch.setattr(preparing, "_SHARD_IMAGES", 10)


def prepare(listing, out, workers=1, options=OPTIONS, run=None):
  run = run or partial(processes.run, workers=workers)
  return preparing.prepare(listing, out, options, info={"name": "x"}, run=run)


def uninterrupted(listing, out, options=OPTIONS) -> dict[str, str]:
  return digests(prepare_here(listing, out, options, name="x"))


@pytest.mark.parametrize("workers", [1, 2])
def test_the_bytes_do_not_depend_on_the_workers(tmp_path, capsys, workers):
  listing = Listing.of(entries(tmp_path / "photos", 25))
  finished = prepare(listing, tmp_path / "out", workers)
  assert [len(shard.images) for shard in finished] == [10, 10, 5]
  assert "25/25" in capsys.readouterr().err
  assert digests(tmp_path / "out") == uninterrupted(listing, tmp_path / "here")


def test_only_what_is_missing_is_made(tmp_path, caplog, capsys):
  listing = Listing.of(entries(tmp_path / "photos", 25))
  expected = uninterrupted(listing, tmp_path / "out")
  kept = tmp_path / "out" / "16" / "00000.array_record"
  os.utime(kept, (10**9, 10**9))
  (tmp_path / "out" / "manifest.json").unlink()
  (tmp_path / "out" / "8" / "00001.array_record").write_bytes(b"half of it")
  (tmp_path / "out" / "facts" / "00002.json").unlink()
  with caplog.at_level(logging.INFO):
    prepare(listing, tmp_path / "out")
  assert "going on: 1 of 3 shards are there" in caplog.text
  assert "25/25" in capsys.readouterr().err
  assert kept.stat().st_mtime == 10**9
  assert digests(tmp_path / "out") == expected
  assert len(prepare(listing, tmp_path / "out")) == 3  # nothing is missing now


def test_too_many_spoilt_images_stop_it(tmp_path):
  given = entries(tmp_path / "photos", 120)
  for one in given[:2]:
    Path(one.blob.path).write_bytes(b"<html>")
  with pytest.raises(UserError, match=r"2 of the 120 .*0000\.png \(no image.*0001\.jpg \(no image"):
    prepare(Listing.of(given), tmp_path / "out")
  assert not (tmp_path / "out" / "manifest.json").exists()
  assert len(shards.read_shard(tmp_path / "out", 0).bad) == 2

  def one_more(tasks, num_images):
    yield preparing.make_shard(tasks[0])
    raise AssertionError("went on")

  # Those that were found before count.
  with pytest.raises(UserError, match="2 of the 120"):
    prepare(Listing.of(given), tmp_path / "out", run=one_more)
  allowing = preparing.Options(OPTIONS.image_sizes, max_bad=0.02)
  prepare(Listing.of(given), tmp_path / "out", options=allowing)
  assert prepared.read_manifest(tmp_path / "out")["images"] == 118


def test_a_worker_that_is_killed(tmp_path):
  given = [*entries(tmp_path / "photos", 10), Entry("zz.jpg", Deadly(), ("a",))]
  with pytest.raises(UserError, match=r"killed or lacked memory: .* fewer --workers; what is"):
    prepare(Listing.of(given), tmp_path / "out")
  assert len(shards.read_shard(tmp_path / "out", 0).images) == 10
  assert shards.read_shard(tmp_path / "out", 1) is None


def test_a_full_disk(tmp_path):
  options = preparing.Options((256,))
  listing = Listing.of(entries(tmp_path / "photos", 20))
  limit = resource.getrlimit(resource.RLIMIT_FSIZE)
  try:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limit[1]))  # workers inherit it
    with pytest.raises(UserError, match=r"cannot write prepared data: .*File too large") as caught:
      prepare(listing, tmp_path / "out", options=options)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
  assert "\n" not in str(caught.value)
  assert not (tmp_path / "out" / "manifest.json").exists()
  prepare(listing, tmp_path / "out", options=options)
  assert digests(tmp_path / "out") == uninterrupted(listing, tmp_path / "here", options)


def test_a_disk_that_is_full_at_the_end(tmp_path, monkeypatch):
  def full(*args):
    raise OSError(28, "No space left on device")

  listing = Listing.of(entries(tmp_path / "photos", 3))
  monkeypatch.setattr(prepared, "write_json", full)
  with pytest.raises(UserError, match=r"cannot prepare data in .*No space left"):
    prepare_here(listing, tmp_path / "out", OPTIONS, name="x")
  monkeypatch.undo()
  expected = uninterrupted(listing, tmp_path / "out")
  (tmp_path / "out" / "manifest.json").unlink()
  made = [shards.read_shard(tmp_path / "out", 0)]
  monkeypatch.setattr(prepared, "write_json", full)
  with pytest.raises(UserError, match=r"cannot write prepared data: .*No space left"):
    preparing.finish(listing, tmp_path / "out", made, OPTIONS, info={"name": "x"})
  monkeypatch.undo()
  assert uninterrupted(listing, tmp_path / "out") == expected


# The largest image that is allowed takes 50 million pixels of four bytes; this is 400 million.
MEASURED = """
import resource, sys
from pathlib import Path
from jaxt2i.data import preparing
from jaxt2i.data.files import FileBlob
from jaxt2i.data.listing import Entry, Listing

def peak():
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

folder = Path(sys.argv[1])
entries = [Entry(p.name, FileBlob(str(p)), ("a",)) for p in sorted(folder.iterdir())]
tasks = preparing.begin(Listing.of(entries), folder / "out", preparing.Options(), info={})
before = peak()
shard = preparing.make_shard(tasks[0])
print(*(bad.image_id for bad in shard.bad), *(facts.image_id for facts in shard.images))
print(peak() - before)
"""


def test_memory_stays_small_whatever_the_files_hold(tmp_path):
  side = 20_000
  header = encoded(Image.new("1", (side, 8)))
  ihdr = b"IHDR" + header[16:20] + side.to_bytes(4, "big") + header[24:29]
  rows = zlib.compress(bytes(side * (1 + side // 8)), 1)
  idat = b"IDAT" + rows
  chunks = (ihdr, idat, b"IEND")
  png = header[:8] + b"".join(
    (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    for chunk in chunks
  )
  assert len(png) < 1_000_000
  (tmp_path / "bomb.png").write_bytes(png)
  with (tmp_path / "huge.jpg").open("wb") as file:
    file.truncate(2**32)  # zeros, which take no room
  (tmp_path / "page.jpg").write_bytes(b"<!DOCTYPE html>")
  (tmp_path / "sound.jpg").write_bytes(encoded(photo(0, 640, 480), "JPEG"))
  program = [sys.executable, "-c", MEASURED, str(tmp_path)]
  output = subprocess.run(program, check=True, capture_output=True, text=True).stdout
  names, grown = output.splitlines()
  assert names == "bomb.png huge.jpg page.jpg sound.jpg"
  assert int(grown) < 300  # MiB; an encoded image may have 128


# Images take their time, so that a kill falls in the midst of them; workers import this too.
PROGRAM = """
import functools, sys, time
from pathlib import Path
from jaxt2i.data import images, preparing, processes
from jaxt2i.data.listing import Listing
from tests.photos import Entry, FileBlob

squares = images.squares

def slowly(*args):
  time.sleep(0.008)
  return squares(*args)

images.squares = slowly
preparing._SHARD_IMAGES = 10

if __name__ == "__main__":
  photos, out = map(Path, sys.argv[1:])
  given = [Entry(p.name, FileBlob(str(p)), (p.stem,)) for p in photos.iterdir()]
  options = preparing.Options((16, 8))
  run = functools.partial(processes.run, workers=2)
  preparing.prepare(Listing.of(given), out, options, info={"name": "x"}, run=run)
"""


def children(pid: int) -> list[int]:
  found = []
  for path in Path("/proc").glob("[0-9]*/stat"):
    state = status(int(path.parent.name))
    if state and state[1] == str(pid):
      found.append(int(path.parent.name))
  return found


def status(pid: int) -> list[str]:
  """State and parent; [] if there is no such process."""
  try:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
  except OSError:
    return []
  return [] if fields[0] in "ZX" else fields[:2]


def wait_for(condition) -> None:
  deadline = time.monotonic() + 120
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.005)


def test_killed_and_started_again_and_again(tmp_path, repository):
  given = entries(tmp_path / "photos", 600)
  out = tmp_path / "out"
  (tmp_path / "program.py").write_text(PROGRAM)
  command = [sys.executable, tmp_path / "program.py", tmp_path / "photos", out]
  errors = tmp_path / "stderr"
  environment = {**os.environ, "PYTHONPATH": str(repository)}

  def start() -> subprocess.Popen:
    with errors.open("w") as file:
      return subprocess.Popen(command, env=environment, stderr=file, start_new_session=True)

  def stop(process, sign, num_begun) -> list[int]:
    """Sends the signal once so many shards are begun; the numbers of those that are finished."""
    wait_for(lambda: len(list(out.glob("16/*"))) >= num_begun and len(children(process.pid)) >= 2)
    workers = children(process.pid)
    if sign == signal.SIGINT:
      os.killpg(process.pid, sign)  # as Ctrl-C does: the workers get it too
    else:
      process.send_signal(sign)
    assert process.wait(timeout=120) == -sign
    wait_for(lambda: not any(map(status, workers)))  # none outlives its parent
    return [number for number in range(60) if shards.read_shard(out, number) is not None]

  done: list[int] = []
  for sign, num_begun in ((signal.SIGKILL, 1), (signal.SIGINT, 6), (signal.SIGKILL, 14)):
    before, done = done, stop(start(), sign, num_begun)
    assert set(before) <= set(done) < set(range(60))
    assert not (out / "manifest.json").exists()
    assert errors.read_text().count("Traceback") == (1 if sign == signal.SIGINT else 0)
  assert len(done) > 6
  assert start().wait(timeout=120) == 0
  plain = [Entry(one.image_id, one.blob, (Path(one.image_id).stem,)) for one in given]
  assert digests(out) == uninterrupted(Listing.of(plain), tmp_path / "here")
