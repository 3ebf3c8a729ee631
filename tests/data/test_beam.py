"""Preparing as an Apache Beam pipeline; `make test-beam` makes the environment that it needs."""

import functools
import sys

import pytest

from jaxt2i import cli
from jaxt2i.data import beam, prepared, preparing
from jaxt2i.data.listing import Listing
from jaxt2i.errors import UserError
from tests.photos import digests, entries, prepare_here

OPTIONS = preparing.Options((16, 8))


def run(*arguments: str) -> preparing.Runner:
  return functools.partial(beam.run, arguments=arguments)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
  monkeypatch.setattr(preparing, "_SHARD_IMAGES", 10)


def test_without_beam_the_remedy_is_named(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "apache_beam", None)
  listing = Listing.of(entries(tmp_path / "photos", 2))
  with pytest.raises(UserError, match=r"not installed: pip install -e '\.\[beam\]'"):
    preparing.prepare(listing, tmp_path / "out", OPTIONS, info={}, run=run())


def test_a_shard_that_no_worker_has_left_in_the_folder(tmp_path):
  listing = Listing.of(entries(tmp_path / "photos", 12))
  nobody = lambda tasks, num_images: iter(())
  with pytest.raises(UserError, match=r"shard 0 is not in .*: all workers must see the folder"):
    preparing.prepare(listing, tmp_path / "out", OPTIONS, info={}, run=nobody)


# Beam and what it brings warn of things of their own.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("arguments", [(), ("--direct_running_mode=multi_processing",)])
def test_the_same_bytes_as_without(tmp_path, arguments):
  pytest.importorskip("apache_beam", reason="`make test-beam` installs it")
  listing = Listing.of(entries(tmp_path / "photos", 25))
  runner = run("--runner=DirectRunner", "--direct_num_workers=2", *arguments)
  preparing.prepare(listing, tmp_path / "out", OPTIONS, info={"name": "x"}, run=runner)
  expected = prepare_here(listing, tmp_path / "here", OPTIONS, name="x")
  assert digests(tmp_path / "out") == digests(expected)


@pytest.mark.filterwarnings("ignore")
def test_on_the_command_line(tmp_path):
  pytest.importorskip("apache_beam", reason="`make test-beam` installs it")
  photos = tmp_path / "photos"
  names = [entry.image_id for entry in entries(photos, 12)]
  (photos / "captions.txt").write_text("".join(f"{name}\ta photo\n" for name in names))
  out = tmp_path / "out"
  arguments = [f"--src={photos}", f"--out={out}", "--sizes=16", "--beam=--runner=DirectRunner"]
  assert cli.main(["data", "prepare", "--format=captions", *arguments]) == 0
  assert prepared.read_manifest(out)["images"] == 12
