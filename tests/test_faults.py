"""What goes wrong while a run is under way: it is told in one line, and nothing saved is lost."""

import logging
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tensorboardX.record_writer import RecordWriter

from jaxt2i import manifest, sessions
from jaxt2i.data import workers
from jaxt2i.errors import UserError
from jaxt2i.stored import complete_steps
from tests.faults import LOOP, NAME, arguments, assert_same_run, digests, last_line, start
from tests.runs import metrics_of, train
from tests.states import assert_one_line, largest_file
from tests.test_stored import flip_a_bit, truncate


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """A run of 20 steps that nothing happened to, with checkpoints of steps 10 and 20."""
  return train(tmp_path_factory.mktemp("faults") / "whole", NAME, **LOOP)


@pytest.fixture
def half(whole: Path, tmp_path: Path) -> Path:
  """The same run as it was when it had saved step 10."""
  workdir = shutil.copytree(whole, tmp_path / "run")
  shutil.rmtree(workdir / "checkpoints" / "20")
  return workdir


def step_10(workdir: Path) -> dict[str, str]:
  return digests(workdir / "checkpoints" / "10")


# --- the codebook ---


def test_a_codebook_made_to_collapse_is_told_loudly_with_what_helps(tmp_path, caplog):
  # No codes are revived, and all of them begin as one.
  changes = {"model.quantizer.revival_threshold": 0.0, "loop.eval_every": 1}
  with caplog.at_level(logging.WARNING):
    workdir = train(tmp_path, "vqvae:ema,shapes,tiny", **changes)
  assert re.search(r"CODEBOOK COLLAPSE: [1-9] of 512 codes .* in 2 evaluations", caplog.text)
  assert "What helps: a greater config.model.quantizer.revival_threshold" in caplog.text
  last = metrics_of(workdir)[-1]
  assert last["val/codebook_usage"] < 10 / 512
  assert last["val/perplexity"] < 10
  assert (workdir / "samples" / "0000002.png").exists()


# --- the disk ---


def test_files_that_may_not_grow_stop_the_run_and_room_lets_it_go_on(half, whole, repository):
  # Whatever is larger than 110,000 bytes fails to be written, which is the checkpoint alone.
  before = "resource.setrlimit(resource.RLIMIT_FSIZE, (110_000, 110_000))"
  saved = step_10(half)
  process = start(repository, *arguments(half), before=before)
  _, err = process.communicate(timeout=240)
  line = last_line(err)
  assert process.returncode == 1
  assert re.search(r"checkpoint could not be written .*File too large.*step 10 is kept", line)
  assert "free some space" in line
  assert complete_steps(half / "checkpoints") == [10]
  assert step_10(half) == saved
  assert manifest.find_damage(half / "checkpoints" / "10") is None
  assert not (half / "lock").exists()
  train(half, NAME, **LOOP)
  assert_same_run(half, whole)


# Runs in a name space of its own: the disk is gone with the process.
_SMALL_DISK = """
set -e
mount -t tmpfs -o size=$1k tmpfs "$2"
cp -a "$3/." "$2"
source=$3; disk=$2; shift 3
code=0; "$@" --workdir="$disk" || code=$?
rm -r "$source"; mkdir "$source"; cp -a "$disk/." "$source"
exit $code
"""


