"""The notebooks run from the first cell to the last, and are kept clean."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def read(path: Path):
  return nbformat.read(path, as_version=4)


def code_cells(notebook) -> list:
  return [cell for cell in notebook.cells if cell.cell_type == "code"]


def run(path: Path, repository: Path):
  """Executes a notebook from the root of the checkout; returns it with its outputs."""
  notebook = read(path)
  client = NotebookClient(
    notebook,
    kernel_name="python3",
    timeout=300,  # seconds a cell; only a hang takes so long
    resources={"metadata": {"path": str(repository)}},
  )
  client.execute()
  return notebook


def outputs(notebook, kind: str) -> list:
  return [o for cell in code_cells(notebook) for o in cell.outputs if o.output_type == kind]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_kept_without_outputs_and_defines_nothing(path):
  notebook = read(path)
  nbformat.validate(notebook)
  assert notebook.metadata.kernelspec.name == "python3"
  for cell in code_cells(notebook):
    assert cell.outputs == []
    assert cell.execution_count is None
    assert not re.search(r"^\s*[!%](?!matplotlib inline$)", cell.source, re.MULTILINE)
    tree = ast.parse(cell.source.replace("%matplotlib inline", ""))
    kinds = {type(node) for node in ast.walk(tree)}
    assert not kinds & {ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda}


def test_explore_data(repository, monkeypatch):
  monkeypatch.delenv("JAXT2I_DATA", raising=False)
  notebook = run(FOLDER / "01_explore_data.ipynb", repository)
  text = "".join(o.text for o in outputs(notebook, "stream") if o.name == "stdout")
  assert "Licence or terms: CC BY-SA 4.0" in text
  assert "sound: training on it is fine" in text
  assert re.search(r"All \d+ images are 64 × 64 pixels\.", text)
  assert re.search(r"Of the \d+ different words of “val”, \d+ .* never occur in a training", text)
  figures = [o for kind in ("execute_result", "display_data") for o in outputs(notebook, kind)]
  assert ["image/png" in figure.data for figure in figures] == [True] * 8
  assert not [o.text for o in outputs(notebook, "stream") if o.name == "stderr"]


def test_codebook_latents(tokenizer_run, repository, monkeypatch):
  monkeypatch.setenv("JAXT2I_WORKDIR", str(tokenizer_run))
  notebook = run(FOLDER / "03_codebook_latents.ipynb", repository)
  text = "".join(o.text for o in outputs(notebook, "stream") if o.name == "stdout")
  assert "512 codes, 8×8 tokens an image" in text
  assert "val: 16 images" in text
  figures = [o for kind in ("execute_result", "display_data") for o in outputs(notebook, kind)]
  assert ["image/png" in figure.data for figure in figures] == [True] * 5
  errors = "".join(o.text for o in outputs(notebook, "stream") if o.name == "stderr")
  assert "Warning" not in errors


def test_latent_space(prior_run, repository, monkeypatch):
  monkeypatch.setenv("JAXT2I_WORKDIR", str(prior_run))
  notebook = run(FOLDER / "04_latent_space.ipynb", repository)
  text = "".join(o.text for o in outputs(notebook, "stream") if o.name == "stdout")
  assert "Images: split val: 16 images, 8×8 tokens each" in text
  assert "Bits of a token under the prior: real" in text
  assert re.search(r"property +wanted +measured +verdict\ncomplete +under +under +reached\n", text)
  figures = [o for kind in ("execute_result", "display_data") for o in outputs(notebook, kind)]
  assert {"image/png" in figure.data for figure in figures} == {True}
  assert len(figures) >= 13
  errors = "".join(o.text for o in outputs(notebook, "stream") if o.name == "stderr")
  assert "Warning" not in errors


def test_evaluation(prior_run, repository, monkeypatch):
  monkeypatch.setenv("JAXT2I_WORKDIR", str(prior_run))
  monkeypatch.delenv("JAXT2I_JUDGE", raising=False)
  notebook = run(FOLDER / "07_evaluation.ipynb", repository)
  text = "".join(o.text for o in outputs(notebook, "stream") if o.name == "stdout")
  assert "knowing nothing 6.238" in text  # of 512 codes
  assert re.search(r"temperature +1.0 +0.7\n", text)
  assert "refused: attributes: drawn differs, '16' of all and '10' of ten" in text
  assert r"\begin{tabular}" in text
  figures = [o for kind in ("execute_result", "display_data") for o in outputs(notebook, kind)]
  assert ["image/png" in figure.data for figure in figures] == [True] * 7
  errors = "".join(o.text for o in outputs(notebook, "stream") if o.name == "stderr")
  assert "Warning" not in errors
