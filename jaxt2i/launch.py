"""Fills in the templates of `launch/`, which start a training elsewhere or in several processes.

A template is a file that can be read as it is, with `@name@` where a value belongs. What is put
there is quoted for the file's own language, `@sh:name@` for a shell in whatever file.
"""

import dataclasses
import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from jaxt2i import environment
from jaxt2i.errors import UsageError

# What a template knows of: text, a number, or the words of a command.
Value = str | int | Sequence[str]

# Where hosts that we don't know see --storage.
SHARED = "/mnt/shared"

_MARK = re.compile(r"@(sh:)?([a-z_]+)@")
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")  # as Kubernetes' labels, with room for more
_TOPOLOGY = re.compile(r"[1-9]\d*x[1-9]\d*(x[1-9]\d*)?")


@dataclasses.dataclass(frozen=True)
class Target:
  """A place to train at.

  Attributes:
    file: of `launch/`.
    needs: the options that must be given.
    takes: further options, with their defaults.
    program: which must be installed to start it.
    elsewhere: the code is cloned there, so paths of this machine mean nothing.
  """

  file: str
  needs: tuple[str, ...] = ()
  takes: Mapping[str, Value] = dataclasses.field(default_factory=dict)
  program: str = ""
  elsewhere: bool = True


_NAMED: Mapping[str, Value] = {"name": "jaxt2i"}
_NODES: Mapping[str, Value] = {**_NAMED, "nodes": 1}

TARGETS = {
  "colab": Target("colab.ipynb", needs=("repository",), takes={"out": ""}),
  "tpu_vm": Target(
    "tpu_vm.sh", needs=("repository", "name", "zone"), takes={"storage": ""}, program="gcloud"
  ),
  "slurm": Target("slurm.sh", takes={**_NODES, "gpus": 1}, program="sbatch", elsewhere=False),
  "kubernetes_gpu": Target(
    "kubernetes_gpu.yaml",
    needs=("repository", "storage"),
    takes={**_NODES, "gpus": 1},
    program="kubectl",
  ),
  "kubernetes_tpu": Target(
    "kubernetes_tpu.yaml",
    needs=("repository", "storage", "accelerator", "topology"),
    takes=_NODES,
    program="kubectl",
  ),
  "skypilot": Target(
    "skypilot.yaml",
    needs=("repository", "storage", "accelerator"),
    takes=_NODES,
    program="sky",
  ),
  "local_processes": Target(
    "local_processes.sh", takes={"processes": 2}, program="bash", elsewhere=False
  ),
}


def render(target: str, options: Mapping[str, Value], arguments: Sequence[str], python: str) -> str:
  """The text of a target's file, ready to be started.

  Args:
    target: a key of TARGETS.
    options: those that were given, by their names in `Target`.
    arguments: of `jaxt2i.main`: --config=…, --workdir=…, --config.x=y.
    python: the interpreter, for targets that run where this one does.

  Raises:
    UsageError: an option that is missing, of no use to the target, or without sense.
  """
  chosen = TARGETS[target]
  values = {**_checked(target, chosen, options), "arguments": list(arguments), "python": python}
  for option in arguments:
    name, _, text = option.partition("=")
    if not option.isprintable():
      raise UsageError(f"{name} holds a line break or control character: {text!r}")
    if name == "--config":
      _check_config(text, elsewhere=chosen.elsewhere)
    elif name == "--workdir":
      shared = chosen.elsewhere and bool(values.get("storage"))
      values["workdir"] = _check_workdir(text, shared=shared)
  values.update(_derived(values))
  text = (environment.launch_dir() / chosen.file).read_text(encoding="utf-8")
  return _filled_notebook(text, values) if text.startswith("{") else _filled(text, values)


