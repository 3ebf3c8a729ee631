"""Eight simulated devices, laid out in every way, learn what one learns; what they move."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import jaxt2i
from jaxt2i.stored import complete_steps
from tests.layouts import PROMPT, SEED, TOKENIZER
from tests.runs import metrics_of

CUT = ["data", "fsdp", "tensor", "mixed"]


def environment(devices: int) -> dict[str, str]:
  return os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}


@pytest.fixture(scope="module")
def of_eight(tokenizer_run, prior_run) -> dict:
  """All that eight devices give, by one process."""
  done = subprocess.run(
    [sys.executable, "-m", "tests.layouts", str(tokenizer_run), str(prior_run)],
    cwd=os.path.dirname(os.path.dirname(__file__)),
    env=environment(8),
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


@pytest.fixture(scope="module")
def found(of_eight) -> dict:
  """What each layout gives, by case and layout.

  "plain" has no codebook (all that its devices tell each other is gradients) and no layout that
  cuts the state. The codebook of "codebook" follows the latents of all devices. "prior" has Muon,
  and blanks tokens by chance.
  """
  return of_eight["layouts"]


@pytest.mark.parametrize("layout", CUT)
@pytest.mark.parametrize("case", ["codebook", "prior"])
def test_losses_are_those_of_one_device(found, case, layout):
  for one, many in zip(found[case]["one"]["lines"], found[case][layout]["lines"], strict=True):
    np.testing.assert_allclose(many["loss"], one["loss"], rtol=1e-5)


@pytest.mark.parametrize("layout", CUT)
@pytest.mark.parametrize("case", ["codebook", "prior"])
def test_the_first_state_is_the_same_bits(found, case, layout):
  assert found[case][layout]["bits"] == found[case]["one"]["bits"]


@pytest.mark.parametrize("case", ["codebook", "prior"])
def test_no_device_ever_holds_the_whole_state(found, case):
  whole, cut = found[case]["one"]["all"], found[case]["fsdp"]
  assert cut["all"] <= cut["making"] < 0.35 * whole


@pytest.mark.parametrize("layout", CUT)
def test_codes_are_counted_and_revived_over_all_devices(found, layout):
  codebook = found["codebook"]
  dead = lambda results: [line["dead_codes"] for line in results["lines"]]
  assert dead(codebook[layout]) == dead(codebook["one"])
  many, one = (np.array(codebook[name]["counts"]) for name in (layout, "one"))
  np.testing.assert_allclose(many.sum(), one.sum(), rtol=1e-6)  # no latent is left out
  # A latent between two codes goes to either by rounding: with it, two counts differ by its weight.
  moved = np.abs(many - one) > 1e-5
  assert moved.sum() <= 4
  assert np.abs(many - one).max() < 2 * (1 - 0.99)


@pytest.mark.parametrize("case", ["plain", "prior"])
def test_data_parallel_devices_tell_each_other_their_gradients_and_nothing_else(found, case):
  assert found[case]["one"]["moved"] == {}
  ((kind, moved),) = found[case]["data"]["moved"].items()
  assert kind == "all-reduce"
  gradients = found[case]["data"]["params"]
  assert gradients <= moved <= 1.02 * gradients  # and the sums of metrics
  one, data = (found[case][layout]["lines"] for layout in ("one", "data"))
  np.testing.assert_allclose([x["loss"] for x in data], [x["loss"] for x in one], rtol=1e-5)


@pytest.mark.parametrize("case", ["codebook", "prior"])
def test_fsdp_devices_hold_their_share_of_parameters_and_optimizer(found, case):
  one, data, fsdp = (found[case][layout]["held"] for layout in ("one", "data", "fsdp"))
  assert data == one
  assert 1 / 8 <= fsdp / one < 1.1 / 8  # vectors are on every device


def test_fsdp_devices_gather_parameters_and_no_activations(of_eight):
  params, moved = of_eight["traffic"]["params"], of_eight["traffic"]["moved"]
  # Blocks are gathered once for the loss and once for its gradient; CPUs lack reduce-scatter. What
  # is looked up in tables goes to and fro too. Without `rows_apart` it is 64 times params in all.
  assert params <= moved["all-gather"] <= 2 * params
  assert params <= moved["all-reduce"] + moved["all-to-all"] <= 1.25 * params
  assert set(moved) <= {"all-gather", "all-reduce", "all-to-all"}


@pytest.mark.parametrize("case", ["codebook", "prior"])
def test_tensor_parallel_devices_hold_less(found, case):
  assert found[case]["tensor"]["held"] < 0.6 * found[case]["one"]["held"]


@pytest.mark.parametrize("devices", ["one of eight", "all of eight"])
def test_a_picture_is_the_same_alone_among_16_and_on_eight_devices(of_eight, prior_run, devices):
  pipe = jaxt2i.load(prior_run)
  alone = [
    pipe([PROMPT], n=1, seed=SEED, indices=np.array([[index]])).tokens[0, 0] for index in (0, 13)
  ]
  np.testing.assert_array_equal(of_eight["drawn"][devices], alone)
  assert not np.array_equal(*alone)


def test_a_run_moves_between_eight_devices_one_and_four(tmp_path, repository):
  command = [sys.executable, "-m", "jaxt2i.main", f"--config=configs/{TOKENIZER.format('ema')}"]
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
