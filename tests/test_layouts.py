"""Eight simulated devices, laid out in every way, learn what one learns; what they move."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxt2i.stored import complete_steps
from tests.runs import metrics_of

NAME = "vqvae:{},vit,shapes,tiny"


def environment(devices: int) -> dict[str, str]:
  return os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}


def results(quantizer: str) -> dict:
  root = os.path.dirname(os.path.dirname(__file__))
  done = subprocess.run(
    [sys.executable, "-m", "tests.layouts", NAME.format(quantizer)],
    cwd=root,
    env=environment(8),
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


@pytest.fixture(scope="module")
def plain() -> dict:
  """Without a codebook: all that devices tell each other is gradients."""
  return results("fsq")


@pytest.fixture(scope="module")
def codebook() -> dict:
  """With a codebook that follows the latents of all devices."""
  return results("ema")


@pytest.mark.parametrize("layout", ["data", "fsdp", "tensor", "mixed"])
def test_losses_are_those_of_one_device(plain, codebook, layout):
  for found in (plain, codebook):
    for one, many in zip(found["one"]["lines"], found[layout]["lines"], strict=True):
      np.testing.assert_allclose(many["loss"], one["loss"], rtol=1e-5)


@pytest.mark.parametrize("layout", ["data", "fsdp", "tensor", "mixed"])
def test_codes_are_counted_and_revived_over_all_devices(codebook, layout):
  dead = lambda found: [line["dead_codes"] for line in found["lines"]]
  assert dead(codebook[layout]) == dead(codebook["one"])
  many, one = (np.array(codebook[name]["counts"]) for name in (layout, "one"))
  np.testing.assert_allclose(many.sum(), one.sum(), rtol=1e-6)  # no latent is left out
  # A latent between two codes goes to either by rounding: with it, two counts differ by its weight.
  moved = np.abs(many - one) > 1e-5
  assert moved.sum() <= 4
  assert np.abs(many - one).max() < 2 * (1 - 0.99)


def test_data_parallel_devices_tell_each_other_their_gradients_and_nothing_else(plain):
  assert plain["one"]["moved"] == {}
  (kind,) = plain["data"]["moved"]
  assert kind == "all-reduce"
  gradients, moved = plain["data"]["params"], plain["data"]["moved"][kind]
  assert gradients <= moved <= 1.02 * gradients  # and the sums of metrics


def test_fsdp_devices_hold_their_share_of_parameters_and_optimizer(plain):
  assert plain["data"]["held"] == plain["one"]["held"]
  share = plain["fsdp"]["held"] / plain["one"]["held"]
  assert 1 / 8 <= share < 1.1 / 8  # vectors are on every device


def test_tensor_parallel_devices_hold_less(plain):
  assert plain["tensor"]["held"] < 0.6 * plain["one"]["held"]


def test_a_run_moves_between_eight_devices_one_and_four(tmp_path, repository):
  command = [sys.executable, "-m", "jaxt2i.main", f"--config=configs/{NAME.format('ema')}"]
  command[-1] = command[-1].replace("vqvae:", "vqvae.py:")
  loop = {"num_steps": 30, "log_every": 5, "eval_every": 30, "checkpoint_every": 5}
  command += [f"--config.loop.{name}={value}" for name, value in loop.items()]
  command += ["--config.batch_size=8"]

  def begin(workdir, devices, **mesh):
    axes = [f"--config.mesh.{axis}={size}" for axis, size in mesh.items()]
    return subprocess.Popen(
      [*command, f"--workdir={workdir}", *axes],
      cwd=repository,
      env=environment(devices),
      stderr=subprocess.PIPE,
      text=True,
    )

  moving, whole = tmp_path / "moving", tmp_path / "whole"
  for devices, mesh in ((8, {"fsdp": 4}), (1, {})):
    process, before = begin(moving, devices, **mesh), complete_steps(moving / "checkpoints")
    deadline = time.monotonic() + 200
    while complete_steps(moving / "checkpoints") == before and process.poll() is None:
      assert time.monotonic() < deadline
      time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    log = process.communicate(timeout=100)[1]
    assert process.returncode == 3, log
  for workdir, devices, mesh in ((moving, 4, {"fsdp": 2, "tensor": 2}), (whole, 1, {})):
    process = begin(workdir, devices, **mesh)
    log = process.communicate(timeout=300)[1]
    assert process.returncode == 0, log
  for here, there in zip(metrics_of(moving), metrics_of(whole), strict=True):
    assert here["step"] == there["step"]
    np.testing.assert_allclose(here["loss"], there["loss"], rtol=1e-2)
