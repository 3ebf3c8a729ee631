"""Data sets: `load("train", name="openmoji", image_size=64, ...)`."""

import dataclasses
import logging
import shutil
from pathlib import Path
from typing import Any

from jaxt2i import environment
from jaxt2i.data import prepared, split_files
from jaxt2i.data.openmoji import OpenMoji
from jaxt2i.data.records import Dataset, Record, Source
from jaxt2i.data.shapes import Shapes
from jaxt2i.errors import UserError, suggest

_log = logging.getLogger(__name__)

DATASETS: dict[str, type] = {"openmoji": OpenMoji, "shapes": Shapes}
PREPARED = "prepared"  # data of the user's own, see `jaxt2i.data.preparing`


def make(name: str, **options: Any) -> Dataset:
  """The dataset of that name with these options.

  Raises:
    UserError: an unknown name, or an option that is unknown, missing or of no use.
  """
  if name not in DATASETS:
    raise UserError(f"data set {name!r} is unknown; {suggest(name, [*DATASETS, PREPARED])}")
  dataset = DATASETS[name]
  fields = [field.name for field in dataclasses.fields(dataset)]
  for option in options:
    if option not in fields:
      raise UserError(f"data set {name!r} has no option {option!r}; {suggest(option, fields)}")
  required = [f.name for f in dataclasses.fields(dataset) if f.default is dataclasses.MISSING]
  missing = [field for field in required if field not in options]
  if missing:
    raise UserError(f"data set {name!r} needs {', '.join(missing)}")
  # JSON knows no tuples: a config read back from a run has lists.
  return dataset(**{k: tuple(v) if isinstance(v, list) else v for k, v in options.items()})


def prepare(dataset: Dataset, *, name: str) -> Path:
  """Makes sure that the dataset lies in the user's cache; returns its folder.

  Raises:
    UserError: the cache cannot be written, or the dataset cannot be generated.
  """
  directory = environment.cache_dir() / name / dataset.fingerprint()[:16]
  if prepared.is_complete(directory) and split_files.is_current(directory, prepared.COMPOSITIONAL):
    return directory
  if directory.exists():
    _log.warning("%s is damaged or of an older version, and is made anew", directory)
    shutil.rmtree(directory, ignore_errors=True)
  _log.info("preparing data set %s in %s (once)", name, directory)
  info = {
    "name": name,
    "options": dataclasses.asdict(dataset),  # type: ignore[call-overload]
    "version": dataset.version,
    "licence": dataset.licence,
  }
  prepared.write(directory, dataset.splits(), attribution=dataset.attribution, info=info)
  return directory


def load(split: str, *, name: str, **options: Any) -> Source:
  """A split of a data set.

  Args:
    split: "train", "val", "test" or, for generated sets, "compositional".
    name: one of DATASETS, prepared in the user's cache on first use; or "prepared": what
      `jaxt2i data prepare` made.
    **options: the fields of that dataset, all of them; for "prepared" path, image_size, protocol.

  Raises:
    UserError: an unknown name, option or split, or a dataset that cannot be prepared.
  """
  if name == PREPARED:
    return _open(split, **options)
  dataset = make(name, **options)
  return prepared.PreparedSource(
    prepare(dataset, name=name),
    split,
    image_size=options["image_size"],
    protocol=prepared.COMPOSITIONAL,
  )


def _open(split: str, **options: Any) -> Source:
  fields = ("path", "image_size", "protocol")
  for option in options:
    if option not in fields:
      raise UserError(f"data set 'prepared' has no option {option!r}; {suggest(option, fields)}")
  if missing := [field for field in fields if not options.get(field)]:
    raise UserError(f"data set 'prepared' needs {', '.join(missing)}")
  return prepared.PreparedSource(
    Path(options["path"]), split, image_size=options["image_size"], protocol=options["protocol"]
  )


__all__ = ["DATASETS", "PREPARED", "Dataset", "Record", "Source", "load", "make", "prepare"]