def _checked(target: str, chosen: Target, options: Mapping[str, Value]) -> dict[str, Value]:
  known = [*chosen.needs, *chosen.takes]
  for name, value in options.items():
    if name not in known:
      listed = ", ".join(f"--{option}" for option in known)
      raise UsageError(f"--{name} is of no use to --target={target}, which takes {listed}")
    if isinstance(value, int) and value < 1:
      raise UsageError(f"--{name} is {value}: must be 1 or more")
    if isinstance(value, str) and not (value and value.isprintable()):
      raise UsageError(f"--{name} is {value!r}: must be text without line breaks")
  missing = [f"--{name}" for name in chosen.needs if name not in options]
  if missing:
    raise UsageError(f"--target={target} needs {', '.join(missing)} (see launch/{chosen.file})")
  values = {**chosen.takes, **options}
  job = str(values.get("name", "jaxt2i"))
  if not _NAME.fullmatch(job):
    raise UsageError(f"--name is {job!r}: must be a-z, 0-9 and -, a letter first, 40 at most")
  return values


def _check_config(text: str, *, elsewhere: bool) -> None:
  """A wrong name should not be found out on a cluster that is paid for by then."""
  path = Path(text.partition(":")[0])
  if not path.is_file():
    raise UsageError(f"{path} does not exist: --config is a file such as configs/vqvae.py")
  if elsewhere and (path.is_absolute() or ".." in path.parts):
    raise UsageError(f"--config is {path}: must be a path in the repository, such as configs/x.py")


def _check_workdir(text: str, *, shared: bool) -> str:
  if "://" in text:
    raise UsageError(f"--workdir is {text}: must be a path; mount the bucket, and name it there")
  path = PurePosixPath(text)
  if shared and (PurePosixPath(SHARED) not in path.parents or ".." in path.parts):
    raise UsageError(f"--workdir is {text}: must lie in {SHARED}, where all hosts see --storage")
  return text


def _derived(values: Mapping[str, Value]) -> dict[str, Value]:
  """What templates need beside the options."""
  found: dict[str, Value] = {}
  accelerator, topology = str(values.get("accelerator", "")), str(values.get("topology", ""))
  found["extra"] = "tpu" if accelerator.lower().startswith("tpu") else "cuda"
  if topology:
    nodes = values["nodes"]
    assert isinstance(nodes, int)
    if not _TOPOLOGY.fullmatch(topology):
      raise UsageError(
        f"--topology is {topology!r}: must be the chips a side, such as 4x4 or 2x2x4"
      )
    chips = math.prod(map(int, topology.split("x")))
    if chips % nodes:
      raise UsageError(
        f"--nodes is {nodes}: the {chips} chips of {topology} can't be shared evenly"
      )
    found["chips"] = chips // nodes
  # Kubernetes would put variables in for $(…); $$ is a $ to it.
  words = [str(values.get("repository", "")), *_words(values["arguments"])]
  found["container_arguments"] = [word.replace("$", "$$") for word in words]
  return found


def _words(value: Value) -> list[str]:
  return [str(value)] if isinstance(value, str | int) else list(value)


def _in_shell(value: Value) -> str:
  return shlex.join(_words(value))


def _in_json(value: Value) -> str:
  """JSON, which is YAML too."""
  return json.dumps(value, ensure_ascii=False)


def _filled(text: str, values: Mapping[str, Value]) -> str:
  """A script (known by its #!) or YAML with values put in, in one pass: values hold no marks."""
  own = _in_shell if text.startswith("#!") else _in_json
  return _MARK.sub(lambda mark: (_in_shell if mark[1] else own)(values[mark[2]]), text)


def _filled_notebook(text: str, values: Mapping[str, Value]) -> str:
  """A notebook with values put into its cells as Python, each in place of a string `"@name@"`."""
  notebook = json.loads(text)
  for cell in notebook["cells"]:
    cell["source"] = [
      re.sub(r'"@([a-z]+)@"', lambda mark: repr(values[mark[1]]), line) for line in cell["source"]
    ]
  return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"
