"""The weights that a run draws with: of its checkpoints, or exported as one small file.

An exported run is a folder with the config, the text processor, a manifest, and as safetensors the
moving averages of the weights, in bfloat16, and what was not trained, as it is: a prior's tokenizer
must give the very tokens that the prior has learnt. Whatever reads a run reads it too, but it can't
go on training.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxt2i import best, checkpoints, manifest, stored
from jaxt2i import config as config_lib
from jaxt2i.errors import UserError
from jaxt2i.state import of_model
from jaxt2i.text import TEXT_FILE

INCLUDED = Path(__file__).parent / "included"  # an exported prior that comes along; see its card
FILE = "weights.safetensors"
_PATHS = {"tokenizer", "word_vectors"}  # in a config
KEYS = ("ema_params", "collections")
_DTYPES = {
  "BF16": ml_dtypes.bfloat16,
  "F32": np.float32,
  "I32": np.int32,
  "U32": np.uint32,
  "BOOL": np.bool_,
}


def read(workdir: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
  """The moving averages of a run's weights, and its other collections: NumPy arrays.

  Of an exported run what is in its file, as float32; of a run with early stopping those of the best
  state, else of the last.

  Raises:
    UserError: there is no whole checkpoint, or the exported file is damaged.
  """
  if (workdir / FILE).exists():
    return _read_exported(workdir)
  _, arrays = checkpoints.read_arrays(_folder(workdir), KEYS)
  return arrays["ema_params"], arrays["collections"]


def step(workdir: Path) -> int | None:
  """The training step of the weights that `read` gives; None of an exported run."""
  if (workdir / FILE).exists():
    return None
  return next(iter(stored.complete_steps(_folder(workdir) / "checkpoints")), None)


def disk_bytes(workdir: Path) -> int:
  """Of the file of weights, or of the checkpoint, which has the optimiser's state too."""
  if (workdir / FILE).exists():
    return (workdir / FILE).stat().st_size
  folder = _folder(workdir) / "checkpoints" / str(step(workdir))
  return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _folder(workdir: Path) -> Path:
  return workdir / best.FOLDER if best.steps(workdir) else workdir


def export(workdir: Path, out: Path) -> Path:
  """Writes what a run draws with into the folder `out`; returns the file of weights.

  Where the training found its tokenizer and word vectors is left out: they are in the weights.

  Raises:
    UserError: there is no run, no whole checkpoint, something in `out`, or no writing there.
  """
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    raise UserError(f"{out} is not an empty folder: choose another --out.")
  config = config_lib.load(workdir)
  config |= dict.fromkeys(config.keys() & _PATHS, "")
  params, collections = read(workdir)
  arrays = jax.tree.map(np.asarray, of_model(collections))
  tree = {"ema_params": jax.tree.map(_small, params), "collections": arrays}
  flat = {"/".join(name): np.asarray(x, order="C") for name, x in flatten_dict(tree).items()}
  try:
    out.mkdir(parents=True, exist_ok=True)
    config_lib.save(out, config)
    if (workdir / TEXT_FILE).exists():  # a tokenizer reads no text
      shutil.copyfile(workdir / TEXT_FILE, out / TEXT_FILE)
    (out / FILE).write_bytes(safetensors.numpy.save(flat))
    manifest.write(out)
  except OSError as error:
    raise UserError(f"cannot write to {out} ({error.strerror}): choose another --out.") from error
  return out / FILE


def _small(array: Any) -> np.ndarray:
  array = np.asarray(array)
  return array.astype(ml_dtypes.bfloat16) if array.dtype.kind == "f" else array


def _read_exported(workdir: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
  try:
    damage = manifest.find_damage(workdir)
    stored = safetensors.deserialize((workdir / FILE).read_bytes())
  except (OSError, safetensors.SafetensorError) as error:
    damage, stored = str(error), []
  if damage:
    raise UserError(f"{workdir} is damaged ({damage}): restore it from a copy, or export it again.")
  flat = {}
  for name, tensor in stored:
    array = np.frombuffer(tensor["data"], _DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
    exact = array.dtype != ml_dtypes.bfloat16
    flat[tuple(name.split("/"))] = array if exact else array.astype(np.float32)
  tree = unflatten_dict(flat)
  return tree["ema_params"], tree.get("collections", {})
