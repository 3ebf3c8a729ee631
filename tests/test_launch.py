"""The templates of `launch/`: every target renders, and what runs gets its arguments whole.

Programs that are not here (srun, gcloud, git, pip …) are stood in for by one that writes down what
it was called with.
"""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

from jaxt2i import environment, launch
from jaxt2i.errors import UsageError

HOSTILE = '/mnt/shared/it\'s "$(touch broken)" `touch broken` $HOME; touch broken & 𝄞 #*'
ARGUMENTS = [
  "--config=configs/vqvae.py:tiny",
  f"--workdir={HOSTILE}",
  "--config.data.path=$(touch broken) $$HOME ${HOME} @name@",
]
ADDRESS = "ssh://git@example.org/it's $(touch broken).git"
OPTIONS: dict[str, dict[str, launch.Value]] = {
  "colab": {"repository": ADDRESS},
  "tpu_vm": {
    **{"repository": ADDRESS, "name": "my-tpu", "zone": "europe-west4-b"},
    "storage": "10.0.0.2:/a share",
  },
  "slurm": {"nodes": 2, "gpus": 4},
  "kubernetes_gpu": {"repository": ADDRESS, "storage": "claim", "nodes": 3, "gpus": 8},
  "kubernetes_tpu": {
    **{"repository": ADDRESS, "storage": "claim", "nodes": 4},
    **{"accelerator": "tpu-v5-lite-podslice", "topology": "4x4"},
  },
  "skypilot": {
    **{"repository": ADDRESS, "storage": "gs://bucket", "nodes": 2},
    "accelerator": "H100:8",
  },
  "local_processes": {},
}
# Writes down its name and arguments, one call a line; exits as CODES says, one code a call.
STAND_IN = """#!{python}
import json, os, sys
name = os.path.basename(sys.argv[0])
kept = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
with open({calls!r}, "a") as file:
  values = {{k: os.environ[k] for k in kept if k in os.environ}}
  file.write(json.dumps([name, *sys.argv[1:], values]) + "\\n")
{body}
"""
# What stands in for the training says who it is, and saves on SIGTERM if it is told to wait.
TRAINING = """#!{python}
import os, signal, sys, time
if sys.argv[1] == "-c":
  exec(sys.argv[2])
  sys.exit()
me = int(os.environ["JAX_PROCESS_ID"])
def save(*_):
  time.sleep(0.3)
  print("saved", flush=True)
  sys.exit(3)
signal.signal(signal.SIGTERM, save)
environ = [os.environ["JAX_" + name] for name in ("NUM_PROCESSES", "COORDINATOR_ADDRESS")]
print(sys.argv[1:], *environ, flush=True)
code = {codes}[me]
if code is None:
  time.sleep(120)
sys.exit(code)
"""


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch, repository):
  monkeypatch.chdir(repository)


def render(target: str, python: str = sys.executable) -> str:
  return launch.render(target, OPTIONS[target], ARGUMENTS, python)


class Stage:
  """A folder with programs that stand in, and what they were called with."""

  def __init__(self, folder: Path):
    self.folder = folder
    self.calls_file = folder / "calls"
    self.environment = {
      "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
      "HOME": str(folder),
      "TERM": "dumb",
    }

  def add(self, name: str, body: str = "", text: str = STAND_IN) -> Path:
    path = self.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.format(python=sys.executable, calls=str(self.calls_file), body=body))
    path.chmod(0o755)
    return path

  def run(self, command: list[str], **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
      command,
      cwd=self.folder,
      env={**self.environment, **environ},
      capture_output=True,
      text=True,
      timeout=60,
    )

  def calls(self, name: str) -> list[list]:
    """Arguments and variables of each call of a program."""
    assert not list(self.folder.rglob("broken")), "a value was run as a command"
    lines = map(json.loads, self.calls_file.read_text(encoding="utf-8").splitlines())
    return [line[1:] for line in lines if line[0] == name]


@pytest.fixture
def stage(tmp_path) -> Stage:
  return Stage(tmp_path)


