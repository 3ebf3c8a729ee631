"""`jaxt2i doctor`: the report, and the advice where an accelerator lies idle."""

import argparse

import jax
import pytest

from jaxt2i import cli
from jaxt2i.cli import doctor


def nothing() -> bool:
  return False


def test_report(capsys, monkeypatch, tmp_path):
  monkeypatch.setenv("JAXT2I_CACHE", str(tmp_path))
  (tmp_path / "data").write_bytes(bytes(3 * 2**20))
  monkeypatch.setattr(doctor, "accelerator_seen", lambda environ: "")
  assert cli.main(["doctor"]) == 0
  out = capsys.readouterr().out
  assert f"JAX computes on     {jax.default_backend()}" in out
  assert "devices             2 (cpu)" in out
  assert f"jax                 {jax.__version__}" in out
  assert f"{tmp_path} (3.0 MiB" in out
  assert "a compiled matrix product is right" in out


def test_idle_gpu_is_a_warning_and_no_failure(capsys, monkeypatch):
  monkeypatch.setattr(doctor, "accelerator_seen", lambda environ: "gpu")
  monkeypatch.delenv("JAX_PLATFORMS")
  assert cli.main(["doctor"]) == 0
  out = capsys.readouterr().out
  assert "WARNING: this machine seems to have an NVIDIA GPU, but JAX computes on the CPU" in out


def test_broken_jax_is_a_failure(capsys, monkeypatch):
  def broken(*args, **kwargs):
    raise RuntimeError("no kernel\nmore")

  monkeypatch.setattr(jax, "jit", broken)
  assert cli.main(["doctor"]) == 1
  out = capsys.readouterr().out
  assert "failed: RuntimeError: no kernel\n" in out
  assert "JAX does not work here" in out


def test_wrong_result_is_a_failure(monkeypatch):
  monkeypatch.setattr(jax, "jit", lambda f: lambda x: f(x) + 1)
  assert doctor.check_computation().startswith("wrong: 1.99")


def test_accelerators_are_recognised(tmp_path):
  assert doctor.accelerator_seen({}, dev=tmp_path, nvidia_smi=nothing) == ""
  assert doctor.accelerator_seen({}, dev=tmp_path, nvidia_smi=lambda: True) == "gpu"
  assert doctor.accelerator_seen({"TPU_NAME": "t"}, dev=tmp_path, nvidia_smi=nothing) == "tpu"
  (tmp_path / "accel0").touch()
  assert doctor.accelerator_seen({}, dev=tmp_path, nvidia_smi=nothing) == "tpu"
  (tmp_path / "nvidia0").touch()
  assert doctor.accelerator_seen({}, dev=tmp_path, nvidia_smi=nothing) == "gpu"


@pytest.mark.parametrize("seen", ["gpu", "tpu", ""])
def test_no_advice_where_it_is_in_use(seen):
  assert doctor.fallback_warning(seen, seen or "cpu", {}) == ""


def test_advice_names_the_extra(monkeypatch):
  monkeypatch.setattr(doctor, "_version", lambda name: "absent")
  assert "pip install -e '.[cuda]'" in doctor.fallback_warning("gpu", "cpu", {})
  assert "pip install -e '.[tpu]'" in doctor.fallback_warning("tpu", "cpu", {})


def test_advice_where_the_plugin_is_there(monkeypatch):
  monkeypatch.setattr(doctor, "_version", lambda name: "1.0")
  assert "is the driver up to date?" in doctor.fallback_warning("gpu", "cpu", {})


def test_advice_where_the_user_chose_the_cpu():
  warning = doctor.fallback_warning("gpu", "cpu", {"JAX_PLATFORMS": "cpu"})
  assert "JAX_PLATFORMS=cpu is set; unset it" in warning


def test_memory_minds_a_containers_limit(tmp_path):
  meminfo = tmp_path / "meminfo"
  meminfo.write_text("MemTotal: 900 kB\nMemAvailable: 800 kB\n")
  assert doctor.available_memory(meminfo, tmp_path) == 800 * 1024
  (tmp_path / "memory.max").write_text("max\n")
  assert doctor.available_memory(meminfo, tmp_path) == 800 * 1024
  (tmp_path / "memory.max").write_text("3000\n")
  (tmp_path / "memory.current").write_text("1000\n")
  assert doctor.available_memory(meminfo, tmp_path) == 2000
  assert doctor.available_memory(tmp_path / "absent", tmp_path) is None


def test_folder_size_adds_up_all_levels(tmp_path):
  (tmp_path / "a" / "b").mkdir(parents=True)
  (tmp_path / "a" / "b" / "two").write_bytes(b"12")
  (tmp_path / "three").write_bytes(b"123")
  assert doctor.folder_size(tmp_path) == 5
  assert doctor.folder_size(tmp_path / "absent") == 0


def test_takes_no_arguments():
  parser = argparse.ArgumentParser(add_help=False)
  doctor.add_arguments(parser)
  assert vars(parser.parse_args([])) == {}
