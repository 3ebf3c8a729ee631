"""5,000 steps with many evaluations and checkpoints: nothing grows but what is meant to."""

import json
import os
import subprocess
import sys

import pytest

from tests.faults import arguments

# One run as a user starts it; every save notes what the process holds, and the files that it made.
_PROGRAM = """
import gc, json, os, sys
from pathlib import Path
from jaxt2i import main, sessions

saved, notes = sessions.Sessions.saved, Path(sys.argv[1])

def note(self, step):
  saved(self, step)
  gc.collect()
  pages = int(Path("/proc/self/statm").read_text().split()[1])
  workdir = Path(main.FLAGS.workdir)
  found = {
    "step": step,
    "rss_mib": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
    "descriptors": len(os.listdir("/proc/self/fd")),
    "threads": len(os.listdir("/proc/self/task")),
    "temporary": sum(1 for _ in Path(os.environ["TMPDIR"]).rglob("*")),
    "checkpoints": sorted(path.name for path in (workdir / "checkpoints").iterdir()),
    "files": sorted(path.name for path in workdir.iterdir()),
  }
  with notes.open("a") as file:
    file.write(json.dumps(found) + "\\n")

sessions.Sessions.saved = note
sys.argv = ["jaxt2i.main", *sys.argv[2:]]
sys.exit(main.main(sys.argv))
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="looks itself up in /proc")
def test_memory_descriptors_and_temporary_files_stay_flat(tmp_path, repository):
  (tmp_path / "tmp").mkdir()
  workdir, notes = tmp_path / "run", tmp_path / "notes.jsonl"
  changes = {
    "loop.num_steps": 5000,
    "loop.log_every": 25,
    "loop.eval_every": 250,
    "loop.checkpoint_every": 50,
  }
  command = [sys.executable, "-c", _PROGRAM, str(notes), *arguments(workdir, **changes)]
  done = subprocess.run(
    command,
    cwd=repository,
    env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  found = {line["step"]: line for line in map(json.loads, notes.read_text().splitlines())}
  assert list(found) == list(range(50, 5001, 50))
  # Saves are under way while it is noted: of each kind the most of ten notes is compared.
  early, late = (
    {
      name: max(found[step][name] for step in range(last - 450, last + 1, 50))
      for name in ("rss_mib", "descriptors", "threads", "temporary")
    }
    for last in (1000, 5000)
  )
  print(f"of steps 550 to 1000: {early}; of steps 4550 to 5000: {late}")
  assert late["rss_mib"] < early["rss_mib"] + 50
  assert late["descriptors"] <= early["descriptors"] + 2
  assert late["threads"] <= early["threads"] + 2
  assert late["temporary"] <= early["temporary"]
  assert found[5000]["files"] == found[1000]["files"]
  for step in (1000, 5000):  # two, and the one that is being written
    assert len(found[step]["checkpoints"]) <= 4
  assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["4950", "5000"]
  assert len(list((workdir / "samples").iterdir())) == 20
  assert len(list((workdir / "tb").iterdir())) == 1