def trained(stage: Stage, name: str = "python") -> list[str]:
  """The arguments of the one call of `-m jaxt2i.main`."""
  (call,) = [call for call in stage.calls(name) if call[:2] == ["-m", "jaxt2i.main"]]
  return call[2:-1]


def test_every_file_is_a_target():
  files = {path.name for path in environment.launch_dir().iterdir()}
  assert files == {target.file for target in launch.TARGETS.values()}
  assert set(OPTIONS) == set(launch.TARGETS)


@pytest.mark.parametrize("target", launch.TARGETS)
def test_no_mark_is_left(target):
  text = render(target).replace("@name@", "", 1)  # that of ARGUMENTS is the user's
  assert not re.search(r"@(sh:)?[a-z_]+@", text)


@pytest.mark.parametrize("target", ["tpu_vm", "slurm", "local_processes"])
def test_scripts_have_no_syntax_error(target):
  done = subprocess.run(["bash", "-n"], input=render(target), capture_output=True, text=True)
  assert (done.returncode, done.stderr) == (0, "")


def test_slurm(stage):
  python = stage.add("bin/a python")
  stage.add("bin/srun", "import subprocess\nsys.exit(3)")
  stage.add("bin/scontrol")
  text = render("slurm", str(python))
  header = set(re.findall(r"^#SBATCH (.*)$", text, re.MULTILINE))
  assert {"--nodes=2", "--gpus-per-node=4", "--ntasks-per-node=4", "--requeue"} <= header
  assert {"--signal=TERM@60", "--open-mode=append", "--job-name=jaxt2i"} <= header
  done = stage.run(["bash", "-c", text], SLURM_CPUS_PER_TASK="4", SLURM_JOB_ID="77")
  (call,) = stage.calls("srun")
  place = call.index(str(python))
  assert call[place + 1 : -1] == ["-m", "jaxt2i.main", "--distributed", *ARGUMENTS]
  assert all(word.startswith("--") for word in call[:place])
  assert stage.calls("scontrol") == [["requeue", "77", {}]]
  assert done.returncode == 3


def test_slurm_does_not_queue_again_what_failed(stage):
  stage.add("bin/srun", "sys.exit(1)")
  stage.add("bin/scontrol")
  done = stage.run(["bash", "-c", render("slurm")], SLURM_CPUS_PER_TASK="4", SLURM_JOB_ID="77")
  assert done.returncode == 1
  assert stage.calls("scontrol") == []


def test_tpu_vm_runs_on_every_host_and_goes_on_after_maintenance(stage):
  # What gcloud would have a host do is done here. Setting up is only looked at: it needs root.
  stage.add(
    "bin/gcloud",
    "import subprocess\n"
    "command = [word for word in sys.argv if word.startswith('--command=')]\n"
    "if not command:\n"
    "  print('READY')\n"
    "elif 'jaxt2i.main' in command[0]:\n"
    "  sys.exit(subprocess.call(['bash', '-c', command[0].partition('=')[2]]))",
  )
  # The first training is interrupted, the second one ends.
  body = "sys.exit(0 if os.path.exists('once') else (open('once', 'w').close(), 3)[1])"
  stage.add("jaxt2i/.venv/bin/python", body)
  done = stage.run(["bash", "-c", render("tpu_vm")])
  assert done.returncode == 0, done.stderr
  calls = stage.calls("gcloud")
  assert [call[3] for call in calls] == ["ssh", "ssh", "describe", "ssh", "ssh"]
  assert {(call[4], call[5]) for call in calls} == {("my-tpu", "--zone=europe-west4-b")}
  assert all("--worker=all" in call for call in calls if call[3] == "ssh")
  wanted = ["-m", "jaxt2i.main", "--distributed", *ARGUMENTS, {}]
  assert stage.calls("python") == [wanted, wanted]
  setup = calls[0][7].removeprefix("--command=")
  for name in ("sudo", "git"):
    stage.add(f"bin/{name}")
  stage.add("bin/mountpoint", "sys.exit(1)")
  stage.add("bin/python3")
  assert stage.run(["bash", "-c", setup]).returncode == 0
  assert ["mount", "-t", "nfs", "10.0.0.2:/a share", "/mnt/shared", {}] in stage.calls("sudo")
  assert stage.calls("git") == []  # it is there already
  (stage.folder / "jaxt2i").rename(stage.folder / "elsewhere")
  stage.run(["bash", "-c", setup])
  assert stage.calls("git") == [["clone", "--", ADDRESS, "jaxt2i", {}]]


