"""The package as a whole: which way imports flow, what they cost, what every file must keep to."""

import ast
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import jaxt2i

ROOT = Path(jaxt2i.__file__).resolve().parents[1]
LIBRARY = sorted((ROOT / "jaxt2i").rglob("*.py"))
CODE = [
  *LIBRARY,
  ROOT / "setup.py",
  *(
    path
    for folder in ("configs", "benchmarks", "launch", "notebooks", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
  ),
]
TEXT = {
  "",
  ".cfg",
  ".csv",
  ".ipynb",
  ".json",
  ".md",
  ".py",
  ".sh",
  ".toml",
  ".txt",
  ".yaml",
  ".yml",
}

# A module may import from its own layer and from those before it. What is not listed is a helper
# of the second layer. Evaluators that generate do so through the pipeline, like everything else.
LAYERS = (
  {"types", "errors", "environment", "json_file"},
  {"models", "data", "sampling"},
  {"tasks"},
  {"pipeline"},
  {"evaluators", "analysis", "editing", "matcher"},
  {
    "train",
    "training",
    "step",
    "adversarial",
    "tokenized",
    "experiment",
    "evaluation",
    "evaluation_report",
    "evaluation_request",
    "comparison",
    "trust",
    "cost",
    "efficiency",
    "reconstructed",
    "latent_analysis",
    "quickstart",
  },
  {"cli", "main", "study", "demo", "report"},
)
# Stricter than the layers: networks know no config, file or writer, and data knows no network.
ONLY = {
  "models": {"models", "types", "errors"},
  "data": {"data", "types", "errors", "environment", "json_file"},
}
MAY_READ_FLAGS = {"cli", "main", "demo"}
TELLS_ABSL = "workers.py"  # that flags have been parsed, which grain asks; it reads none


def part(path: Path) -> str:
  """`jaxt2i/data/text.py` -> "data"; `jaxt2i/train.py` -> "train"; the package itself -> ""."""
  relative = path.relative_to(ROOT / "jaxt2i").with_suffix("")
  return "" if relative.parts == ("__init__",) else relative.parts[0]


def layer(name: str) -> int:
  return next((i for i, names in enumerate(LAYERS) if name in names), 1)


def imports(tree: ast.AST) -> Iterator[str]:
  """Dotted names of everything imported; `from a import b` gives a.b."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, "imports are absolute"
      yield from (f"{node.module}.{alias.name}" for alias in node.names)


def names_used(tree: ast.AST) -> Iterator[str]:
  for node in ast.walk(tree):
    if isinstance(node, ast.Name):
      yield node.id
    elif isinstance(node, ast.Attribute):
      yield node.attr


def parse(path: Path) -> ast.Module:
  return ast.parse(path.read_text(encoding="utf-8"), str(path))


def identity(path: Path) -> str:
  return str(path.relative_to(ROOT))


library = pytest.mark.parametrize("path", LIBRARY, ids=identity)
code = pytest.mark.parametrize("path", CODE, ids=identity)


@library
def test_imports_flow_one_way(path):
  own = part(path)
  if not own:
    return  # the package itself hands out the pipeline, on demand
  for name in imports(parse(path)):
    if not name.startswith("jaxt2i."):
      continue
    other = name.split(".")[1]
    if other == "__version__":
      continue
    assert layer(other) <= layer(own), f"{own} may not import {name}: it lies in a later layer"
    assert other in ONLY.get(own, {other}), f"{own} may only import {sorted(ONLY[own])}: {name}"


@library
def test_stays_within_its_task(path):
  tree = parse(path)
  found = set(imports(tree))
  if path.name != "writers.py":
    assert not {n for n in found if re.match(r"tensorflow(\.|$)", n)}, "TensorFlow: writers.py only"
    assert not {n for n in found if re.match(r"clu\.(metric_writers|periodic_actions)", n)}, (
      "CLU's writers come through jaxt2i.writers, which stands in for what TensorFlow would bring"
    )
  if part(path) not in MAY_READ_FLAGS:
    flags = {n for n in found if re.match(r"argparse|absl\.(flags|app)", n)}
    assert not flags - ({"absl.flags"} if path.name == TELLS_ABSL else set()), "reads flags"
    assert "print" not in set(names_used(tree)), "prints; use logging"


@code
def test_uses_no_private_or_abandoned_api(path):
  tree = parse(path)
  private = [n for n in imports(tree) if re.search(r"\._(?!_version__$)", f".{n}")]
  assert not private, f"private imports: {private}"
  abandoned = {"pmap", "device_put_replicated"} & set(names_used(tree))
  assert not abandoned


@library
def test_public_names_have_docstrings(path):
  tree = parse(path)
  if not tree.body:
    return
  assert ast.get_docstring(tree), f"{identity(path)} has no docstring"
  kinds = (ast.FunctionDef, ast.ClassDef)
  bare = [
    node.name
    for node in tree.body
    if isinstance(node, kinds) and not node.name.startswith("_") and not ast.get_docstring(node)
  ]
  assert not bare, f"no docstring: {bare}"


def _made_by_tools(name: str) -> bool:
  hidden = name.startswith(".") and name not in (".ci", ".gitignore")
  return hidden or name in ("runs", "build", "__pycache__") or name.endswith(".egg-info")


def repository_files() -> list[Path]:
  """What is or would be committed; without git, every file that is no result."""
  listed = subprocess.run(
    ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"],
    capture_output=True,
    text=True,
  )
  if listed.returncode == 0:
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
  else:
    paths = [p for p in ROOT.rglob("*") if not any(map(_made_by_tools, p.relative_to(ROOT).parts))]
  return [path for path in paths if path.is_file() and path.suffix in TEXT]


def test_no_file_names_a_place_of_one_machine():
  folders = "|".join(("work", "tmp", "root", "home", "opt"))
  indexes = "|".join(("py" + r"pi\.org", "python" + "hosted"))
  pattern = re.compile(rf"(?<![\w.~}})$/])/(?:{folders})/|{indexes}")
  found = [
    f"{identity(path)}:{number}: {line.strip()[:80]}"
    for path in repository_files()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    if pattern.search(line)
  ]
  assert not found, "\n".join(found)


def test_no_file_is_too_long_to_read():
  lengths = {identity(p): len(p.read_text(encoding="utf-8").splitlines()) for p in LIBRARY}
  assert not {name: length for name, length in lengths.items() if length >= 300}


def run_python(statement: str) -> str:
  done = subprocess.run(
    [sys.executable, "-c", statement], cwd=ROOT, capture_output=True, text=True, check=True
  )
  return done.stdout.strip()


@pytest.mark.parametrize(
  "module", ["jaxt2i", *(f"jaxt2i.cli.{p.stem}" for p in LIBRARY if p.parent.name == "cli")]
)
def test_commands_answer_without_heavy_imports(module):
  heavy = ["jax", "numpy", "flax", "grain", "tokenizers", "tensorflow_datasets", "matplotlib"]
  statement = f"import sys, {module}; print(sorted(set({heavy}) & set(sys.modules)))"
  assert run_python(statement.replace(".__init__", "")) == "[]"


def test_version_is_that_of_the_installation():
  try:
    version = importlib.metadata.version("jaxt2i")
  except importlib.metadata.PackageNotFoundError:
    pytest.skip("run from the source tree, not installed")
  assert version == jaxt2i.__version__


def test_unknown_attributes_are_named():
  with pytest.raises(AttributeError, match="no attribute 'laod'"):
    jaxt2i.laod  # noqa: B018
