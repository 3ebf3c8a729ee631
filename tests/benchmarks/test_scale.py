"""What the tables of layouts say, against what is known of a tiny prior and of simple numbers."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks import scale
from jaxt2i.training import Training

TINY = {"model.width": 16, "model.layers": 1, "model.heads": 2, "text.vocab_size": 32}
SMALL = {**TINY, "text.max_length": 4, "batch_size": 4}


@pytest.fixture(scope="module")
def found() -> dict:
  """Of one device, of two with all of the state, and of two with half of it."""
  meshes = {"one": {"data": 1}, "data": {"data": 2}, "fsdp": {"data": 1, "fsdp": 2}}
  return {name: scale.layout(mesh, SMALL) for name, mesh in meshes.items()}


def test_a_layout_is_measured(found):
  subject = scale.Subject(SMALL, grid=(8, 8), codebook_size=1000)
  params = subject.init(jax.random.key(0))["params"]
  one, data, fsdp = found["one"], found["data"], found["fsdp"]
  for layout in found.values():
    assert layout["parameters"] == sum(x.size for x in jax.tree.leaves(params))
    assert layout["gradients"] == 4 * layout["parameters"]
    assert layout["speed"] > 0
    assert layout["temporary"] > 0
  assert one["all-reduce"] == one["all-gather"] == one["others"] == 0
  assert one["gradients"] <= data["all-reduce"] <= 1.1 * one["gradients"]
  assert data["all-gather"] == data["others"] == 0
  assert data["state"] == one["state"]
  assert 0.5 <= fsdp["state"] / one["state"] < 0.6
  assert fsdp["all-gather"] >= 0.5 * one["gradients"]


def test_every_layout_and_every_size_can_be_built():
  for changes in scale.SIZES.values():
    subject = scale.Subject({**scale.LARGE, **changes}, grid=(16, 16), codebook_size=16_384)
    training = Training.of(subject.config)
    shapes = jax.eval_shape(lambda s=subject: s.init(jax.random.key(0)))["params"]
    assert training.step.compute_dtype == "bfloat16"
    assert jax.tree.leaves(shapes)[0].dtype == jnp.float32
  heads = scale.SMALL["model.heads"]
  for mesh in scale.LAYOUTS.values():
    assert heads % mesh.get("tensor", 1) == 0
    assert scale.BATCH % (mesh.get("data", 1) * mesh.get("fsdp", 1)) == 0


@pytest.mark.parametrize(("size", "millions"), [("156 M", 156), ("868 M", 868), ("3.0 B", 2978)])
def test_sizes_are_what_they_are_called(size, millions):
  subject = scale.Subject({**scale.LARGE, **scale.SIZES[size]}, grid=(16, 16), codebook_size=16_384)
  shapes = jax.eval_shape(lambda: subject.init(jax.random.key(0)))["params"]
  assert round(sum(x.size for x in jax.tree.leaves(shapes)) / 1e6) == millions
  # Blocks: 4 w² of self-attention, 4 w² of cross-attention, 8 w² of the MLP; its text encoder's two
  # layers have no cross-attention.
  width, layers = (scale.SIZES[size][f"model.{name}"] for name in ("width", "layers"))
  kernels = (16 * layers + 12 * 2) * width**2 + (2 * 16_384 + 4096) * width
  assert kernels / 1e6 == pytest.approx(millions, rel=0.01)


def test_bytes_that_travel():
  found = {"all-reduce": 80, "all-gather": 24, "others": 8}
  assert scale.sent(found, "data", 8) == (160 + 24 + 8) * 7 / 8
  assert scale.sent(found, "fsdp", 8) == (80 + 24 + 8) * 7 / 8


def test_what_fits_and_what_is_even():
  found = {"state": 10, "temporary": 16 * 3 + 20, "example": 3, "parameters": 5}
  assert scale.most(found, 100) == (90 - 30) // 3
  assert scale.most(found, 20) == 0
  chip = scale.Chip(memory=100, peak=8 * 5 * scale.TOKENS * 2, link=4)
  assert scale.balance(found, 12, chip) == 3 / 0.5  # two examples a second


def test_the_plan_is_printed(monkeypatch, capsys):
  row = {"state": 2e9, "all-reduce": 1e9, "all-gather": 0, "others": 0, "temporary": 3e9}
  asked = []

  def planned(size, axis, devices):
    asked.append((size, axis, devices))
    return {**row, "example": 1e8, "parameters": 155_821_056}

  monkeypatch.setattr(scale, "planned", planned)
  monkeypatch.setattr(scale, "unrolled", lambda size: (0.8, 2.5e8))
  monkeypatch.setenv("XLA_FLAGS", "")
  assert scale.main(["--plan"]) == 0
  lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 156 M")]
  assert len(asked) == 9
  # (0.9 · 16 − 2 − 3 + 1.6) / 0.1 examples fit on a v5e.
  assert [cell.strip() for cell in lines[0].strip("|").split("|")][:10] == [
    *("156 M", "156", "data=8", "2", "1", "0", "3", "0.1", "1.75", "110")
  ]
