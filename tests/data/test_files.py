import gzip
import io
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile

import pytest

from jaxt2i.data.files import MAX_IMAGE_BYTES, Blob, FileBlob, Tree, ZipBlob
from jaxt2i.errors import UserError


def write(folder, name, data=b""):
  path = folder / name
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(data)
  return path


def add(archive, name, data=b"", **fields):
  member = tarfile.TarInfo(name)
  member.size = len(data)
  for field, value in fields.items():
    setattr(member, field, value)
  archive.addfile(member, io.BytesIO(data))


def make_tar(path, members):
  path.parent.mkdir(parents=True, exist_ok=True)
  with tarfile.open(path, "w") as archive:
    for name, data in members.items():
      add(archive, name, data)
  return path


def make_zip(path, members, method=zipfile.ZIP_DEFLATED):
  with zipfile.ZipFile(path, "w", method) as archive:
    for name, data in members.items():
      archive.writestr(name, data)
  return path


def refused(folder):
  return " / ".join(Tree(str(folder)).refused)


def test_files_of_folders_and_archives_by_name(tmp_path):
  write(tmp_path, "b.txt", b"text")
  write(tmp_path, "sub/a.jpg", b"one")
  make_tar(tmp_path / "sub/x.tar", {"./inner/c.jpg": b"three", "d.PNG": b"four"})
  make_zip(tmp_path / "y.zip", {"e.jpg": b"five" * 100, "dir/": b""})
  tree = Tree(str(tmp_path))
  assert list(tree) == [
    *("b.txt", "e.jpg", "sub/a.jpg", "sub/d.PNG", "sub/inner/c.jpg", "sub/x.tar", "y.zip")
  ]
  images = tree.images()
  assert list(images) == ["e.jpg", "sub/a.jpg", "sub/d.PNG", "sub/inner/c.jpg"]
  contents = [b"five" * 100, b"one", b"four", b"three"]
  assert [blob.read() for blob in images.values()] == contents
  assert all(isinstance(blob, Blob) for blob in images.values())
  assert pickle.loads(pickle.dumps(images)) == images
  assert tree.refused == []
  assert "b.txt" in tree
  assert "c.txt" not in tree


@pytest.mark.parametrize("end", ["", "/"])
def test_names_do_not_depend_on_how_the_folder_is_written(tmp_path, monkeypatch, end):
  write(tmp_path, "data/sub/a.jpg")
  monkeypatch.chdir(tmp_path)
  assert list(Tree("data" + end)) == ["sub/a.jpg"]
  assert list(Tree("./data" + end)) == ["sub/a.jpg"]
  monkeypatch.chdir(tmp_path / "data")
  assert list(Tree("." + end)) == ["sub/a.jpg"]


def test_members_apart(tmp_path):
  make_tar(tmp_path / "s/0.tar", {"a.jpg": b"one"})
  make_tar(tmp_path / "s/1.tar", {"a.jpg": b"two"})
  apart = Tree(str(tmp_path), apart=True)
  assert list(apart) == ["s/0.tar", "s/0.tar/a.jpg", "s/1.tar", "s/1.tar/a.jpg"]
  assert apart.blob("s/1.tar/a.jpg").read() == b"two"
  assert apart.refused == []
  merged = Tree(str(tmp_path))
  assert merged.blob("s/a.jpg").read() == b"one"
  assert "'a.jpg' in" in merged.refused[0]
  assert "another of that name" in merged.refused[0]


def test_an_unpacked_archive_that_is_still_there_changes_nothing(tmp_path):
  make_tar(tmp_path / "x.tar", {"a.jpg": b"packed"})
  write(tmp_path, "a.jpg", b"unpacked")
  tree = Tree(str(tmp_path))
  assert tree.blob("a.jpg").read() == b"unpacked"
  assert tree.refused == []


def test_hidden_files_are_left_out(tmp_path):
  write(tmp_path, ".DS_Store")
  write(tmp_path, ".git/a.jpg")
  make_zip(tmp_path / "x.zip", {"__MACOSX/._a.jpg": b"", "x/.b.jpg": b"", "a.jpg": b""})
  assert list(Tree(str(tmp_path))) == ["a.jpg", "x.zip"]


