"""`jaxt2i launch`: what is printed, what is started, and one line for a mistake."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from jaxt2i import cli

TRAINING = ["--config=configs/vqvae.py:tiny", "--workdir=runs/a b", "--config.data.path=c d"]
SHARED = ["--config=configs/vqvae.py:tiny", "--workdir=/mnt/shared/a"]
KUBERNETES = ["--target=kubernetes_gpu", "--repository=r", "--storage=claim", *SHARED]
SKYPILOT = ["--target=skypilot", "--repository=r", "--storage=gs://b", "--accelerator=L4:1"]
TPU_VM = ["--target=tpu_vm", "--repository=r", "--name=n", "--zone=z", *SHARED]


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch, repository):
  monkeypatch.chdir(repository)


@pytest.fixture
def programs(monkeypatch, tmp_path):
  """Makes a program the only one there is; it copies its input and arguments into a file."""

  def install(name: str, code: int = 0):
    folder = tmp_path / "bin"
    folder.mkdir()
    seen = tmp_path / "seen"
    path = folder / name
    path.write_text(
      f"#!{sys.executable}\n"
      "import json, sys\n"
      "text = open(sys.argv[-1]).read() if sys.argv[-1].endswith('.yaml') else sys.stdin.read()\n"
      f"json.dump([sys.argv[1:], text], open({str(seen)!r}, 'w'))\n"
      f"sys.exit({code})\n"
    )
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return lambda: json.loads(seen.read_text())

  return install


def error_of(capsys) -> str:
  captured = capsys.readouterr()
  assert captured.out == ""
  assert captured.err.startswith("jaxt2i: error: ")
  assert captured.err.count("\n") == 1
  return captured.err


def test_dry_run_prints_the_file_and_leaves_nothing(capsys, tmp_path, monkeypatch, repository):
  (tmp_path / "configs").symlink_to(repository / "configs")
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("PATH", "")  # so nothing can be started
  assert cli.main(["launch", "--target=slurm", "--nodes=2", *TRAINING, "--dry_run"]) == 0
  out = capsys.readouterr().out
  assert out.startswith("#!/usr/bin/env bash\n")
  words = "--config=configs/vqvae.py:tiny '--workdir=runs/a b' '--config.data.path=c d'"
  assert f"\narguments=({words})\n" in out
  assert f"\npython={sys.executable}\n" in out
  assert [path.name for path in tmp_path.iterdir()] == ["configs"]


def test_slurm_gets_the_file(programs):
  seen = programs("sbatch", code=4)
  assert cli.main(["launch", "--target=slurm", *TRAINING]) == 4
  arguments, text = seen()
  assert arguments == []
  assert "#SBATCH --nodes=1\n" in text


def test_kubernetes_gets_the_file(programs):
  seen = programs("kubectl")
  assert cli.main(["launch", *KUBERNETES]) == 0
  arguments, text = seen()
  assert arguments == ["apply", "-f", "-"]
  assert yaml.safe_load(text)["kind"] == "JobSet"


def test_skypilot_gets_the_file(programs):
  seen = programs("sky")
  assert cli.main(["launch", *SKYPILOT, *SHARED]) == 0
  arguments, text = seen()
  assert arguments[:2] == ["jobs", "launch"]
  assert yaml.safe_load(text)["resources"]["accelerators"] == "L4:1"


@pytest.mark.parametrize(
  ("options", "program"),
  [
    (["--target=slurm", *TRAINING], "sbatch"),
    (KUBERNETES, "kubectl"),
    ([*SKYPILOT, *SHARED], "sky"),
    (TPU_VM, "gcloud"),
  ],
)
def test_a_program_that_is_missing_is_one_line(options, program, capsys, monkeypatch, tmp_path):
  monkeypatch.setenv("PATH", str(tmp_path))
  assert cli.main(["launch", *options]) == 1
  assert f"{program} is not installed here: install it, or" in error_of(capsys)


def test_local_processes_take_this_process_over(repository):
  # The runs end at once, with the exit code for usage: a config has no such key.
  training = ["--config=configs/vqvae.py:tiny", "--workdir=a", "--config.nothing=1"]
  done = subprocess.run(
    [sys.executable, "-m", "jaxt2i.cli", "launch", "--target=local_processes", *training],
    cwd=repository,
    env={**os.environ, "PYTHONPATH": str(repository)},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 2
  assert "] jaxt2i: error: " in done.stdout


def test_colab_writes_a_notebook_once(tmp_path, capsys):
  out = tmp_path / "mine.ipynb"
  options = ["launch", "--target=colab", "--repository=r", *TRAINING]
  assert cli.main([*options, f"--out={out}"]) == 0
  assert f"written to {out}" in capsys.readouterr().out
  assert json.loads(out.read_text(encoding="utf-8"))["nbformat"] == 4
  out.write_text("mine")
  assert cli.main([*options, f"--out={out}"]) == 2
  assert "is there already" in error_of(capsys)
  assert out.read_text() == "mine"
  assert cli.main(options) == 2
  assert "needs --out" in error_of(capsys)


def test_unknown_target_suggests_the_right_one(capsys):
  assert cli.main(["launch", "--target=slrum", *TRAINING]) == 2
  assert "unknown target 'slrum'; did you mean 'slurm'?" in error_of(capsys)


def test_only_options_of_configs_are_passed_on(capsys):
  assert cli.main(["launch", "--target=slurm", *TRAINING, "--node=2", "--dry_run"]) == 2
  assert "--node=2; did you mean '--nodes'?" in error_of(capsys)
  assert cli.main(["launch", "--target=slurm", *TRAINING, "--config.a", "--dry_run"]) == 2
  assert "unrecognized arguments: --config.a" in error_of(capsys)


def test_other_commands_take_no_options_of_configs(capsys):
  assert cli.main(["doctor", "--config.a=1"]) == 2
  assert "unrecognized arguments: --config.a=1" in error_of(capsys)
