"""Reads the steps of `checkpoints/`: complete ones only, verified, never writing anything."""

import contextlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxt2i import manifest
from jaxt2i.errors import UserError

logger = logging.getLogger(__name__)

PyTree = Any
ITEM = "state"  # The folder inside `checkpoints/<step>/` that Orbax writes the arrays to.
UNDER_WAY = "under_way"  # Another one, with JSON, in steps at which a run was asked to stop.


class _DamagedError(Exception):
  """A checkpoint that cannot be trusted; the message says why."""


def complete_steps(root: Path) -> list[int]:
  """Steps whose folder got its final name, newest first."""
  if not root.is_dir():
    return []
  folders = [path for path in root.iterdir() if path.name.isdecimal()]
  return sorted(
    (int(path.name) for path in folders if ocp.utils.is_checkpoint_finalized(path.absolute())),
    reverse=True,
  )


def read_newest(root: Path, steps: list[int], read: Callable[[Path], Any]) -> tuple[int, Any]:
  """Reads the first of `steps` that is undamaged; warns of each one passed over.

  Args:
    root: a run's `checkpoints/`.
    steps: complete steps in the order to try.
    read: given the folder `checkpoints/<step>/state`, returns its content.

  Raises:
    UserError: if `steps` is empty or all are damaged, or from `read`.
  """
  if not steps:
    raise UserError(
      f"{root} holds no checkpoint, expected one from training; train first or name another workdir"
    )
  reasons = []
  for step in steps:
    try:
      return step, _read_verified((root / str(step)).absolute(), read)
    except _DamagedError as error:
      reasons.append(f"step {step}: {error}")
      logger.warning("the checkpoint of step %d in %s is damaged (%s)", step, root, error)
  raise UserError(
    f"no checkpoint in {root} can be used ({'; '.join(reasons)}), expected an undamaged one; "
    "restore the folder from a copy, or delete these steps and train again"
  )


def _read_verified(path: Path, read: Callable[[Path], Any]) -> Any:
  sealed = manifest.exists(path)
  if sealed and (damage := manifest.find_damage(path)):
    raise _DamagedError(damage)
  try:
    return read(path / ITEM)
  except UserError:
    raise
  except Exception as error:
    # Harmless mostly (.DS_Store), but Orbax looks for files by name.
    if sealed and (stranger := manifest.find_stranger(path)):
      raise _DamagedError(f"{stranger} does not belong there") from error
    if sealed:
      raise  # The files are what was written, so the fault lies elsewhere.
    raise _DamagedError(one_line(error)) from error


def read_state(path: Path, target: PyTree) -> PyTree:
  """Reads all of a state into `target`'s structure; UserError where shapes or dtypes differ."""
  abstract = jax.tree.map(_with_sharding, target)
  _check_fits(path, abstract)
  with contextlib.closing(ocp.StandardCheckpointHandler()) as handler:
    return handler.restore(path, args=ocp.args.StandardRestore(abstract))


def read_under_way(path: Path) -> dict[str, Any]:
  """The JSON of a step that has been verified; {} where there is none."""
  file = path / UNDER_WAY / "metadata"  # as Orbax calls it
  return json.loads(file.read_text()) if file.exists() else {}


def _with_sharding(leaf: Any) -> jax.ShapeDtypeStruct:
  sharding = getattr(leaf, "sharding", None)
  if sharding is None:
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def read_entries(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
  """Reads top-level entries of a state as numpy arrays; UserError where there is no such entry."""
  with contextlib.closing(ocp.PyTreeCheckpointHandler()) as handler:
    saved = handler.metadata(path).tree
    for key in keys:
      if saved.get(key) is None:
        raise UserError(f"{path.parent} has no {key!r}, expected one of {sorted(saved)}")
    entries = {key: saved[key] for key in keys}
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), entries)
    args = ocp.args.PyTreeRestore(item=entries, restore_args=as_numpy, partial_restore=True)
    return handler.restore(path, args=args)


def _check_fits(path: Path, abstract: PyTree) -> None:
  """Compares the saved shapes and dtypes with those asked for: Orbax casts dtypes silently."""
  with contextlib.closing(ocp.StandardCheckpointHandler()) as handler:
    saved = _specs(handler.metadata(path).tree)
  asked = _specs(ocp.tree.serialize_tree(abstract, keep_empty_nodes=True))  # Named as Orbax does.
  nothing = "nothing"
  differences = [
    f"{name} is saved as {saved.get(name, nothing)} but {asked.get(name, nothing)} is asked for"
    # Parameters first: they name what the config changed, the optimiser only follows them.
    for name in sorted(
      saved.keys() | asked.keys(), key=lambda name: (not name.startswith("params"), name)
    )
    if saved.get(name, nothing) != asked.get(name, nothing)
  ]
  if differences:
    more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
    raise UserError(
      f"{path.parent} does not fit this config: {differences[0]}{more}; "
      "use the config that it was trained with, or another workdir"
    )


def _specs(tree: PyTree) -> dict[str, str]:
  """`{"params/codebook": "float32[512,64]"}` of a nested dict and list of arrays or metadata."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {jax.tree_util.keystr(path, simple=True, separator="/"): _spec(x) for path, x in leaves}


def _spec(leaf: Any) -> str:
  if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    leaf = jax.eval_shape(jax.random.key_data, leaf)  # Saved as the integers of the key.
  return f"{np.dtype(leaf.dtype).name}[{','.join(map(str, leaf.shape))}]"


def one_line(error: Exception) -> str:
  """An error's message without line breaks, shortened in the middle: the cause stands last."""
  message = " ".join(str(error).split()) or type(error).__name__
  return message if len(message) <= 240 else f"{message[:80]} … {message[-150:]}"
