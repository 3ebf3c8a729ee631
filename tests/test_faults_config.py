"""`python -m jaxt2i.main` mistyped: one line, exit code 2 (usage) or 1 (failure), nothing lost."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.runs import config_of

TINY = "--config=configs/vqvae.py:fsq,vit,shapes,tiny"
PRIOR = "--config=configs/prior.py:shapes,tiny"


def test_a_config_that_does_not_exist(refused):
  line = refused("--config=configs/nope.py:fsq", code=2)
  assert "configs/nope.py does not exist" in line
  assert "configs/vqvae.py" in line


@pytest.mark.parametrize(
  ("argument", "words"),
  [
    ("--config.batchsize=3", ["batchsize", "batch_size"]),
    ("--config.model.network.pach=4", ["pach", "patch"]),
    ("--config.zzz=3", ["zzz"]),
    ("--config.batch_size=abc", ["config.batch_size", "abc"]),
    ("--config.batch_size=2.5", ["config.batch_size", "2.5"]),
    ("--config.ema_decay=high", ["config.ema_decay", "high"]),
    ("--workdr=x", ["workdr", "workdir"]),
    ("stray", ["stray"]),
  ],
)
def test_typing_errors(refused, argument, words):
  line = refused(TINY, argument, code=2)
  for word in words:
    assert word in line


@pytest.mark.parametrize(
  ("flag", "words"),
  [
    ("--config=configs/vqvea.py", ["configs/vqvea.py"]),
    ("--config=configs", ["configs"]),
    ("--config=configs/vqvae.py:fsq,tinny", ["'tinny'", "did you mean 'tiny'?"]),
    ("--config=configs/vqvae.py:fsq,ema", ["'fsq' and 'ema' are both given"]),
    ("--config=configs/common.py", ["configs/common.py"]),
    ("--config=README.md", ["README.md"]),
  ],
)
def test_configs_that_are_none(refused, flag, words):
  line = refused(flag, code=2)
  for word in words:
    assert word in line


@pytest.mark.parametrize("arguments", [(), (TINY,), ("--workdir=somewhere",)])
def test_config_and_workdir_are_needed(main_command, capsys, arguments):
  assert main_command(*arguments) == 2
  err = capsys.readouterr().err
  assert "--config and --workdir are needed" in err
  assert err.count("\n") == 1


@pytest.mark.parametrize(
  ("argument", "code", "words"),
  [
    ("batch_size=0", 2, ["batch_size is 0"]),
    ("batch_size=-4", 2, ["batch_size is -4"]),
    ("seed=-1", 2, ["seed", "-1"]),
    ("ema_decay=1.5", 2, ["ema_decay", "1.5"]),
    ("ema_decay=nan", 2, ["ema_decay", "nan"]),
    ("loop.num_steps=0", 1, ["num_steps is 0"]),
    ("loop.log_every=3", 1, ["multiple of log_every"]),
    ("data.image_size=68", 2, ["image_size is 68", "multiple of 8"]),
    ("data.image_size=8", 1, ["image_size=8"]),
    ("data.num_train=0", 1, ["num_train=0"]),
    ("data.name=shape", 1, ["'shape'", "did you mean 'shapes'?"]),
    ("model.network.heads=3", 2, ["heads", "3"]),
    ("model.network.name=unet", 2, ["'unet'", "'conv', 'vqgan', 'vit'"]),
  ],
)
def test_values_that_cannot_work(refused, argument, code, words, monkeypatch):
  from jaxt2i import train

  monkeypatch.setattr(train, "train", lambda *args, **kwargs: pytest.fail("trained"))
  line = refused(TINY, f"--config.{argument}", code=code)
  for word in words:
    assert word in line


def test_data_that_was_never_prepared(refused, tmp_path):
  own = "--config=configs/vqvae.py:prepared,tiny"
  assert "needs path" in refused(own, code=1)
  line = refused(own, f"--config.data.path={tmp_path / 'absent'}", code=1)
  assert "absent" in line
  assert "jaxt2i data prepare" in line


def test_an_unwritable_workdir(refused, tmp_path):
  (tmp_path / "file").write_text("precious")
  line = refused(TINY, f"--workdir={tmp_path / 'file' / 'run'}", code=1)
  assert "cannot be written" in line
  assert "another workdir" in line
  line = refused(TINY, f"--workdir={tmp_path / 'file'}", code=1)
  assert "cannot be written" in line
  assert (tmp_path / "file").read_text() == "precious"


def test_a_workdir_of_another_config(refused, tokenizer_run):
  before = config_of(tokenizer_run)
  arguments = ("--config=configs/vqvae.py:ema,shapes,tiny", "--config.data.seed=5")
  line = refused(*arguments, code=1, workdir=tokenizer_run)
  assert "config.data.seed = 0, this one has 5" in line
  assert config_of(tokenizer_run) == before


def test_a_workdir_of_another_task(refused, tokenizer_run):
  line = refused(PRIOR, f"--config.tokenizer={tokenizer_run}", code=1, workdir=tokenizer_run)
  assert "holds a run with config." in line


def test_a_workdir_in_use(refused, tokenizer_run, tmp_path):
  lock = {"host": os.uname().nodename, "pid": os.getpid(), "started": None}
  (tmp_path / "run").mkdir()
  (tmp_path / "run" / "lock").write_text(json.dumps(lock))
  line = refused(TINY, code=1)
  assert f"in use by process {os.getpid()}" in line
  assert (tmp_path / "run" / "lock").exists()


def test_priors_without_a_tokenizer_that_fits(refused, tokenizer_run, prior_run, tmp_path):
  assert "config.tokenizer is empty" in refused(PRIOR, code=2)
  absent = f"--config.tokenizer={tmp_path / 'absent'}"
  assert "holds no run" in refused(PRIOR, absent, code=1)
  itself = f"--config.tokenizer={prior_run}"
  assert "must be a tokenizer of 64-pixel images" in refused(PRIOR, itself, code=1)
  trained = f"--config.tokenizer={tokenizer_run}"
  line = refused(PRIOR, trained, "--config.data.image_size=32", code=1)
  assert "64-pixel images: config.tokenizer must be a tokenizer of 32-pixel images" in line


def test_a_tokenizer_without_a_checkpoint(refused, tokenizer_run, tmp_path):
  half = tmp_path / "half"
  half.mkdir()
  (half / "config.json").write_text((tokenizer_run / "config.json").read_text())
  assert "holds no checkpoint" in refused(PRIOR, f"--config.tokenizer={half}", code=1)


def test_as_a_command(tmp_path, repository):
  # In a process of its own nothing else reaches the terminal either, such as a late traceback.
  command = [sys.executable, "-m", "jaxt2i.main", f"--workdir={tmp_path / 'run'}"]
  done = subprocess.run([*command, PRIOR], cwd=repository, capture_output=True, text=True)
  assert done.returncode == 2
  assert done.stdout == ""
  assert done.stderr.startswith("jaxt2i: error: config.tokenizer is empty")
  assert done.stderr.count("\n") == 1


def test_after_a_mistake_the_same_workdir_serves(main_command, tmp_path, capsys):
  workdir = f"--workdir={tmp_path / 'run'}"
  assert main_command(TINY, workdir, "--config.batch_size=0") in (1, 2)
  assert main_command(TINY, workdir, "--config.optimizer.b1=0.8") == 0
  assert config_of(tmp_path / "run")["optimizer"]["b1"] == 0.8


def test_interrupted_before_there_is_anything_to_save(main_command, monkeypatch, capsys, tmp_path):
  from jaxt2i import main

  def interrupted(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)
    pytest.fail("went on")

  monkeypatch.setattr(main, "run", interrupted)
  assert main_command(TINY, f"--workdir={tmp_path}") == 3
  assert "stopped by SIGINT, nothing was to be saved; the same command" in capsys.readouterr().err