def test_what_is_no_plain_file_is_refused(tmp_path):
  os.mkfifo(tmp_path / "pipe.jpg")
  (tmp_path / "broken.jpg").symlink_to(tmp_path / "nowhere")
  write(tmp_path, "a.jpg")
  tree = Tree(str(tmp_path))
  assert list(tree) == ["a.jpg"]
  assert ["no plain file" in line for line in tree.refused] == [True, True]


def test_links_between_folders_are_followed_once(tmp_path):
  write(tmp_path, "elsewhere/a.jpg", b"one")
  write(tmp_path, "data/b.jpg")
  (tmp_path / "data/up").symlink_to(tmp_path / "data")
  (tmp_path / "data/link").symlink_to(tmp_path / "elsewhere")
  (tmp_path / "data/c.jpg").symlink_to(tmp_path / "elsewhere/a.jpg")
  tree = Tree(str(tmp_path / "data"))
  assert list(tree) == ["b.jpg", "c.jpg", "link/a.jpg"]
  assert tree.blob("c.jpg").read() == b"one"


def test_names_in_another_encoding_are_refused(tmp_path):
  write(tmp_path, "a.jpg")
  try:
    os.close(os.open(os.fsencode(str(tmp_path)) + b"/\xff.jpg", os.O_CREAT))
  except OSError:
    pytest.skip("this file system knows no such names")
  with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.GNU_FORMAT) as archive:
    add(archive, os.fsdecode(b"\xfe.jpg"))
  tree = Tree(str(tmp_path))
  assert list(tree) == ["a.jpg", "x.tar"]
  assert ["not UTF-8" in line for line in tree.refused] == [True, True]


def test_folders_that_cannot_be_read(tmp_path, monkeypatch):
  def forbid(path):
    raise PermissionError(13, "Permission denied")

  monkeypatch.setattr(os, "scandir", forbid)
  with pytest.raises(UserError, match=r"cannot read folder .*Permission denied"):
    Tree(str(tmp_path))


def test_no_folder(tmp_path):
  with pytest.raises(UserError, match="'nowhere' does not exist"):
    Tree("nowhere")
  with pytest.raises(UserError, match="is a file"):
    Tree(str(write(tmp_path, "a.jpg")))


def test_no_images_names_what_was_refused(tmp_path):
  write(tmp_path, "photos.tar.gz")
  with pytest.raises(UserError, match=r"no images in .*photos\.tar\.gz.*unpack it"):
    Tree(str(tmp_path)).images()