def test_tpu_vm_that_is_gone_ends_the_loop(stage):
  stage.add(
    "bin/gcloud", "print('PREEMPTED')\nsys.exit(3 if 'jaxt2i.main' in ' '.join(sys.argv) else 0)"
  )
  done = stage.run(["bash", "-c", render("tpu_vm")])
  assert done.returncode == 3
  assert "my-tpu is gone (PREEMPTED)" in done.stderr


def as_kubernetes(word: str, variables: dict[str, str]) -> str:
  """What Kubernetes makes of a word of `command` or `args`: $$ is $, $(KNOWN) its value."""
  known = lambda match: (
    "$" if match[0] == "$$" else variables.get(match[1], match[0])  # unknown ones stay
  )
  return re.sub(r"\$\$|\$\(([^)]*)\)", known, word)


@pytest.mark.parametrize("target", ["kubernetes_gpu", "kubernetes_tpu"])
def test_kubernetes(target, stage):
  jobset = yaml.safe_load(render(target))
  assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
  assert jobset["metadata"]["name"] == "jaxt2i"
  policy = jobset["spec"]["failurePolicy"]
  assert policy["rules"][0]["action"] == "RestartJobSetAndIgnoreMaxRestarts"
  (group,) = jobset["spec"]["replicatedJobs"]
  job = group["template"]["spec"]
  count = 3 if target == "kubernetes_gpu" else 4
  assert job["completions"] == job["parallelism"] == count
  assert job["completionMode"] == "Indexed"
  assert job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [3]
  pod = job["template"]["spec"]
  assert pod["restartPolicy"] == "Never"  # the policies for failures demand it
  (container,) = pod["containers"]
  assert container["name"] == job["podFailurePolicy"]["rules"][0]["onExitCodes"]["containerName"]
  assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "claim"
  assert container["volumeMounts"][0]["mountPath"] == launch.SHARED
  if target == "kubernetes_gpu":
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 8}
    variables = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert variables["JAX_NUM_PROCESSES"] == "3"  # numbers are refused here
    host = f"jaxt2i-{group['name']}-0-0.jaxt2i"  # as JobSet names the first pod
    assert variables["JAX_COORDINATOR_ADDRESS"] == f"{host}:8476"
  else:
    assert container["resources"]["limits"] == {"google.com/tpu": 4}
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == "4x4"
  for name in ("git", "pip", "python"):
    stage.add(f"bin/{name}")
  place = stage.folder / "srv"
  place.mkdir()
  variables = {"touch broken": "touch broken", "HOME": "/nowhere"}
  words = [as_kubernetes(word, variables) for word in container["command"] + container["args"]]
  done = stage.run([word.replace("/srv/jaxt2i", str(place)) for word in words])
  assert done.returncode == 0, done.stderr
  assert stage.calls("git") == [["clone", "--depth=1", "--", ADDRESS, str(place), {}]]
  extra = ".[cuda]" if target == "kubernetes_gpu" else ".[tpu]"
  assert stage.calls("pip")[0][-2] == extra
  assert trained(stage) == ["--distributed", *ARGUMENTS]


