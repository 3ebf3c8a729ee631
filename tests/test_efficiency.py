"""What a run costs: counts against those made by hand, times that are at least in order."""

import csv
import json
import math
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxt2i import cli, cost, efficiency, evaluation_report, weights
from tests.runs import config


@pytest.fixture(autouse=True)
def _few(monkeypatch):
  monkeypatch.setattr(efficiency, "REPEATS", {1: 3, 16: 2})
  monkeypatch.setattr(cost, "_SIDE", 256)
  monkeypatch.setattr(cost, "_STEPS", 2)


def evaluate(workdir, *arguments) -> int:
  return cli.main(["evaluate", f"--workdir={workdir}", "--metrics=efficiency", *arguments])


def measured(workdir):
  report = evaluation_report.read(workdir / "eval" / "efficiency.json")
  return report.parts["efficiency"]


def test_operations_are_counted_as_by_hand():
  a, b = jnp.ones((40, 60)), jnp.ones((60, 50))
  assert cost.flops(jax.jit(jnp.matmul).lower(a, b).compile()) == 2 * 40 * 60 * 50
  assert cost.flops(jnp.matmul) == 0


def test_a_priors_table(prior_run, tmp_path):
  workdir = shutil.copytree(prior_run, tmp_path / "run")
  assert evaluate(workdir, "--temperature=0.5") == 0
  part = measured(workdir)
  found = part.values
  params, collections = weights.read(workdir)
  both = jax.tree.leaves((params, collections["frozen"]["params"]))
  assert found["parameters"] == sum(x.size for x in both)
  assert found["parameters"] == sum(found["parameters_by_part"].values())
  every = jax.tree.leaves((params, collections["frozen"]))
  assert found["memory_bytes"] == sum(np.asarray(x).nbytes for x in every)
  assert found["disk_bytes"] > found["memory_bytes"]  # the optimiser's state lies there too
  for batch in (1, 16):
    assert 0 < found[f"draw_{batch}_p50_ms"] <= found[f"draw_{batch}_p95_ms"]
    rate = 1000 * batch / found[f"draw_{batch}_p50_ms"]
    assert found[f"draw_{batch}_images_a_second"] == pytest.approx(rate)
  assert found["examples_a_second"] == pytest.approx(4 * 1000 / found["step_ms"])
  share = found["step_flops"] / found["step_ms"] * 1000 / found["matmul_flops_a_second"]
  assert found["share_of_matmul"] == pytest.approx(share)
  # A step goes there and back over 4 images, which takes three times the loss, and moves weights.
  assert found["step_flops"] / 4 > 2 * found["prior_flops"]
  assert found["training_starts"] == 1
  assert found["training_seconds"] > 0
  assert "cpu" in part.protocol["devices"]
  with (workdir / "eval" / "efficiency.csv").open() as file:
    assert "parameters" in {row["name"] for row in csv.DictReader(file)}


def test_a_tokenizer_has_both_ways(tokenizer_run, tmp_path):
  workdir = shutil.copytree(tokenizer_run, tmp_path / "run")
  assert evaluate(workdir) == 0
  found = measured(workdir).values
  assert {"encode_1_p50_ms", "decode_16_p95_ms", "encode_flops", "decode_flops"} <= found.keys()
  assert not any(name.startswith(("draw", "prior")) for name in found)


def test_an_exported_run_leaves_its_training_out(prior_run, tmp_path, capsys):
  out = tmp_path / "out"
  weights.export(prior_run, out)
  assert evaluate(out) == 0
  found = measured(out).values
  assert found["disk_bytes"] == (out / "weights.safetensors").stat().st_size
  assert "step_ms" not in found
  assert "training_seconds" not in found
  assert "the training step is left out: config.tokenizer is empty" in capsys.readouterr().err
  assert all(math.isfinite(x) for x in found.values() if isinstance(x, float))


def test_what_cannot_be_is_one_line(prior_run, tmp_path, capsys):
  assert evaluate(prior_run, "--metrics=efficiency,copies") == 2
  assert "efficiency is measured alone" in capsys.readouterr().err
  assert evaluate(tmp_path) == 1
  assert "holds no run" in capsys.readouterr().err


def test_the_cost_of_a_step():
  found = cost.of_step(config("vqvae:ema,shapes,tiny"))
  assert found.examples == 4
  assert found.seconds > 0
  assert found.flops > found.parameters
  assert json.dumps(efficiency.of_training(found))