@pytest.mark.parametrize(
  "free", [1, 130, 700], ids=["at once", "for a picture", "for half a state"]
)
def test_a_disk_that_is_full_stops_the_run_and_room_lets_it_go_on(
  free, half, whole, repository, tmp_path
):
  in_own = ["unshare", "--mount", "--user", "--map-root-user"]
  probe = [*in_own, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]
  if not shutil.which("unshare") or subprocess.run(probe, capture_output=True).returncode:
    pytest.skip("no small disk can be mounted here")
  disk = tmp_path / "disk"
  disk.mkdir()
  pages = sum(-(-path.stat().st_size // 4096) for path in half.rglob("*") if path.is_file())
  saved = step_10(half)
  size = 4 * (pages + free // 4 + sum(1 for _ in half.rglob("*")) // 16)
  script = ["sh", "-c", _SMALL_DISK, "sh", str(size), str(disk), str(half)]
  training = [sys.executable, "-m", "jaxt2i.main", *arguments(half)[:1], *arguments(half)[2:]]
  done = subprocess.run(
    [*in_own, *script, *training], cwd=repository, capture_output=True, text=True, timeout=240
  )
  line = last_line(done.stderr)
  assert done.returncode == 1
  assert "No space left on device" in line
  assert any(words in line for words in ("free some space", "mend that"))
  assert complete_steps(half / "checkpoints") == [10]
  assert step_10(half) == saved
  train(half, NAME, **LOOP)
  assert_same_run(half, whole)


def test_a_workdir_that_may_not_be_written_is_refused_before_anything_is_compiled(
  half, repository, tmp_path
):
  saved = digests(half)
  folders = [half, *(path for path in half.rglob("*") if path.is_dir())]
  for folder in folders:
    folder.chmod(0o555)
  # Root may write all the same, so it gives up that right (CAP_DAC_OVERRIDE) for good.
  process = start(repository, *arguments(half), before="ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)")
  _, err = process.communicate(timeout=240)
  for folder in folders:
    folder.chmod(0o755)
  line = last_line(err)
  assert process.returncode == 1
  assert f"{half} cannot be written (Permission denied)" in line
  assert "another workdir" in line
  assert "compiling" not in err
  assert digests(half) == saved


# --- two processes ---


def test_a_second_process_is_refused_and_takes_over_when_the_first_was_killed(
  tmp_path, repository, main_command, capsys
):
  workdir = tmp_path / "run"
  command = arguments(workdir, **{**LOOP, "loop.num_steps": 60, "loop.checkpoint_every": 5})
  first = start(repository, *command)
  try:
    deadline = time.monotonic() + 240
    while not complete_steps(workdir / "checkpoints"):
      assert first.poll() is None, first.communicate()[1]
      assert time.monotonic() < deadline, "no checkpoint was saved"
      time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # it lives, and does not come to an end meanwhile
    before = digests(workdir)
    assert main_command(*command) == 1
    line = last_line(capsys.readouterr().err)
    assert f"{workdir} is in use by process {first.pid} on " in line
    assert "stop that one or name another workdir" in line
    assert digests(workdir) == before
  finally:
    first.kill()
    first.communicate()
  assert (workdir / "lock").exists()
  assert main_command(*command) == 0
  assert not (workdir / "lock").exists()
  assert complete_steps(workdir / "checkpoints")[0] == 60
  assert [x["step"] for x in metrics_of(workdir) if "loss" in x] == list(range(1, 61))


# --- what was saved ---


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, Path.unlink])
def test_a_damaged_checkpoint_is_set_aside_and_its_steps_are_done_again(
  damage, whole, tmp_path, main_command, capsys
):
  workdir = shutil.copytree(whole, tmp_path / "run")
  damage(largest_file(workdir, 20))
  assert main_command(*arguments(workdir)) == 0
  err = capsys.readouterr().err
  assert "Traceback" not in err
  assert re.search(r"checkpoint of step 20 in \S+ is damaged \(state/\S+ is (missing|trunc)", err)
  assert "going on from step 10 of" in err
  assert (workdir / "checkpoints" / "damaged-20").is_dir()
  assert_same_run(workdir, whole)


def test_where_all_checkpoints_are_damaged_none_is_touched(whole, tmp_path, main_command, capsys):
  workdir = shutil.copytree(whole, tmp_path / "run")
  flip_a_bit(largest_file(workdir, 20))
  largest_file(workdir, 10).unlink()
  before = digests(workdir)
  assert main_command(*arguments(workdir)) == 1
  line = last_line(capsys.readouterr().err)
  assert "step 20: state/" in line
  assert "step 10: state/" in line
  assert "restore the folder from a copy" in line
  assert digests(workdir) == before


# --- data workers ---


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here")
@pytest.mark.parametrize(
  ("number", "said"),
  [
    (signal.SIGKILL, "1 of 1 data workers died (exit code -9: killed"),
    (signal.SIGSTOP, "1 data workers gave no batch for 3 s"),
  ],
)
def test_a_data_worker_that_dies_or_hangs_ends_the_run_with_an_error(
  number, said, whole, tmp_path, monkeypatch
):
  changes = {**LOOP, "num_workers": 1, "loop.num_steps": 60}
  assert workers._PATIENCE + workers._PATIENCE_AT_END < 60  # seconds
  monkeypatch.setattr(workers, "_PATIENCE", 3)
  saved = sessions.Sessions.saved

  def hit(self: sessions.Sessions, step: int) -> None:
    saved(self, step)
    if step == 10:
      (worker,) = multiprocessing.active_children()
      os.kill(worker.pid, number)

  monkeypatch.setattr(sessions.Sessions, "saved", hit)
  with pytest.raises(UserError) as error:
    train(tmp_path, NAME, **changes)
  monkeypatch.setattr(sessions.Sessions, "saved", saved)
  assert_one_line(error, said, "config.num_workers=0")
  assert multiprocessing.active_children() == []
  assert complete_steps(tmp_path / "checkpoints")[-1] == 10
  assert manifest.find_damage(tmp_path / "checkpoints" / "10") is None
  assert not (tmp_path / "lock").exists()
  train(tmp_path, NAME, **{**changes, "num_workers": 0})
  assert [x["step"] for x in metrics_of(tmp_path) if "loss" in x] == list(range(1, 61))


# --- TensorBoard ---


@pytest.mark.parametrize("when", ["at the start", "in the middle"])
def test_without_tensorboard_the_run_ends_as_with_it(when, whole, tmp_path, monkeypatch, caplog):
  write, written = RecordWriter.write, []

  def fail_later(self: RecordWriter, data: bytes) -> None:
    written.append(data)
    if len(written) > 30:
      raise OSError(5, "Input/output error")
    write(self, data)

  if when == "at the start":
    (tmp_path / "tb").write_text("in the way")
  else:
    monkeypatch.setattr(RecordWriter, "write", fail_later)
  with caplog.at_level(logging.ERROR):
    train(tmp_path, NAME, **LOOP)
  assert [r.message.partition(" (")[0] for r in caplog.records] == ["TensorBoard writing stopped"]
  assert "metrics.jsonl goes on" in caplog.text
  assert len(written) == (0 if when == "at the start" else 31)
  assert_same_run(tmp_path, whole)
