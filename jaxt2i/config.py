"""Config sections to frozen dataclasses, and the config file of a run. Nothing is executed."""

import contextlib
import dataclasses
import json
import logging
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from jaxt2i.errors import UsageError, UserError, suggest

_logger = logging.getLogger(__name__)

T = TypeVar("T")

CONFIG_FILE = "config.json"
# May change from start to start: nothing depends on them. Moved data has the same fingerprint.
_FREE = {"num_workers", "data.path", "model.remat"}
# And these: training knows nothing of goals, and gives the same on other devices but for rounding.
_FREE_SECTIONS = ("latent_goals.", "mesh.")

# What a stored config's parts are, where it has them.
_KINDS = {"task": str, "data": dict, "model": dict, "loss": dict}


def build(cls: type[T], section: Mapping[str, Any], where: str, **extra: Any) -> T:
  """Makes a dataclass of a config section.

  Args:
    cls: a dataclass (Flax modules are dataclasses too).
    section: its fields by name; lists become tuples, as JSON knows no tuples.
    where: what the section is called, for messages: "config.optimizer".
    extra: fields that no config sets.

  Raises:
    UsageError: naming an unknown, missing or wrongly typed field and what is expected.
  """
  if not isinstance(section, Mapping):
    raise UsageError(f"{where} is {section!r}: must be a section with options of its own.")
  fields = {
    field.name: field
    for field in dataclasses.fields(cls)  # type: ignore[arg-type]
    if field.init and field.name not in ("parent", "name") and field.name not in extra
  }
  for key in section:
    if key not in fields:
      raise UsageError(f"{where}.{key} is not an option; {suggest(key, fields)}")
  missing = [
    name
    for name, field in fields.items()
    if name not in section
    and field.default is dataclasses.MISSING
    and field.default_factory is dataclasses.MISSING
  ]
  if missing:
    raise UsageError(f"{where} lacks {', '.join(missing)}.")
  values = {}
  hints = typing.get_type_hints(cls)
  for key, value in section.items():
    values[key] = _checked(value, hints[key], f"{where}.{key}")
  return cls(**values, **extra)


def _checked(value: Any, expected: Any, where: str) -> Any:
  """The value as the field wants it; only the kinds that configs hold are checked."""
  if isinstance(value, list):
    value = tuple(value)
  if expected is float and isinstance(value, int) and not isinstance(value, bool):
    return float(value)
  origin = typing.get_origin(expected)
  if origin in (typing.Union, types.UnionType):
    return value
  if origin is typing.Literal:
    if value not in typing.get_args(expected):
      choices = ", ".join(map(repr, typing.get_args(expected)))
      raise UsageError(f"{where} is {value!r}: must be one of {choices}.")
    return value
  plain = origin or expected
  if isinstance(plain, type) and (not isinstance(value, plain) or _bool_as_number(value, plain)):
    raise UsageError(f"{where} is {value!r}: must be {plain.__name__}.")
  if origin is tuple:
    element = typing.get_args(expected)[0]
    return tuple(_checked(v, element, f"{where}[{i}]") for i, v in enumerate(value))
  return value


def _bool_as_number(value: Any, expected: type) -> bool:
  return isinstance(value, bool) and expected in (int, float)


def save(workdir: Path, config: Mapping[str, Any]) -> None:
  """Writes a run's resolved config; whether it may replace an older one, `check` says.

  Raises:
    UserError: it cannot be written.
  """
  path = workdir / CONFIG_FILE
  partial = path.with_suffix(".partial")
  try:
    partial.write_text(_json(config))
    partial.replace(path)  # at once: a killed start leaves no half a config
  except OSError as error:
    raise UserError(
      f"{path} cannot be written ({error.strerror}), expected a folder of yours with space; mend "
      "that or name another workdir"
    ) from error


def check(workdir: Path, config: Mapping[str, Any], *, force: bool = False) -> None:
  """Checks that the run in a workdir, if there is one, was started with this config.

  Args:
    workdir: of the run.
    config: of the start.
    force: log the differences instead.

  Raises:
    UserError: it was not; names the first difference.
  """
  if not (workdir / CONFIG_FILE).exists():
    return
  old, new = _flatten(load(workdir)), _flatten(json.loads(_json(config)))
  for key in sorted(old.keys() | new.keys()):
    if key in _FREE or key.startswith(_FREE_SECTIONS) or old.get(key) == new.get(key):
      continue
    difference = (
      f"{workdir} holds a run with config.{key} = {old.get(key)!r}, this one has {new.get(key)!r}"
    )
    if not force:
      raise UserError(
        f"{difference}: continue with the same config, choose another --workdir, or pass --force "
        "to go on all the same."
      )
    _logger.warning("%s; forced", difference)


def _json(config: Mapping[str, Any]) -> str:
  return json.dumps(config, indent=2, sort_keys=True) + "\n"


def load(workdir: Path) -> dict[str, Any]:
  """Reads a run's config.

  Raises:
    UserError: there is none, or it is damaged.
  """
  path = workdir / CONFIG_FILE
  try:
    config = json.loads(path.read_text())
  except OSError as error:
    raise UserError(
      f"{workdir} holds no run ({CONFIG_FILE} cannot be read): give the --workdir of a training."
    ) from error
  except ValueError as error:
    raise UserError(f"{path} is damaged ({error}): restore it from a copy of the run.") from error
  if not isinstance(config, dict):
    raise UserError(f"{path} is damaged (not a JSON object): restore it from a copy of the run.")
  for name, kind in _KINDS.items():
    if not isinstance(config.get(name, kind()), kind):
      raise UserError(f"{path} is damaged (at {name!r}): restore it from a copy of the run.")
  return config


@contextlib.contextmanager
def whole(workdir: Path) -> Iterator[None]:
  """What is done with a run's config in here turns a part that it lacks into a UserError."""
  try:
    yield
  except (KeyError, TypeError) as error:
    raise UserError(
      f"{workdir / CONFIG_FILE} is damaged (at {error}): restore it from a copy."
    ) from error


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
  if not isinstance(value, dict):
    return {prefix: value}
  flat: dict[str, Any] = {}
  for key, inner in value.items():
    flat |= _flatten(inner, f"{prefix}.{key}" if prefix else key)
  return flat
