"""The record of a run's starts, and of the machine."""

import json
import shutil

from jaxt2i import machine, main, sessions
from tests.runs import config, train


def test_each_start_has_its_entry(tmp_path):
  name = "vqvae:ema,shapes,tiny"
  workdir = train(tmp_path / "run", name)
  longer = config(name, **{"loop.num_steps": 4})
  main.run(longer, workdir, force=True)
  first, second = sessions.read(workdir)
  assert (first["from_step"], first["to_step"]) == (0, 2)
  assert (second["from_step"], second["to_step"]) == (2, 4)
  assert first["started"] <= second["started"]
  assert first["seconds"] > 0
  assert "cpu" in first["devices"]
  assert "jax " in first["versions"]


def test_a_damaged_record_stops_nothing(tokenizer_run, tmp_path):
  workdir = shutil.copytree(tokenizer_run, tmp_path / "run")
  for damage in ("", "[1]", '{"sessions": 3}', '{"sessions": [3]}'):
    (workdir / "run.json").write_text(damage)
    assert sessions.read(workdir) == []
  sessions.Sessions(workdir, 2).saved(3)
  (entry,) = json.loads((workdir / "run.json").read_text())["sessions"]
  assert (entry["from_step"], entry["to_step"]) == (2, 3)


def test_a_record_that_cannot_be_written_stops_nothing(tmp_path, caplog):
  (tmp_path / "run.partial").mkdir()
  sessions.Sessions(tmp_path, 0).saved(1)
  assert "run.json is not written" in caplog.text
  assert sessions.read(tmp_path) == []


def test_the_machine_is_named_as_far_as_it_tells(tmp_path):
  cpuinfo = tmp_path / "cpuinfo"
  cpuinfo.write_text("processor : 0\nmodel name\t: Fast 9000: Turbo\nmodel name : other\n")
  assert machine.processor(cpuinfo) == "Fast 9000: Turbo"
  meminfo = tmp_path / "meminfo"
  meminfo.write_text("MemTotal:       16777216 kB\nMemFree: 1 kB\n")
  assert machine.memory(meminfo) == "16 GiB"
  assert machine.memory(tmp_path / "absent") == ""
  assert "Turbo" not in machine.processor(tmp_path / "absent")
  assert {"devices", "cores", "system", "versions"} <= machine.facts().keys()