@pytest.mark.parametrize("accelerator", ["H100:8", "tpu-v5litepod-16"])
def test_skypilot(accelerator, stage):
  options = {**OPTIONS["skypilot"], "accelerator": accelerator}
  task = yaml.safe_load(launch.render("skypilot", options, ARGUMENTS, "python"))
  assert (task["name"], task["num_nodes"]) == ("jaxt2i", 2)
  assert task["resources"]["accelerators"] == accelerator
  assert task["resources"]["job_recovery"]["recover_on_exit_codes"] == [3]
  assert task["file_mounts"] == {launch.SHARED: {"source": "gs://bucket", "mode": "MOUNT"}}
  stage.add("bin/git", "os.makedirs('jaxt2i')")
  stage.add("bin/python3")
  environ = {
    "SKYPILOT_NODE_IPS": "10.0.0.5\n10.0.0.6",
    "SKYPILOT_NUM_NODES": "2",
    "SKYPILOT_NODE_RANK": "1",
  }
  stage.run(["bash", "-c", task["setup"]])
  assert stage.calls("git") == [["clone", "--", ADDRESS, "jaxt2i", {}]]
  stage.add("jaxt2i/.venv/bin/python", "sys.exit(3 if '-m' in sys.argv else 0)")
  assert stage.run(["bash", "-c", task["run"]], **environ).returncode == 3
  assert trained(stage) == ["--distributed", *ARGUMENTS]
  gpu = {
    "JAX_COORDINATOR_ADDRESS": "10.0.0.5:8476",
    "JAX_NUM_PROCESSES": "2",
    "JAX_PROCESS_ID": "1",
  }
  assert stage.calls("python")[-1][-1] == (gpu if accelerator == "H100:8" else {})


def test_colab_notebook_is_whole_and_clean():
  notebook = nbformat.reads(render("colab"), as_version=4)
  nbformat.validate(notebook)
  assert notebook.metadata.accelerator == "TPU"
  for cell in notebook.cells:
    if cell.cell_type != "code":
      continue
    assert (cell.outputs, cell.execution_count) == ([], None)
    compile(re.sub(r"^( *)[!%].*$", r"\1pass", cell.source, flags=re.MULTILINE), cell.id, "exec")


def test_colab_notebook_runs_from_the_first_cell_to_the_last(stage, monkeypatch):
  """With stand-ins for every command, and without TensorBoard's cell."""
  picture = "b'GIF89a\\x01\\x00\\x01\\x00\\x00\\x00\\x00;'"
  stage.add("bin/git", "os.makedirs(sys.argv[-1])")
  draw = (
    "if sys.argv[1] == 'quickstart':\n"
    "  os.makedirs('runs/quickstart/pictures')\n"
    f"  open('runs/quickstart/pictures/grid.png', 'wb').write({picture})"
  )
  stage.add("bin/jaxt2i", draw)
  for name in ("pip", "python"):
    stage.add(f"bin/{name}")
  for name, value in stage.environment.items():
    monkeypatch.setenv(name, value)
  notebook = nbformat.reads(render("colab"), as_version=4)
  notebook.cells = [cell for cell in notebook.cells if "%load_ext" not in cell.source]
  resources = {"metadata": {"path": str(stage.folder)}}
  NotebookClient(notebook, kernel_name="python3", timeout=60, resources=resources).execute()
  assert stage.calls("git") == [["clone", "--depth=1", "--", ADDRESS, "jaxt2i", {}]]
  assert trained(stage) == ARGUMENTS
  first, second = stage.calls("pip")
  assert first == ["install", "-q", "--no-deps", "-e", "jaxt2i", {}]
  assert second == ["install", "-q", "-c", "installed.txt", "-r", "missing.txt", {}]
  # All that jaxt2i needs is installed here, and held as it is.
  assert (stage.folder / "missing.txt").read_text() in ("", "tensorboard")
  import jax

  assert f"jax=={jax.__version__}" in (stage.folder / "installed.txt").read_text().split()


def local(stage: Stage, codes: list[int | None]) -> list[str]:
  """The command of local_processes with a stand-in that ends with these codes (None: it waits)."""
  path = stage.folder / "bin" / "a python"
  path.parent.mkdir()
  path.write_text(TRAINING.format(python=sys.executable, codes=codes))
  path.chmod(path.stat().st_mode | stat.S_IXUSR)
  options: dict[str, launch.Value] = {"processes": len(codes)}
  return ["bash", "-c", launch.render("local_processes", options, ARGUMENTS, str(path))]


