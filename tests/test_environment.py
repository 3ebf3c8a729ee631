"""Folders, and whether compiled programs may be kept."""

import logging
import os
from pathlib import Path

import jax
import pytest

from jaxt2i import environment
from jaxt2i.errors import UserError


@pytest.fixture
def own_cache(monkeypatch, tmp_path) -> Path:
  monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
  monkeypatch.setenv("JAXT2I_CACHE", str(tmp_path / "cache"))
  return tmp_path / "cache"


def test_cache_dir_follows_the_environment(monkeypatch, tmp_path):
  monkeypatch.setenv("JAXT2I_CACHE", str(tmp_path / "mine"))
  assert environment.cache_dir() == tmp_path / "mine"
  monkeypatch.delenv("JAXT2I_CACHE")
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
  assert environment.cache_dir() == tmp_path / "xdg" / "jaxt2i"
  monkeypatch.delenv("XDG_CACHE_HOME")
  monkeypatch.setenv("HOME", str(tmp_path))
  assert environment.cache_dir() == tmp_path / ".cache" / "jaxt2i"
  monkeypatch.setenv("JAXT2I_CACHE", "~/mine")
  assert environment.cache_dir() == tmp_path / "mine"


def test_compiled_programs_are_kept_privately(own_cache):
  environment.configure()
  assert jax.config.jax_compilation_cache_dir == str(own_cache / "xla")
  assert jax.config.jax_persistent_cache_min_compile_time_secs == 0
  assert (own_cache / "xla").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_is_chosen_for_jax_is_respected(own_cache, monkeypatch, tmp_path):
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "chosen"))
  environment.configure()
  assert jax.config.jax_compilation_cache_dir == str(tmp_path / "chosen")
  assert not own_cache.exists()


def refused(own_cache: Path, caplog) -> str:
  before = jax.config.jax_compilation_cache_dir
  logging.getLogger("jaxt2i").propagate = True
  environment._configure_compilation_cache()
  assert jax.config.jax_compilation_cache_dir == before
  [record] = caplog.records
  return record.getMessage()


def test_no_programs_from_a_folder_that_others_may_write(own_cache, caplog):
  (own_cache / "xla").mkdir(parents=True)
  (own_cache / "xla").chmod(0o777)
  assert "can be written by everybody" in refused(own_cache, caplog)


def test_no_programs_from_a_folder_of_another_user(own_cache, caplog, monkeypatch):
  monkeypatch.setattr(os, "geteuid", lambda: 54321)
  assert "belongs to another user" in refused(own_cache, caplog)


def test_a_file_in_the_way_is_no_failure(own_cache, caplog):
  own_cache.write_text("in the way")
  assert "can't be made" in refused(own_cache, caplog)


def test_configs_lie_beside_the_package(monkeypatch, tmp_path):
  assert (environment.configs_dir() / "vqvae.py").is_file()
  monkeypatch.setattr(environment, "__file__", str(tmp_path / "jaxt2i" / "environment.py"))
  with pytest.raises(UserError, match="pip install -e"):
    environment.configs_dir()
