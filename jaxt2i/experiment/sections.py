"""What a config must have at its top, by task; the sections themselves are looked at where used."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxt2i import config as config_lib
from jaxt2i.errors import UsageError

Section = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Common:
  task: str
  seed: int
  batch_size: int
  num_workers: int
  ema_decay: float
  data: Section
  augment: Section
  optimizer: Section
  loop: Section
  model: Section
  step: Section = dataclasses.field(default_factory=dict)
  mesh: Section = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Tokenizer(_Common):
  loss: Section
  adversarial: Section
  latent_goals: Section = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Prior(_Common):
  tokenizer: str
  text: Section
  views: int
  captions: int
  word_vectors: str
  prompts: tuple[str, ...]
  evaluation: Section
  loss: Section


@dataclasses.dataclass(frozen=True, kw_only=True)
class _DualEncoder(_Common):
  tokenizer: str
  text: Section


_TASKS: Mapping[str, Any] = {
  "tokenizer": _Tokenizer,
  "prior": _Prior,
  "dual_encoder": _DualEncoder,
}


def of_task(config: Mapping[str, Any], choices: Mapping[str, Any]) -> Any:
  """What there is for a config's task; UsageError for a task that does not exist."""
  task = config.get("task", "")
  if not isinstance(task, str) or task not in choices:
    raise UsageError(f"config.task is {task!r}: must be one of {', '.join(map(repr, choices))}.")
  return choices[task]


def check(config: Mapping[str, Any]) -> None:
  """Refuses a config that lacks a part, has one too many, or one of the wrong type.

  Raises:
    UsageError: naming the part; or a task that does not exist.
  """
  config_lib.build(of_task(config, _TASKS), config, "config")
  for name, kind in (("name", str), ("image_size", int)):
    value = config["data"].get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
      raise UsageError(f"config.data.{name} is {value!r}: must be {kind.__name__}.")
  if config["data"]["image_size"] < 1:
    raise UsageError(f"config.data.image_size is {config['data']['image_size']}: must be above 0.")
