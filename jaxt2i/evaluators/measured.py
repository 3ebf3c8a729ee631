"""Values with the protocol that makes them comparable."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Measured:
  """What one evaluator found.

  Attributes:
    protocol: under which; values of another protocol are others, whatever they are called.
    values: by name: numbers, their intervals as `<name>_95`, and tables.
    settings: how pictures were drawn for it; values of other settings may be compared.
  """

  protocol: Mapping[str, Any]
  values: Mapping[str, Any]
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