def test_local_processes_know_of_each_other(stage):
  done = stage.run(local(stage, [0, 0, 0]))
  assert done.returncode == 0, done.stderr
  words = re.escape(str(["-m", "jaxt2i.main", "--distributed", *ARGUMENTS]))
  lines = sorted(done.stdout.splitlines())
  assert len(lines) == 3
  ports = set()
  for i, line in enumerate(lines):
    match = re.fullmatch(rf"\[{i}\] {words} 3 127\.0\.0\.1:(\d+)", line)
    assert match, line
    ports.add(match[1])
  assert len(ports) == 1


@pytest.mark.parametrize(
  ("codes", "expected"),
  [([0, 3], 3), ([3, 3], 3), ([0, 1], 1), ([3, 2], 2), ([2, 3], 2), ([None, 5], 5), ([7, None], 7)],
)
def test_local_processes_end_with_the_code_that_matters(codes, expected, stage):
  assert stage.run(local(stage, codes)).returncode == expected


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_local_processes_all_save_when_asked(number, stage):
  # A test run in the background may ignore Ctrl-C, and whom it starts would inherit that.
  command = ["env", "--default-signal=INT", *local(stage, [None, None])]
  with subprocess.Popen(
    command, env=stage.environment, cwd=stage.folder, stdout=subprocess.PIPE, text=True
  ) as process:
    assert process.stdout is not None
    started = [process.stdout.readline() for _ in range(2)]
    assert all("--distributed" in line for line in started)
    time.sleep(0.1)
    process.send_signal(number)
    rest = process.stdout.read()
    assert process.wait(timeout=30) == 3
  assert sorted(rest.splitlines()) == ["[0] saved", "[1] saved"]


@pytest.mark.parametrize(
  ("target", "options", "workdir", "message"),
  [
    ("slurm", {"zone": "here"}, "runs/a", "--zone is of no use to --target=slurm, which takes"),
    ("slurm", {"nodes": 0}, "runs/a", "--nodes is 0: must be 1 or more"),
    ("slurm", {"name": "My Job"}, "runs/a", "--name is 'My Job': must be a-z"),
    ("slurm", {"name": "x\n#SBATCH --uid=0"}, "runs/a", "without line breaks"),
    ("slurm", {}, "runs/a\nb", "--workdir holds a line break"),
    ("slurm", {}, "gs://bucket/a", "must be a path; mount the bucket"),
    ("tpu_vm", {"repository": "r"}, "runs/a", "--target=tpu_vm needs --name, --zone"),
    ("skypilot", OPTIONS["skypilot"], "runs/a", "must lie in /mnt/shared"),
    ("skypilot", OPTIONS["skypilot"], "/mnt/shared/../a", "must lie in /mnt/shared"),
    ("kubernetes_tpu", {"nodes": 3}, "/mnt/shared/a", "--nodes is 3: the 16 chips of 4x4 can't"),
    (
      "kubernetes_tpu",
      {"topology": "16"},
      "/mnt/shared/a",
      "--topology is '16': must be the chips",
    ),
  ],
)
def test_refuses_what_could_not_run(target, options, workdir, message):
  if target == "kubernetes_tpu":
    options = {**OPTIONS[target], **options}
  arguments = ["--config=configs/vqvae.py:tiny", f"--workdir={workdir}"]
  with pytest.raises(UsageError, match=re.escape(message)):
    launch.render(target, options, arguments, "python")


def test_refuses_configs_that_are_not_there(repository):
  here = str(repository / "configs" / "vqvae.py")
  with pytest.raises(UsageError, match=r"configs/nothing\.py does not exist"):
    launch.render("slurm", {}, ["--config=configs/nothing.py", "--workdir=a"], "python")
  assert here in launch.render("slurm", {}, [f"--config={here}", "--workdir=a"], "python")
  with pytest.raises(UsageError, match="must be a path in the repository"):
    launch.render("colab", {"repository": "r"}, [f"--config={here}", "--workdir=a"], "python")
