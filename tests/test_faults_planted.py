"""A workdir from somewhere else, with code and class names planted in it: nothing of it is run."""

import ast
import json
import pickle
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jaxt2i
from jaxt2i import cli, main
from jaxt2i.caption_features import of_known
from jaxt2i.errors import UserError
from jaxt2i.experiment.parts import FEATURES_FILE
from tests.faults import digests
from tests.runs import PRIOR, config, metrics_of, train
from tests.sentences import random_encoder

PROMPT = "large red star left of small blue heart"


class _Touch:
  """Unpickled by an ordinary unpickler, it makes a file."""

  def __init__(self, path: Path):
    self.path = str(path)

  def __reduce__(self) -> Any:
    return open, (self.path, "w")


@pytest.fixture
def canary(tmp_path: Path):
  """A path at which no file may come to be."""
  path = tmp_path / "canary"
  pickle.loads(pickle.dumps(_Touch(path))).close()  # or the tests could not fail
  path.unlink()
  yield path
  assert not path.exists()


@pytest.fixture
def run(prior_run: Path, tmp_path: Path) -> Path:
  """A prior's workdir that may be changed."""
  return shutil.copytree(prior_run, tmp_path / "run")


@pytest.fixture
def commands(run: Path, tokenizer_run: Path, capsys) -> dict[str, Callable[[], int]]:
  """All that is done with a workdir, training last; each gives an exit code."""
  generate = ["generate", f"--workdir={run}", f"--prompt={PROMPT}", f"--out={run.parent / 'out'}"]
  chosen = config(PRIOR, tokenizer=str(tokenizer_run))
  calls: dict[str, Callable[[], Any]] = {
    "load": lambda: jaxt2i.load(run),
    "generate": lambda: cli.main(generate),
    "evaluate": lambda: cli.main(["evaluate", f"--workdir={run}", "--metrics=likelihood"]),
    "train": lambda: main.run(chosen, run),
  }

  def attempt(call: Callable[[], Any]) -> int:
    code, message = 0, ""
    try:
      result = call()
      code = result if isinstance(result, int) else 0
    except UserError as error:
      code, message = error.exit_code, str(error)
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert "\n" not in message
    if code and not message:  # warnings may come before it
      assert shown.strip().splitlines()[-1].startswith("jaxt2i: error: ")
    return code

  return {name: partial(attempt, call) for name, call in calls.items()}


def plant_beside(run: Path, canary: Path) -> None:
  """Code where an import might find it, and pickles under names that ours have, or might have."""
  code = f"open({str(canary)!r}, 'w').close()\n"
  folders = ("configs", "jaxt2i", "checkpoints/2", "checkpoints/2/state", "samples", "eval", "best")
  modules = ("sitecustomize", "usercustomize", "conftest", "setup", "jaxt2i", "jax", "numpy")
  for folder in ("", *folders):
    (run / folder).mkdir(exist_ok=True)
    for name in (*modules, "__init__", "__main__", "vqvae", "prior", "common"):
      (run / folder / f"{name}.py").write_text(code)
    (run / folder / "planted.pth").write_text(f"import os; {code}")
    for name in ("config.pkl", "state.pickle", "params.npy", "text.pkl", "data.pt"):
      (run / folder / name).write_bytes(pickle.dumps(_Touch(canary)))
  yaml = f"!!python/object/apply:builtins.open [{str(canary)!r}, w]\n"
  for name in ("config.yaml", "config.yml", "run.yaml"):
    (run / name).write_text(yaml)
  (run / "manifest.sha256").write_bytes(pickle.dumps(_Touch(canary)))


def test_code_and_pickles_beside_a_runs_own_files_are_left_alone(
  run, canary, commands, monkeypatch
):
  plant_beside(run, canary)
  monkeypatch.chdir(run)
  planted = {name for name in digests(run) if name.endswith((".py", ".pkl", ".yaml", ".pth"))}
  before = {name: digest for name, digest in digests(run).items() if name in planted}
  codes = {name: command() for name, command in commands.items()}
  assert codes == {"load": 0, "generate": 0, "evaluate": 0, "train": 0}
  assert {name: digest for name, digest in digests(run).items() if name in planted} == before


OWN = {
  "config.json": {"load", "train", "generate", "evaluate"},
  "text.json": {"load", "generate", "evaluate"},  # training writes it anew
  "weights.safetensors": {"load", "generate", "evaluate"},  # training has none
  "run.json": set(),  # a record, and no more
  "metrics.jsonl": set(),
  "lock": set(),  # stale: not of a process
  "eval/val.json": set(),
  "eval/history.jsonl": set(),
}


@pytest.mark.parametrize("name", OWN)
def test_a_pickle_in_the_place_of_a_runs_own_file_is_not_unpickled(run, canary, name, commands):
  (run / name).parent.mkdir(exist_ok=True)
  (run / name).write_bytes(pickle.dumps(_Touch(canary)))
  for what, command in commands.items():
    assert command() == (1 if what in OWN[name] else 0), what
    assert not canary.exists(), what


def hostile(canary: Path) -> list[Any]:
  """What an unwary reader of JSON might make an object, a class or a program of."""
  return [
    {"py/object": "builtins.open", "py/reduce": [{"py/type": "builtins.open"}, [str(canary), "w"]]},
    {"__reduce__": ["builtins.open", [str(canary), "w"]]},
    {"__class__": "builtins.open", "_target_": "builtins.open", "file": str(canary), "mode": "w"},
    {"name": "subprocess.Popen", "args": ["touch", str(canary)]},
    f"!!python/object/apply:builtins.open [{str(canary)!r}, w]",
    f"__import__('os').system('touch {canary}')",
    "os:system",
  ]