@pytest.mark.parametrize("name", ["../a.jpg", "/a.jpg", "x/../../a.jpg", "//a.jpg"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_members_that_lead_out_are_refused(tmp_path, name, kind):
  make = make_tar if kind == "tar" else make_zip
  make(tmp_path / f"x.{kind}", {name: b"bad", "good.jpg": b"good"})
  tree = Tree(str(tmp_path))
  assert list(tree) == ["good.jpg", f"x.{kind}"]
  assert "leads out of the archive" in tree.refused[0]
  assert os.listdir(tmp_path) == [f"x.{kind}"]


def test_links_and_devices_in_archives_are_refused(tmp_path):
  with tarfile.open(tmp_path / "x.tar", "w") as archive:
    add(archive, "soft.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd")
    add(archive, "hard.jpg", type=tarfile.LNKTYPE, linkname="../a.jpg")
    add(archive, "device.jpg", type=tarfile.CHRTYPE)
    add(archive, "good.jpg", b"good")
  link = zipfile.ZipInfo("soft.jpg")
  link.external_attr = 0o120777 << 16
  with zipfile.ZipFile(tmp_path / "y.zip", "w") as archive:
    archive.writestr(link, "/etc/passwd")
  tree = Tree(str(tmp_path))
  assert list(tree.images()) == ["good.jpg"]
  assert [line.split()[0] for line in tree.refused] == [
    *("'soft.jpg'", "'hard.jpg'", "'device.jpg'", "'soft.jpg'")
  ]


def test_archives_in_archives_are_refused(tmp_path):
  make_tar(tmp_path / "x.tar", {"inner.zip": b"", "a.jpg": b""})
  tree = Tree(str(tmp_path))
  assert list(tree.images()) == ["a.jpg"]
  assert "an archive in an archive" in tree.refused[0]


def test_encrypted_members_are_refused(tmp_path):
  path = make_zip(tmp_path / "x.zip", {"a.jpg": b"one", "b.jpg": b"two"})
  data = bytearray(path.read_bytes())
  data[data.index(b"PK\1\2") + 8] |= 1  # the flag in the list of members, of the first
  path.write_bytes(data)
  tree = Tree(str(tmp_path))
  assert list(tree.images()) == ["b.jpg"]
  assert "encrypted" in tree.refused[0]


@pytest.mark.parametrize("size", [100, 700, 1100, 1900])
def test_truncated_tar(tmp_path, size):
  path = make_tar(tmp_path / "x.tar", {"a.jpg": b"a" * 400, "b.jpg": b"b" * 400})
  path.write_bytes(path.read_bytes()[:size])
  with pytest.raises(UserError, match=r"x\.tar is damaged.*fetch it again") as caught:
    Tree(str(tmp_path))
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [1024, 2048, 2560])
def test_a_tar_without_its_end_mark_is_read(tmp_path, size):
  path = make_tar(tmp_path / "x.tar", {"a.jpg": b"a" * 400, "b.jpg": b"b" * 400})
  path.write_bytes(path.read_bytes()[:size])
  assert len(Tree(str(tmp_path)).images()) == min(size // 1024, 2)


def test_garbage_in_a_tar(tmp_path):
  path = make_tar(tmp_path / "x.tar", {"a.jpg": b"a" * 400, "b.jpg": b"b" * 400})
  data = bytearray(path.read_bytes())
  data[1024:1034] = b"\x99" * 10
  path.write_bytes(data)
  with pytest.raises(UserError, match=r"damaged.*no header at byte 1024"):
    Tree(str(tmp_path))


@pytest.mark.parametrize("name", ["x.tar", "x.zip"])
def test_no_archives_at_all(tmp_path, name):
  write(tmp_path, name, b"<html>not found</html>" * 100)
  with pytest.raises(UserError, match="damaged"):
    Tree(str(tmp_path))


def test_truncated_zip(tmp_path):
  path = make_zip(tmp_path / "x.zip", {"a.jpg": os.urandom(2000)})
  path.write_bytes(path.read_bytes()[:1000])
  with pytest.raises(UserError, match=r"x\.zip is damaged"):
    Tree(str(tmp_path))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_damaged_members_of_a_zip(tmp_path, method):
  path = make_zip(tmp_path / "x.zip", {"a.jpg": bytes(range(256)) * 20}, method)
  data = bytearray(path.read_bytes())
  data[60:80] = b"\x00" * 20
  path.write_bytes(data)
  blob = Tree(str(tmp_path)).images()["a.jpg"]
  with pytest.raises(OSError, match=r"'a\.jpg' in .*x\.zip"):
    blob.read()


def test_members_that_are_gone(tmp_path):
  path = make_tar(tmp_path / "x.tar", {"a.jpg": b"a" * 400})
  blob = Tree(str(tmp_path)).images()["a.jpg"]
  path.write_bytes(path.read_bytes()[:600])
  with pytest.raises(OSError, match="ends too early"):
    blob.read()
  make_zip(tmp_path / "y.zip", {"b.jpg": b"b"})
  with pytest.raises(OSError, match=r"c\.jpg"):
    ZipBlob(str(tmp_path / "y.zip"), "c.jpg", 0).read()


def test_no_more_is_read_than_allowed(tmp_path):
  write(tmp_path, "a.jpg", b"12345")
  make_tar(tmp_path / "x.tar", {"b.jpg": b"12345"})
  make_zip(tmp_path / "y.zip", {"c.jpg": b"12345", "bomb.jpg": b"\0" * (MAX_IMAGE_BYTES + 1)})
  images = Tree(str(tmp_path)).images()
  for name in ("a.jpg", "b.jpg", "c.jpg"):
    assert images[name].read(5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes"):
      images[name].read(4)
  with pytest.raises(OSError, match="more than 134,217,728 bytes"):
    images["bomb.jpg"].read()


def test_identity_changes_with_the_bytes(tmp_path):
  write(tmp_path, "a.jpg", b"one")
  make_zip(tmp_path / "y.zip", {"c.jpg": b"one"})
  before = {name: blob.identity() for name, blob in Tree(str(tmp_path)).images().items()}
  assert before == {name: blob.identity() for name, blob in Tree(str(tmp_path)).images().items()}
  write(tmp_path, "a.jpg", b"four")
  make_zip(tmp_path / "y.zip", {"c.jpg": b"two"})
  after = {name: blob.identity() for name, blob in Tree(str(tmp_path)).images().items()}
  assert all(before[name] != after[name] for name in before)
  with pytest.raises(OSError, match="nowhere"):
    FileBlob(str(tmp_path / "nowhere")).identity()


def test_a_forked_process_opens_its_own_zip(tmp_path, monkeypatch):
  make_zip(tmp_path / "x.zip", {"a.jpg": b"one", "b.jpg": b"two"})
  one, two = Tree(str(tmp_path)).images().values()
  opened = []
  real = zipfile.ZipFile
  monkeypatch.setattr(zipfile, "ZipFile", lambda path: opened.append(path) or real(path))
  assert (one.read(), two.read(), len(opened)) == (b"one", b"two", 1)
  monkeypatch.setattr(os, "getpid", lambda: -1)
  assert (one.read(), two.read(), len(opened)) == (b"one", b"two", 2)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text(tmp_path, encoding):
  text = "a.jpg\tngười 🐕 שלום\n"
  write(tmp_path, "a.txt", text.encode(encoding))
  write(tmp_path, "b.txt.gz", gzip.compress(text.encode(encoding)))
  make_zip(tmp_path / "x.zip", {"c.txt": text.encode(encoding)})
  tree = Tree(str(tmp_path))
  assert [tree.text(name) for name in ("a.txt", "b.txt.gz", "c.txt")] == [text] * 3


@pytest.mark.parametrize(
  ("data", "message"),
  [
    ("one\ntwo\ncorazón".encode("latin-1"), "line 3: not UTF-8"),
    ("one\ntwo".encode("utf-16") + b"x", "line 2: not UTF-8"),
  ],
)
def test_text_in_another_encoding(tmp_path, data, message):
  write(tmp_path, "a.txt", data)
  with pytest.raises(UserError, match=message):
    Tree(str(tmp_path)).text("a.txt")


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: b"no" + data])
def test_text_that_is_damaged(tmp_path, damage):
  write(tmp_path, "a.txt.gz", damage(gzip.compress(b"text " * 1000)))
  with pytest.raises(UserError, match=r"cannot read .*a\.txt\.gz"):
    Tree(str(tmp_path)).text("a.txt.gz")


_LIST = """
import re, sys
from pathlib import Path
from jaxt2i.data.files import Tree
def memory(key):
  return 1024 * int(re.search(key + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
before = memory("VmRSS")
tree = Tree(sys.argv[1])
peak = memory("VmHWM")
print(len(tree.images()), peak - before)
"""


def list_many(tmp_path, num):
  """Lists a tar of `num` members; how many bytes of memory each takes at most."""
  if not os.path.exists("/proc/self/status"):
    pytest.skip("this system does not tell how much memory a process takes")
  header = tarfile.TarInfo("00/00000000.jpg").tobuf(tarfile.USTAR_FORMAT)
  fixed = sum(header) - sum(header[:15]) - sum(header[148:156])
  with open(tmp_path / "x.tar", "wb") as file:
    for i in range(num):
      name = b"%02d/%08d.jpg" % (i % 100, i)
      checksum = b"%06o\0 " % (fixed + sum(name) + 8 * 32)
      file.write(name + header[15:148] + checksum + header[156:])
    file.write(bytes(1024))
  # In a process of its own: annotations that are checked would take most of the time.
  done = subprocess.run(
    [sys.executable, "-c", _LIST, str(tmp_path)], capture_output=True, text=True, check=True
  )
  listed, grown = map(int, done.stdout.split())
  assert listed == num
  return grown / num


def test_a_large_tar_takes_little_memory(tmp_path):
  assert list_many(tmp_path, 200_000) < 400


@pytest.mark.slow
def test_a_tar_of_a_million(tmp_path):
  assert list_many(tmp_path, 1_000_000) < 400