PLACES = [
  *(("config.json", path) for path in ("task", "model", "model.name", "model.text.name", "loss")),
  *(("config.json", path) for path in ("data", "data.name", "tokenizer_model.quantizer.name")),
  *(("text.json", path) for path in ("kind", "tokenizer", "tokenizer.model.type", "format")),
]


UNREAD = {  # by whom, if it is a section at all
  "config.json:loss": ("load", "generate"),
  "config.json:data.name": ("load", "generate"),
}


@pytest.mark.parametrize(("file", "path"), PLACES, ids=[f"{f}:{p}" for f, p in PLACES])
def test_class_names_and_expressions_in_json_are_refused_in_one_line(
  run, canary, file, path, commands, prior_run
):
  original = (run / file).read_text()
  for value in hostile(canary):
    content = json.loads(original)
    *parents, last = path.split(".")
    section = content
    for key in parents:
      section = section[key]
    section[last] = value
    (run / file).write_text(json.dumps(content))
    for name, command in commands.items():
      unread = name in UNREAD.get(f"{file}:{path}", ()) or (file, name) == ("text.json", "train")
      assert command() or unread, (name, value)
      assert not canary.exists()
    shutil.copyfile(prior_run / "text.json", run / "text.json")


def test_class_names_in_a_checkpoint_are_not_looked_up(run, canary, commands):
  # Orbax keeps the names of handlers and of named tuples: they must stay names.
  step = run / "checkpoints" / "2"
  (step / "manifest.sha256").unlink()  # which would find out at once
  edited = 0
  for path in step.rglob("*"):
    if path.name not in ("_CHECKPOINT_METADATA", "_METADATA", "_sharding", "array_metadatas"):
      continue
    if path.is_file():
      text = path.read_text()
      for name in ("orbax.checkpoint", "jax.Array", "NamedSharding", "StandardCheckpointHandler"):
        text = text.replace(name, "subprocess.Popen")
      edited += text != path.read_text()
      path.write_text(text)
  assert edited >= 2
  for command in commands.values():
    command()
    assert not canary.exists()


def test_pickles_among_the_arrays_of_a_checkpoint_are_damage(run, canary, commands):
  for path in (run / "checkpoints" / "2" / "state").rglob("*"):
    if path.is_file():
      path.write_bytes(pickle.dumps(_Touch(canary)))
  (run / "checkpoints" / "2" / "manifest.sha256").unlink()
  for name, command in commands.items():
    assert command() == 1, name
    assert not canary.exists()


def test_a_pickle_where_orbax_looks_for_a_state_in_one_file_is_damage(run, canary, commands):
  # The manifest does not know the file, which older versions of Orbax and Flax wrote.
  (run / "checkpoints" / "2" / "state" / "checkpoint").write_bytes(pickle.dumps(_Touch(canary)))
  for name, command in commands.items():
    assert command() == 1, name
  with pytest.raises(UserError, match="state/checkpoint does not belong there"):
    jaxt2i.load(run)


def test_features_of_captions_that_hold_objects_are_computed_again(
  tmp_path, canary, monkeypatch, tokenizer_run, caplog
):
  encoder = random_encoder(monkeypatch, 8)
  chosen = {"tokenizer": str(tokenizer_run)}
  run = train(tmp_path / "run", "prior:minilm,shapes,tiny", **chosen)
  lines = metrics_of(run)
  trap = np.array([_Touch(canary)], object)
  np.savez(run / FEATURES_FILE, lengths=trap, rows=trap, seal=trap)
  with np.load(run / FEATURES_FILE, allow_pickle=True) as file:  # or the test could not fail
    file["seal"][0].close()
  canary.unlink()
  shutil.rmtree(run / "checkpoints")
  train(run, "prior:minilm,shapes,tiny", **chosen)
  assert f"{run / FEATURES_FILE} is damaged" in caplog.text
  assert metrics_of(run) == lines
  assert of_known([PROMPT], encoder, None)([PROMPT]).shape == (1, 8, 384)


# Who may do what else a loader of workdirs may not; what the functions are given there is ours.
_ALLOWED = {
  ("data/workers.py", "pickle.loads"),  # of what it has pickled itself
  ("cli/__init__.py", "importlib.import_module"),  # of our own commands
  ("cli/study.py", "importlib.util.spec_from_file_location"),  # a config, which the user names
  ("cli/study.py", "importlib.util.module_from_spec"),
}
_DANGEROUS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "runpy.run_path"}
_SUSPECT = ("pickle.", "dill.", "cloudpickle.", "yaml.", "marshal.", "shelve.", "joblib.", "torch.")


def test_no_other_loader_than_those_tested_here_can_run_anything(repository):
  found = set()
  for path in sorted((repository / "jaxt2i").rglob("*.py")):
    for node in ast.walk(ast.parse(path.read_text())):
      if not isinstance(node, ast.Call):
        continue
      name = ast.unparse(node.func)
      where = (path.relative_to(repository / "jaxt2i").as_posix(), name)
      loads = name in ("np.load", "numpy.load")
      if loads and not any(
        k.arg == "allow_pickle" and ast.unparse(k.value) == "False" for k in node.keywords
      ):
        found.add(where)
      imports = name.startswith("importlib.") and not name.endswith((".find_spec", "metadata"))
      writes = name == "pickle.dumps"
      if name in _DANGEROUS or imports or (name.startswith(_SUSPECT) and not writes):
        found.add(where)
  assert found == _ALLOWED
